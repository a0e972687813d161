"""Judges one measurement of a candidate: by the active revision's, and by the SLO."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from tacho_contract.launch import ServiceLevel
from tacho_contract.measurement import INVALIDATING, CurvePoint
from tacho_operator.api.spec.service import GateSpec
from tacho_operator.api.status.measurement import MeasurementEntry
from tacho_operator.core.gate.comparison import RELATIVE, Comparison, compared, is_of_same_text, lacking
from tacho_operator.core.gate.figure import figure_of
from tacho_operator.core.measurement.states import clean

SHARED = "SharedGPU"
COHORT, PLAIN_RATIO = 59, 1.15
"""Requests that a 95th percentile needs, and the SLO ratio above which fewer requests suffice."""


class Kind(StrEnum):
    """The result of judging a measurement."""

    ACCEPTABLE = "Acceptable"
    REGRESSION = "Regression"
    UNJUDGED = "Unjudged"


@dataclass(frozen=True, slots=True, kw_only=True)
class GateVerdict:
    """What one measurement of a candidate showed."""

    kind: Kind
    what: str
    """The worst figure, or why nothing was judged, as a clause."""
    details: str = ""
    """All figures with intervals and tolerances, and what they were compared with."""
    figures: tuple[str, ...] = ()
    """Names of the figures that regressed."""
    again: bool = False
    """Whether another measurement may be judged."""


def judge(
    candidate: MeasurementEntry,
    baseline: MeasurementEntry | None,
    gate: GateSpec,
    slo: ServiceLevel,
    *,
    like_for_like: bool,
    earlier: MeasurementEntry | None = None,
) -> GateVerdict:
    """The verdict on one measurement of a candidate. ``baseline``: the active revision's; None: it has none.

    ``like_for_like``: whether both are of the same model, quantization method and hardware. ``earlier``: what
    the active revision measured for another SLO, which counts for targets where there is no baseline.
    """
    if not clean(candidate):
        flags = ", ".join(flag for flag in candidate.flags if flag in INVALIDATING)
        return GateVerdict(kind=Kind.UNJUDGED, what=f"its measurement is provisional ({flags})", again=True)
    if SHARED in candidate.flags:
        return GateVerdict(kind=Kind.UNJUDGED, what="it was measured on a shared GPU")
    found, missing, note = list(_targets(candidate, baseline, earlier, slo)), list[str](), ""
    if baseline is not None:
        found += compared(candidate, baseline, gate, like_for_like=like_for_like)
        missing = lacking(candidate, baseline, gate, like_for_like=like_for_like)
        if _lost_perplexity(candidate, baseline):
            is_set = gate.tolerance_percent is not None and gate.tolerance_percent.perplexity is not None
            missing += ["perplexity"] if is_set else []
            note = "; perplexity is not compared: its measurement has none of the same text"
    if missing and not any(item.regressed for item in found):
        what = f"its measurement lacks {', '.join(missing)}"
        return GateVerdict(kind=Kind.UNJUDGED, what=what, again=True)
    if not found:
        return GateVerdict(kind=Kind.UNJUDGED, what=_why_nothing(baseline, like_for_like=like_for_like))
    worst = max(found, key=lambda item: (item.regressed, item.excess))
    regressed = tuple(item.name for item in found if item.regressed)
    return GateVerdict(
        kind=Kind.REGRESSION if regressed else Kind.ACCEPTABLE,
        what=worst.text,
        details=f"{_baseline_text(found, baseline)}: {'; '.join(item.details for item in found)}{note}",
        figures=regressed,
    )


def comparable(entry: MeasurementEntry) -> bool:
    """Whether the measurement is undisturbed, so that others may be compared with it."""
    return clean(entry) and SHARED not in entry.flags


def _lost_perplexity(candidate: MeasurementEntry, baseline: MeasurementEntry) -> bool:
    """Whether the baseline has a perplexity that nothing of the candidate can be compared with."""
    its, mine = (item.quality and figure_of(item.quality.perplexity) for item in (baseline, candidate))
    return bool(its) and not (mine and is_of_same_text(candidate, baseline))


def _baseline_text(found: Sequence[Comparison], baseline: MeasurementEntry | None) -> str:
    if baseline is None:
        return "compared with no revision: the active one has no current, clean measurement"
    if any(item.name in RELATIVE for item in found):
        return f"compared with revision {baseline.revision or 'unknown'}"
    return f"compared with no revision: {_DIFFERENT}"


_DIFFERENT = "model, quantization, hardware or lengths differ from the active one's, and no tolerance is set"


def _why_nothing(baseline: MeasurementEntry | None, *, like_for_like: bool) -> str:
    if baseline is None:
        return "the active revision has no current, clean measurement, and no target of spec.slo is known"
    return "the measurements have no figure in common" if like_for_like else _DIFFERENT


def _targets(
    candidate: MeasurementEntry,
    baseline: MeasurementEntry | None,
    earlier: MeasurementEntry | None,
    slo: ServiceLevel,
) -> Iterator[Comparison]:
    """For each target of spec.slo, whether one request alone misses it, and the active revision does not."""
    for name, target in (("ttft", slo.ttft_milliseconds), ("tpot", slo.tpot_milliseconds)):
        mine = _ratio(candidate, name, target) if target > 0 else None
        its = _ratio(baseline, name, target) if baseline else 0.0
        if baseline is None and earlier is not None:  # its percentiles were of other targets
            its = _median_ratio(earlier, name, target) or 0.0
        if mine is None or its is None:
            continue
        text = f"slo.{name}Milliseconds ({target}): one request alone takes {mine:.2f} times as long"
        known = f", with the active revision {its:.2f} times" if its else ""
        yield Comparison(
            name=f"slo.{name}",
            excess=mine,
            regressed=its <= 1 < mine and _is_certain(candidate, mine, name, target),
            text=text,
            details=f"{text}{known}",
        )


def _is_certain(entry: MeasurementEntry, ratio: float, name: str, target: int) -> bool:
    """Whether a missed target is no chance: a percentile of few requests is, just above its target."""
    level = _single_stream_point(entry)
    requests = (level.requests if level else None) or 0
    return ratio > PLAIN_RATIO or requests >= COHORT or (_median_ratio(entry, name, target) or 0.0) > 1


def _ratio(entry: MeasurementEntry, name: str, target: int) -> float | None:
    """The SLO's percentile of one request alone over its target, which is no less than the median's."""
    level = _single_stream_point(entry)
    found = figure_of(getattr(level, f"{name}_slo_ratio", None))
    ratios = [item for item in (found.value if found else None, _median_ratio(entry, name, target)) if item]
    return max(ratios) if found or (ratios and ratios[0] > 1) else None


def _median_ratio(entry: MeasurementEntry, name: str, target: int) -> float | None:
    found = figure_of(getattr(entry.single_stream, f"{name}_milliseconds_p50", None))
    return found.value / target if found and target > 0 else None


def _single_stream_point(entry: MeasurementEntry) -> CurvePoint | None:
    return next((point for point in entry.curve if point.concurrency == 1), None)
