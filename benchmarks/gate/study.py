"""Would the gate reject a configuration that did not change, and does it reject one that got slower?"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations

from benchmarks.gate.recorded import Group
from tacho_contract.launch import ServiceLevel
from tacho_contract.measurement import CurvePoint
from tacho_operator.api.spec.service import GateSpec
from tacho_operator.api.status.measurement import MeasurementEntry
from tacho_operator.core.gate.comparison import UNDER_LOAD
from tacho_operator.core.gate.judge import judge
from tacho_operator.core.gate.levels import common_level

Change = Callable[[MeasurementEntry], MeasurementEntry]


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A baseline, and two measurements of one candidate."""

    baseline: MeasurementEntry
    measured: tuple[MeasurementEntry, MeasurementEntry]
    others: Group
    """Further measurements of the baseline's configuration, as of its other pods."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What has to hold beside the tolerance for a figure to regress."""

    interval: bool = True
    least_ttft: bool = True
    twice: bool = True
    under_load: bool = True
    """Also compare the levels of many requests at once."""
    spread: bool = False
    """Also worse than the baseline's other pods differ: a rule that the gate does not have."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """How many of the cases were rejected."""

    rejected: int
    cases: int

    def __str__(self) -> str:
        return f"{100 * self.rejected / self.cases:.1f} %" if self.cases else "-"


def same_machine(groups: Mapping[str, Group]) -> Iterator[Case]:
    """Every choice of three measurements of one group."""
    for group in groups.values():
        for baseline, first, second in permutations(group, 3):
            others = tuple(item for item in group if item not in (baseline, first, second))
            yield Case(baseline=baseline, measured=(first, second), others=others)


def pairs(groups: Mapping[str, Group]) -> Iterator[Case]:
    """Every choice of two measurements of one group whose throughputs can be compared."""
    for group in groups.values():
        for baseline, measured in permutations(group, 2):
            case = Case(baseline=baseline, measured=(measured, measured), others=())
            if is_compared(case):
                yield case


def other_machines(servers: Mapping[str, Sequence[Group]]) -> Iterator[Case]:
    """A baseline of one session, and two measurements of another one on a GPU of the same product."""
    for sessions in servers.values():
        for before, after in permutations(sessions, 2):
            elsewhere = [item for group in sessions if group not in (before, after) for item in group]
            for baseline in before:
                others = (*(item for item in before if item is not baseline), *elsewhere)
                for first, second in permutations(after, 2):
                    yield Case(baseline=baseline, measured=(first, second), others=others)


def rejected(cases: Iterable[Case], change: Change, rules: Rules) -> Share:
    """How many candidates are rejected whose engine was changed by ``change``.

    Perplexity is left out: the recorded models have random weights.
    """
    judged: dict[tuple[int, int], frozenset[str]] = {}

    def figures(item: MeasurementEntry, case: Case) -> frozenset[str]:
        key = (id(item), id(case.baseline))
        if key not in judged:
            judged[key] = _figures(change(item), case.baseline, rules)
        if not rules.spread:
            return judged[key]
        candidate = change(item)
        return frozenset(name for name in judged[key] if not _within_spread(name, candidate, case))

    count = total = 0
    for case in cases:
        measured = case.measured if rules.twice else case.measured[:1]
        count += bool(frozenset.intersection(*(figures(item, case) for item in measured)))
        total += 1
    return Share(rejected=count, cases=total)


def _figures(candidate: MeasurementEntry, baseline: MeasurementEntry, rules: Rules) -> frozenset[str]:
    """The figures that regress in one measurement."""
    if candidate.measure_key != baseline.measure_key:  # capacities of different SLOs
        candidate = candidate.model_copy(update={"capacity": None})
    one, other = _seen(candidate, rules), _seen(baseline, rules)
    found = judge(one, other, GateSpec(), ServiceLevel(), like_for_like=True).figures
    return frozenset(found) - {"perplexity"}


def _seen(entry: MeasurementEntry, rules: Rules) -> MeasurementEntry:
    """``entry`` as it is judged without the rules that are left out."""
    capacity, single = entry.capacity, entry.single_stream
    if not rules.interval:
        capacity = capacity and dataclasses.replace(capacity, ci_percent=0.0)
        single = single and dataclasses.replace(single, decode_ci_percent=0.0)
    if not rules.least_ttft and single and single.ttft_milliseconds_p50:
        # In other units the least difference is nothing, and shares are the same.
        single = dataclasses.replace(single, ttft_milliseconds_p50=1e6 * single.ttft_milliseconds_p50)
    curve = entry.curve if rules.under_load else []
    return entry.model_copy(update={"capacity": capacity, "single_stream": single, "curve": curve})


def _within_spread(name: str, candidate: MeasurementEntry, case: Case) -> bool:
    """Whether the candidate differs from the baseline by less than the baseline's pods do."""
    if name == UNDER_LOAD:
        return False
    same = [item for item in case.others if item.measure_key == case.baseline.measure_key]
    pods = (case.baseline, *(same if name == "throughput" else case.others))
    values = [value for item in pods if (value := value_of(name, item))]
    mine, its = value_of(name, candidate), value_of(name, case.baseline)
    if not values or not mine or not its:
        return False
    return abs(mine - its) / its <= (max(values) - min(values)) * len(values) / sum(values)


