"""Compares the figures of two measurements: throughput, TTFT and TPOT of one request alone, TPOT of many
requests at once, perplexity.

A figure regresses if it is worse by more than the tolerance, and by more than the interval of the difference.
benchmarks/lab/gate.md has what each rule gains.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from tacho_operator.api.spec.service import GateSpec, GateTolerance
from tacho_operator.api.status.measurement import MeasurementEntry
from tacho_operator.core.gate.figure import Figure, figure_of
from tacho_operator.core.gate.levels import LoadLevel, common_level
from tacho_operator.core.measurement.states import FLOOR

UNDER_LOAD = "tpotUnderLoad"
LEAST_UNDER_LOAD_PERCENT = 10
"""Smallest difference under load that counts. A level has no interval of its TPOT, and repeats to within this
on one GPU.
"""
LEAST_ALLOWED_PERCENT = 0.1
LEAST_TTFT_MILLISECONDS = 10.0
"""Smallest difference of a TTFT that counts. A median of few requests alone has no interval, and varies by up
to 9 ms on one GPU.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """One figure of a candidate against its limit."""

    name: str
    excess: float
    """How far it is on the way to its limit: above 1 it is beyond."""
    regressed: bool
    text: str
    details: str
    """``text`` with the intervals."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Rule:
    """How one figure is read and compared."""

    name: str
    label: str
    unit: str = ""
    tolerance_percent: int
    read: Callable[[MeasurementEntry], Figure | None]
    least: float = 0.0
    """Smallest difference that counts, in ``unit``."""
    more_is_better: bool = False


def compared(
    candidate: MeasurementEntry, baseline: MeasurementEntry, gate: GateSpec, *, like_for_like: bool
) -> Iterator[Comparison]:
    """Every figure that both measurements have; of different kinds, those with a tolerance in ``gate``."""
    for rule in _RULES:
        written = getattr(gate.tolerance_percent, rule.name, None)
        mine, its = rule.read(candidate), rule.read(baseline)
        if mine is None or its is None or (written is None and not like_for_like):
            continue
        if rule.name == "perplexity" and not is_of_same_text(candidate, baseline):
            continue
        yield _comparison(rule, mine, its, _tolerance(rule, gate.tolerance_percent))
    if like_for_like or getattr(gate.tolerance_percent, "tpot", None) is not None:
        level = common_level(candidate, baseline)
        if level is not None:
            yield _under_load(*level, gate.tolerance_percent)


def lacking(
    candidate: MeasurementEntry, baseline: MeasurementEntry, gate: GateSpec, *, like_for_like: bool
) -> list[str]:
    """The figures of speed that only the baseline has, of those to compare. A lower bound lacks nothing."""
    return [
        rule.label
        for rule in _RULES
        if rule.name != "perplexity"
        and (like_for_like or getattr(gate.tolerance_percent, rule.name, None) is not None)
        and rule.read(baseline) is not None
        and rule.read(candidate) is None
        and not (rule.name == "throughput" and candidate.capacity and candidate.capacity.boundary == FLOOR)
    ]


def _comparison(rule: _Rule, mine: Figure, its: Figure, tolerance: int) -> Comparison:
    change = 100 * (mine.value - its.value) / its.value
    worse = -change if rule.more_is_better else change
    # Half the interval of the difference, in percent of the baseline.
    both = math.hypot(mine.ci_percent * mine.value / its.value, its.ci_percent)
    allowed = max(float(tolerance), both, 100 * rule.least / its.value)
    least = f" and {rule.least:g}{rule.unit}" if rule.least else ""
    change_text = f"{change:+.1f} %, tolerance {tolerance} %{least}"
    return Comparison(
        name=rule.name,
        excess=-1.0 if mine.is_floor else worse / max(allowed, LEAST_ALLOWED_PERCENT),
        regressed=worse > allowed and not mine.is_floor,
        text=f"{rule.label} {its.text} -> {mine.text}{rule.unit} ({change_text})",
        details=f"{rule.label} {its.with_interval} -> {mine.with_interval}{rule.unit} ({change_text})",
    )


def _tolerance(rule: _Rule, written: GateTolerance | None) -> int:
    found: int | None = getattr(written, rule.name, None)
    return rule.tolerance_percent if found is None else found


def _under_load(mine: LoadLevel, its: LoadLevel, written: GateTolerance | None) -> Comparison:
    """TPOT with as many requests at once. It regresses only if their throughput does, too: an engine that
    answers more of them at a time has a longer TPOT, and is not slower.
    """
    later = 100 * (mine.tpot_milliseconds / its.tpot_milliseconds - 1)
    less = 100 * (1 - mine.tokens_per_second / its.tokens_per_second)
    allowed, allowed_less = (
        max(_tolerance(rule, written), LEAST_UNDER_LOAD_PERCENT) for rule in (_TPOT, _RATE)
    )
    figures = " -> ".join(
        f"{'~' if level.is_between else ''}{Figure(value=level.tpot_milliseconds).text}"
        for level in (its, mine)
    )
    change = f"({later:+.1f} %, tolerance {allowed} %)"
    text = f"with {mine.requests} requests at once TPOT {figures} ms {change}, throughput {-less:+.1f} %"
    return Comparison(
        name=UNDER_LOAD,
        excess=min(later / allowed, less / allowed_less),
        regressed=later > allowed and less > allowed_less,
        text=text,
        details=text,
    )


def _throughput(entry: MeasurementEntry) -> Figure | None:
    found = entry.capacity
    if found is None:
        return None
    return figure_of(found.output_tokens_per_second, found.ci_percent, is_floor=found.boundary == FLOOR)


def _ttft(entry: MeasurementEntry) -> Figure | None:
    return figure_of(entry.single_stream.ttft_milliseconds_p50) if entry.single_stream else None


def _tpot(entry: MeasurementEntry) -> Figure | None:
    found = entry.single_stream
    return figure_of(found.tpot_milliseconds_p50, found.decode_ci_percent) if found else None


def _perplexity(entry: MeasurementEntry) -> Figure | None:
    return figure_of(entry.quality.perplexity) if entry.quality else None


def is_of_same_text(one: MeasurementEntry, other: MeasurementEntry) -> bool:
    """Whether both have a perplexity of the same text, so that the two can be compared."""
    first, second = one.quality, other.quality
    if first is None or second is None:
        return False
    return (first.text, first.tokens) == (second.text, second.tokens)


_RATE = _Rule(
    name="throughput",
    label="throughput",
    unit=" tok/s",
    tolerance_percent=10,
    read=_throughput,
    more_is_better=True,
)
_TPOT = _Rule(name="tpot", label="TPOT", unit=" ms", tolerance_percent=10, read=_tpot)
_RULES = (
    _RATE,
    _Rule(
        name="ttft",
        label="TTFT",
        unit=" ms",
        tolerance_percent=20,
        read=_ttft,
        least=LEAST_TTFT_MILLISECONDS,
    ),
    _TPOT,
    _Rule(name="perplexity", label="perplexity", tolerance_percent=2, read=_perplexity),
)
RELATIVE = frozenset({UNDER_LOAD, *(rule.name for rule in _RULES)})
"""Names of the figures that are compared with the active revision's."""
