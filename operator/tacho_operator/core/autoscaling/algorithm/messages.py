"""Texts of a scaling decision: its calculation, and the condition ScalingActive."""

from __future__ import annotations

from tacho_operator.core.autoscaling.algorithm import tuning
from tacho_operator.core.autoscaling.algorithm.behavior import whole
from tacho_operator.core.autoscaling.algorithm.demand import Reading
from tacho_operator.core.autoscaling.algorithm.need import ReplicaNeed
from tacho_operator.core.autoscaling.algorithm.types import (
    Attainment,
    ConditionState,
    Decision,
    Figures,
    Outcome,
    ScalingInput,
)

NAMES_SHOWN = 3


def calculation(at: ScalingInput, outcome: Outcome, found: ReplicaNeed, reading: Reading) -> str:
    """The calculation behind a decision as one sentence: the load, the target utilization, the needed
    replicas."""
    parts = []
    terms, target = found.terms, f"{found.target:.2f}"
    if found.offered is not None:
        work = f"load of {found.offered:.2f} replicas"
        if found.growth >= 0.005:
            work += f" + {found.growth:.2f} growth within the cold start of {found.cold_start_seconds:.0f} s"
        share = f"{target} x {found.trust:.2f}" if found.trust != 1 else target
        parts.append(f"{work}, over {share} = {terms['Work']:.2f}")
    if "Concurrency" in terms:
        parts.append(
            f"{found.requests} concurrent requests over {target} x {found.concurrency:.4g} "
            f"= {terms['Concurrency']:.2f}"
        )
    if found.kv_cache is not None:
        parts.append(
            f"KV cache {found.kv_cache:.2f} over {tuning.TARGET_KV_CACHE:.2f} = {terms['KVCache']:.2f}"
        )
    before, silent = _decisive_need(at, outcome), reading.silent
    count = f" {silent} serving pods report no load metrics and count as full." if silent else ""
    slow = _slow(at, reading.slow)
    return (
        f"{_how_many(at, outcome)}: {before}{'; '.join(parts)}.{_deviation_reason(at, outcome)}{count}{slow}"
    )


def _slow(at: ScalingInput, slow: tuple[str, ...]) -> str:
    if not slow:
        return ""
    names = {pod.uid: pod.name or pod.uid for pod in at.pods}
    shown = ", ".join(names[uid] for uid in slow[:NAMES_SHOWN])
    more = f" and {len(slow) - NAMES_SHOWN} more" if len(slow) > NAMES_SHOWN else ""
    share = f"{100 * tuning.SLOW:.0f} %"
    return f" Pods below {share} of the others' speed, replaced in the sum: {shown}{more} (+ {len(slow)})."


def unknown(at: ScalingInput, outcome: Outcome) -> str:
    """The reason of a decision made while the load is unknown, for example ``Held at 2: no pod reports its
    load.``"""
    stays = outcome.replicas == at.replicas
    size = f"Held at {at.replicas}" if stays else _how_many(at, outcome)
    return f"{size}: {outcome.blind if at.pods else 'no pod serves yet'}.{_deviation_reason(at, outcome)}"


def _decisive_need(at: ScalingInput, outcome: Outcome) -> str:
    """A clause with the need in the windows or of earlier bursts, if it decided; "": the present one did."""
    if outcome.lowest is not None:
        return f"lowest need of {at.policy.up.window_seconds:.0f} s {outcome.lowest:.2f}; now "
    if outcome.needed >= at.replicas:
        return ""
    if outcome.by_bursts:
        return f"earlier bursts filled {outcome.highest:.2f}; now "
    return f"highest need of {at.policy.down.window_seconds:.0f} s {outcome.highest:.2f}; now "


def _how_many(at: ScalingInput, outcome: Outcome) -> str:
    if outcome.replicas == at.replicas:
        return _replicas(at.replicas)
    return f"{at.replicas} -> {_replicas(outcome.replicas)}"


def _deviation_reason(at: ScalingInput, outcome: Outcome) -> str:
    """A sentence on why the result differs from the calculated number; "": it does not differ."""
    if outcome.limited:
        return f" {_limit(at, outcome)}"
    if outcome.able == "ScaleUpStabilized":
        return f" {_replicas(outcome.needed)} are needed, but not yet: {_waits_up(at)}."
    if outcome.able == "ScaleDownStabilized" and (kept := _retention_clause(at, outcome)):
        return f" Fewer suffice; {kept}."
    if outcome.able == "ScaleDownStabilized":
        return f" Fewer suffice, but not for the whole of the last {at.policy.down.window_seconds:.0f} s."
    return ""