def value_of(name: str, entry: MeasurementEntry) -> float | None:
    """The figure of that name as it is compared; None where it was not measured."""
    if name == "throughput":
        return entry.capacity.output_tokens_per_second if entry.capacity else None
    found: float | None = getattr(entry.single_stream, f"{name}_milliseconds_p50", None)
    return found


def has_levels(case: Case) -> bool:
    """Whether baseline and candidate have enough levels of many requests in common, in both measurements."""
    return all(common_level(item, case.baseline) is not None for item in case.measured)


def is_compared(case: Case) -> bool:
    """Whether the case has throughputs that can be compared, none of the candidate a lower bound."""
    return value_of("throughput", case.baseline) is not None and all(
        item.measure_key == case.baseline.measure_key
        and item.capacity is not None
        and item.capacity.output_tokens_per_second is not None
        and item.capacity.ci_percent is not None
        and item.capacity.boundary != "Floor"
        for item in case.measured[:1]
    )


# --- slower engines ----------------------------------------------------------------------------------
def unchanged(entry: MeasurementEntry) -> MeasurementEntry:
    return entry


def slowed(percent: int) -> Change:
    """A measurement of an engine that has so much less throughput and is as much slower for each request."""
    share = 1 - percent / 100

    def change(entry: MeasurementEntry) -> MeasurementEntry:
        capacity, single = entry.capacity, entry.single_stream
        if capacity and capacity.output_tokens_per_second:
            rate = capacity.output_tokens_per_second * share
            capacity = dataclasses.replace(capacity, output_tokens_per_second=rate)
        if single and single.tpot_milliseconds_p50 and single.ttft_milliseconds_p50:
            single = dataclasses.replace(
                single,
                tpot_milliseconds_p50=single.tpot_milliseconds_p50 / share,
                ttft_milliseconds_p50=single.ttft_milliseconds_p50 / share,
            )
        curve = [_times(point, 1 / share) for point in entry.curve]
        return entry.model_copy(update={"capacity": capacity, "single_stream": single, "curve": curve})

    return change


def slowed_under_load(percent: int, *, linear: bool = False) -> Change:
    """A measurement of an engine that is as fast for one request alone, and has so much less throughput at
    its capacity, or at its highest level where that is not known.

    Each further request costs more time: levels are slower by the share of their gap that further requests
    add; ``linear``: by their number.
    """
    over = 1 / (1 - percent / 100) - 1

    def change(entry: MeasurementEntry) -> MeasurementEntry:
        levels = {point.concurrency: point for point in entry.curve}
        known = entry.capacity.concurrency if entry.capacity else None
        highest = levels.get(known or max(levels, default=0))
        alone = levels[1].tpot_milliseconds_p50 if 1 in levels else None

        def weight(point: CurvePoint) -> float:
            if linear:
                return point.concurrency - 1.0
            return (
                max(0.0, 1 - alone / point.tpot_milliseconds_p50)
                if alone and point.tpot_milliseconds_p50
                else 0.0
            )

        full = weight(highest) if highest else 0.0
        if not full:
            return entry
        curve = [_times(point, 1 + over * weight(point) / full) for point in entry.curve]
        capacity = entry.capacity
        if capacity and capacity.output_tokens_per_second:
            rate = capacity.output_tokens_per_second / (1 + over)
            capacity = dataclasses.replace(capacity, output_tokens_per_second=rate)
        return entry.model_copy(update={"capacity": capacity, "curve": curve})

    return change


def _times(point: CurvePoint, factor: float) -> CurvePoint:
    """The level of an engine that takes ``factor`` times as long."""
    tpot, rate = point.tpot_milliseconds_p50, point.output_tokens_per_second
    return dataclasses.replace(
        point,
        tpot_milliseconds_p50=tpot and tpot * factor,
        output_tokens_per_second=rate and rate / factor,
    )
