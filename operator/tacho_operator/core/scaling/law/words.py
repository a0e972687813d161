"""A decision in words: its arithmetic in one sentence, and the conditions that a HorizontalPodAutoscaler
has."""

from __future__ import annotations

from tacho_operator.core.scaling.law.learning import hopeless_tail
from tacho_operator.core.scaling.law.need import UP, Load, Need
from tacho_operator.core.scaling.law.types import Figures, Judged, Outcome, Standing


def arithmetic(
    at: Standing, outcome: Outcome, *, load: Load, up: Need, trusted: float, cold_start_seconds: float
) -> str:
    """The sum that led to the number, as a person would check it."""
    parts = []
    if up.work is not None and load.work is not None:
        work = f"work of {load.work:.2f} replicas"
        if load.coming >= 0.005:
            work += f" + {load.coming:.2f} more by the {cold_start_seconds:.0f} s a start takes"
        if load.backlog >= 0.005:
            work += f" + {load.backlog / load.drain_seconds:.2f} for what waits"
        share = f"{UP:.2f} x {trusted:.2f}" if trusted != 1 else f"{UP:.2f}"
        parts.append(f"{work}, over {share} = {up.work:.2f}")
    if up.requests is not None:
        parts.append(
            f"{load.requests:.4g} requests at once over {UP:.2f} x {at.capacity.concurrency:.4g} "
            f"= {up.requests:.2f}"
        )
    if up.kv_cache is not None:
        parts.append(f"KV cache {up.kv_cache:.2f}")
    silent = (
        f" {load.silent} serving pods do not tell their load, or hang, and count as full."
        if load.silent
        else ""
    )
    return f"{_how_many(at, outcome)}: {'; '.join(parts)}.{_why(at, outcome)}{silent}"


def _how_many(at: Standing, outcome: Outcome) -> str:
    if outcome.replicas == at.replicas:
        return _replicas(at.replicas)
    return f"{at.replicas} -> {_replicas(outcome.replicas)}"


def _why(at: Standing, outcome: Outcome) -> str:
    """What came between the sum and the number; "" where nothing did."""
    if outcome.limited:
        return f" {_limit(at, outcome)}"
    if outcome.able == "ScaleUpStabilized":
        return f" {_replicas(outcome.asked)} are asked for, which must last."
    if outcome.held:
        return f" Fewer would do; {outcome.held}."
    if outcome.able == "ScaleDownStabilized":
        return f" Fewer would do when that has been so for {outcome.window:.0f} s."
    return ""


def _limit(at: Standing, outcome: Outcome) -> str:
    bounds = at.policy.bounds
    return {
        "TooFewReplicas": f"{bounds.source} wants at least {bounds.least}.",
        "TooManyReplicas": f"{bounds.source} allows at most {bounds.most}.",
        "ScaleUpLimit": f"{_replicas(outcome.asked)} are asked for; more at once is not allowed.",
        "ScaleDownLimit": "Fewer would do; fewer at once is not allowed.",
        "QuotaExceeded": f"Quota or admission lets no more than {outcome.replicas} start.",
    }[outcome.limited]


def _replicas(count: int) -> str:
    return "1 replica" if count == 1 else f"{count} replicas"


def judged(at: Standing, outcome: Outcome, figures: Figures) -> tuple[Judged, Judged, Judged]:
    """ScalingActive, AbleToScale and ScalingLimited."""
    return _active(at, outcome, figures), _able(at, outcome), _limited(at, outcome)


def _active(at: Standing, outcome: Outcome, figures: Figures) -> Judged:
    if not at.pods:
        return Judged("False", "FailedGetPodsMetric", "No pod serves yet; their number is held.")
    if outcome.blind:
        said = f"None of {len(at.pods)} serving pods tells its load; their number is held."
        return Judged("False", "FailedGetPodsMetric", said)
    silent = f" {figures.silent} of {len(at.pods)} pods do not." if figures.silent else ""
    if at.capacity.unverified:
        why = at.capacity.unverified[0].upper() + at.capacity.unverified[1:]
        then = "replicas follow the requests at once and the KV cache alone, not a measured rate"
        said = f"{why}: {then}.{silent}"
        return Judged("True", "CapacityUnverified", said)
    return Judged("True", "ValidMetricFound", f"Pods tell their load.{silent}{_tokens(at)}")


def _tokens(at: Standing) -> str:
    """A promise that fewer requests do not bring nearer; "": it is none such."""
    measured, promise = at.capacity.tpot_half_seconds, at.policy.tpot_seconds
    if measured is None or promise is None or not hopeless_tail(at.capacity, at.policy):
        return ""
    return (
        f" With half of the load tokens take {1000 * measured:.3g} of the {1000 * promise:.4g} ms promised: "
        "fewer requests hardly quicken them, so slow ones count against a replica only where their mean "
        "breaks the promise."
    )


def _able(at: Standing, outcome: Outcome) -> Judged:
    if outcome.replicas != at.replicas:
        return Judged("True", "SucceededRescale", f"The new size is {outcome.replicas}.")
    if outcome.able == "ScaleUpStabilized":
        return Judged("True", outcome.able, "The load has not asked for more long enough.")
    if outcome.able == "ScaleDownStabilized":
        why = outcome.held or f"more were needed in the last {outcome.window:.0f} s, or nobody looked yet"
        return Judged("True", outcome.able, f"Fewer would do; {why}.")
    return Judged("True", "ReadyForNewScale", "The recommended size matches the current size.")


def _limited(at: Standing, outcome: Outcome) -> Judged:
    if outcome.limited:
        return Judged("True", outcome.limited, _limit(at, outcome))
    return Judged("False", "DesiredWithinRange", "The desired count is within the acceptable range.")