def _retention_clause(at: ScalingInput, outcome: Outcome) -> str:
    """A clause on what keeps replicas besides the scale-down window, such as earlier bursts; "": nothing."""
    if outcome.by_bursts and whole(outcome.highest) >= at.replicas:
        return outcome.held or "earlier bursts filled them"
    return outcome.held


def _limit(at: ScalingInput, outcome: Outcome) -> str:
    bounds = at.policy.bounds
    return {
        "TooFewReplicas": f"{bounds.source} requires at least {bounds.least}.",
        "TooManyReplicas": f"{bounds.source} allows at most {bounds.most}.",
        "ScaleUpLimit": f"{_replicas(outcome.needed)} are needed; a scale-up policy limits the step.",
        "ScaleDownLimit": "Fewer suffice; a scale-down policy limits the step.",
        "QuotaExceeded": f"Quota or admission allows {outcome.replicas} replicas at most.",
    }[outcome.limited]


def _replicas(count: int) -> str:
    return "1 replica" if count == 1 else f"{count} replicas"


def figures_of(at: ScalingInput, reading: Reading, found: ReplicaNeed, attainment: Attainment) -> Figures:
    """The load figures of a decision, for status.autoscaling and the metrics.

    Where pods count tokens, a first sample tells no load: what runs at one instant, of a part of the pods
    perhaps, is no rate, and an HPA would give replicas up for it.
    """
    reporting = len(at.pods) - reading.silent
    counts = any(item.sample.generated_tokens is not None for item in reading.tracks.values())
    is_rateless = reading.is_first and counts and found.offered is None
    filled = None if is_rateless else max(found.loads.values(), default=None)
    measured = None if at.capacity.unverified else at.capacity.requests_per_second
    rate = measured * found.trust if measured else None
    return Figures(
        demand=filled,
        utilization=filled / reporting if filled is not None and reporting else None,
        running=reading.running,
        waiting=reading.waiting,
        need=whole(found.need),
        trusted_requests_per_second=rate,
        trusted_prefill_tokens_per_second=rate * at.capacity.input_tokens if rate else None,
        trusted_output_tokens_per_second=rate * at.capacity.output_tokens if rate else None,
        cold_start_seconds=found.cold_start_seconds,
        silent=reading.silent,
        attainment=attainment,
        counts_tokens=counts,
    )


def decided(at: ScalingInput, outcome: Outcome, figures: Figures, reason: str) -> Decision:
    """The scaling decision of an outcome, with ``reason`` and the condition ScalingActive."""
    if at.capacity.unattainable:
        reason = f"{reason} {_clause(at.capacity.unverified)}."
    return Decision(
        replicas=outcome.replicas,
        cause=outcome.cause,
        reason=reason,
        figures=figures,
        active=_slo_unattainable(at, outcome, figures),
        deviation=outcome.limited or outcome.able,
    )


def _slo_unattainable(at: ScalingInput, outcome: Outcome, figures: Figures) -> ConditionState:
    known = _scaling_active(at, outcome, figures)
    if not at.capacity.unattainable:
        return known
    why = _clause(at.capacity.unverified)
    message = known.message if known.message.startswith(why) else f"{why}. {known.message}"
    return ConditionState("False", "SLOUnattainable", message)


def _clause(text: str) -> str:
    """``text`` with a capital first letter."""
    return text[0].upper() + text[1:]


def _scaling_active(at: ScalingInput, outcome: Outcome, figures: Figures) -> ConditionState:
    """The condition ScalingActive: whether the load is known, and what else decides the size."""
    if outcome.blind:
        why = _clause(outcome.blind) if at.pods else "No pod serves yet"
        size = f". {_limit(at, outcome)}" if outcome.limited else "; the number of replicas stays."
        return ConditionState("False", "FailedGetPodsMetric", f"{why}{size}")
    silent = f" {figures.silent} of {len(at.pods)} pods report none." if figures.silent else ""
    why = at.capacity.unverified or ("" if figures.counts_tokens else "no pod counts tokens")
    reason = "CapacityUnverified" if why else "ValidMetricFound"
    known = "Load metrics are available."
    if why:
        known = f"{_clause(why)}: replicas follow concurrent requests and the KV cache."
    if outcome.limited == "TooManyReplicas":
        reason = outcome.limited
    return ConditionState("True", reason, f"{known}{silent}{_deviation_reason(at, outcome)}")


def _waits_up(at: ScalingInput) -> str:
    seconds = at.policy.up.window_seconds
    return f"less was needed within {seconds:.0f} s" if seconds else "one sample shows no rate"
