"""The messages of a decision: its calculation, and the conditions of a HorizontalPodAutoscaler."""

from __future__ import annotations

from tacho_operator.core.autoscaling.algorithm.learning import hopeless_tail
from tacho_operator.core.autoscaling.algorithm.need import UP, Need, ServiceLoad
from tacho_operator.core.autoscaling.algorithm.types import Figures, Judged, Outcome, Standing


def arithmetic(
    at: Standing, outcome: Outcome, *, load: ServiceLoad, up: Need, trusted: float, cold_start_seconds: float
) -> str:
    """The calculation behind the number of replicas."""
    parts = []
    if up.work is not None and load.work is not None:
        work = f"load of {load.work:.2f} replicas"
        if load.coming >= 0.005:
            work += f" + {load.coming:.2f} growth within the cold start of {cold_start_seconds:.0f} s"
        if load.backlog >= 0.005:
            work += f" + {load.backlog / load.drain_seconds:.2f} for pending requests"
        share = f"{UP:.2f} x {trusted:.2f}" if trusted != 1 else f"{UP:.2f}"
        parts.append(f"{work}, over {share} = {up.work:.2f}")
    if up.requests is not None:
        parts.append(
            f"{load.requests:.4g} concurrent requests over {UP:.2f} x {at.capacity.concurrency:.4g} "
            f"= {up.requests:.2f}"
        )
    if up.kv_cache is not None:
        parts.append(f"KV cache {up.kv_cache:.2f}")
    silent = f" {load.silent} serving pods report no load metrics and count as full." if load.silent else ""
    return f"{_how_many(at, outcome)}: {'; '.join(parts)}.{_why(at, outcome)}{silent}"


def _how_many(at: Standing, outcome: Outcome) -> str:
    if outcome.replicas == at.replicas:
        return _replicas(at.replicas)
    return f"{at.replicas} -> {_replicas(outcome.replicas)}"


def _why(at: Standing, outcome: Outcome) -> str:
    """The reason for another number than the calculated one; "" without any."""
    if outcome.limited:
        return f" {_limit(at, outcome)}"
    if outcome.able == "ScaleUpStabilized":
        return f" {_replicas(outcome.asked)} are needed, but not yet for the stabilization window."
    if outcome.held:
        return f" Fewer suffice; {outcome.held}."
    if outcome.able == "ScaleDownStabilized":
        return f" Fewer suffice, but not yet for {outcome.window:.0f} s."
    return ""


def _limit(at: Standing, outcome: Outcome) -> str:
    bounds = at.policy.bounds
    return {
        "TooFewReplicas": f"{bounds.source} requires at least {bounds.least}.",
        "TooManyReplicas": f"{bounds.source} allows at most {bounds.most}.",
        "ScaleUpLimit": f"{_replicas(outcome.asked)} are needed; a scale-up policy limits the step.",
        "ScaleDownLimit": "Fewer suffice; a scale-down policy limits the step.",
        "QuotaExceeded": f"Quota or admission allows {outcome.replicas} replicas at most.",
    }[outcome.limited]


def _replicas(count: int) -> str:
    return "1 replica" if count == 1 else f"{count} replicas"


def judged(at: Standing, outcome: Outcome, figures: Figures) -> tuple[Judged, Judged, Judged]:
    """ScalingActive, AbleToScale and ScalingLimited."""
    return _active(at, outcome, figures), _able(at, outcome), _limited(at, outcome)


def _active(at: Standing, outcome: Outcome, figures: Figures) -> Judged:
    if not at.pods:
        return Judged("False", "FailedGetPodsMetric", "No pod serves yet; the number of replicas stays.")
    if outcome.blind:
        message = f"None of {len(at.pods)} serving pods reports load metrics; the number of replicas stays."
        return Judged("False", "FailedGetPodsMetric", message)
    silent = f" {figures.silent} of {len(at.pods)} pods report none." if figures.silent else ""
    if at.capacity.unverified:
        why = at.capacity.unverified[0].upper() + at.capacity.unverified[1:]
        message = f"{why}: replicas follow concurrent requests and the KV cache.{silent}"
        return Judged("True", "CapacityUnverified", message)
    return Judged("True", "ValidMetricFound", f"Load metrics are available.{silent}{_tokens(at)}")


def _tokens(at: Standing) -> str:
    """A TPOT target that fewer requests hardly help; "" for any other."""
    measured, target = at.capacity.tpot_half_seconds, at.policy.tpot_seconds
    if measured is None or target is None or not hopeless_tail(at.capacity, at.policy):
        return ""
    return (
        f" TPOT is {1000 * measured:.3g} of {1000 * target:.4g} ms at half the load; "
        "only a mean above the target lowers the capacity."
    )


def _able(at: Standing, outcome: Outcome) -> Judged:
    if outcome.replicas != at.replicas:
        return Judged("True", "SucceededRescale", f"The new size is {outcome.replicas}.")
    if outcome.able == "ScaleUpStabilized":
        return Judged(
            "True", outcome.able, "More replicas are needed, but not yet for the stabilization window."
        )
    if outcome.able == "ScaleDownStabilized":
        why = (
            outcome.held
            or f"more were needed within {outcome.window:.0f} s, or the window is not yet observed"
        )
        return Judged("True", outcome.able, f"Fewer suffice; {why}.")
    return Judged("True", "ReadyForNewScale", "The recommended size matches the current size.")


def _limited(at: Standing, outcome: Outcome) -> Judged:
    if outcome.limited:
        return Judged("True", outcome.limited, _limit(at, outcome))
    return Judged("False", "DesiredWithinRange", "The desired count is within the acceptable range.")
