"""The tables of docs/results/scaling/ablation.md, from ablation.csv and the judging run beside it. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from statistics import fmean

from benchmarks.autoscaling.ablation import MECHANISMS, NOTHING, means, table
from benchmarks.autoscaling.goals import OWN
from benchmarks.autoscaling.records import Row
from benchmarks.autoscaling.scenarios import SCENARIOS

BEGIN, END = "<!-- begin judged: python -m benchmarks.autoscaling.page -->", "<!-- end judged -->"
ENOUGH_POINTS, ENOUGH_PERCENT = 1.0, 5.0
"""What a mechanism earns in a scenario at least, or it goes."""
SMALL_POINTS, SMALL_PERCENT = 0.005, 0.05
"""Less is not shown."""
GUARDS = ("KV cache", "slow pods", "correction")
"""These stay for what no scenario has: faulty machines, small memory, wrong measurements."""
A_TABLE = 5
"""Mechanisms that a table of all scenarios shows at a time."""
HEAD = """Of {mechanisms} mechanisms, in {scenarios} scenarios on the {seeds} judging seeds of `{commit}`:

| without it | mean | most points lost | most GPU-hours added | earns |
|---|---|---|---|---|"""

Difference = tuple[float, float]
"""Points of SLO attainment, and percent of the GPU-hours, without a mechanism."""


def difference(whole: Difference, left: Difference) -> Difference:
    return left[0] - whole[0], 100 * (left[1] / whole[1] - 1)


def earns(differences: Iterable[Difference]) -> bool:
    return any(points <= -ENOUGH_POINTS or percent >= ENOUGH_PERCENT for points, percent in differences)


def judged(ablated: Sequence[Row], judging: Sequence[Row]) -> str:
    """All tables of the commit that was ablated last."""
    commit = ablated[-1].commit
    rows = {(row.policy, row.scenario): row for row in ablated if row.commit == commit}
    own = {row.scenario: row for row in judging if row.commit == commit and row.policy == OWN}
    scenarios = [name for name in SCENARIOS if name in own]
    names = [
        name for name in MECHANISMS if name != NOTHING and all((name, item) in rows for item in scenarios)
    ]
    found = {NOTHING: {item: _means(own[item]) for item in scenarios}} | {
        name: {item: _means(rows[name, item]) for item in scenarios} for name in names
    }
    head = HEAD.format(
        mechanisms=len(names),
        scenarios=len(scenarios),
        seeds=len(own[scenarios[0]].slo_percent),
        commit=commit,
    )
    parts = [head, *_summary(found)]
    for first in range(0, len(names), A_TABLE):
        shown = names[first : first + A_TABLE]
        parts += ["", *(line.rstrip() for line in table({name: found[name] for name in (NOTHING, *shown)}))]
    return "\n".join(parts)


def _means(row: Row) -> Difference:
    return means([(slo, hours, None) for slo, hours in zip(row.slo_percent, row.gpu_hours, strict=True)])


def _summary(found: Mapping[str, Mapping[str, Difference]]) -> Iterator[str]:
    whole = found[NOTHING]
    for name in (name for name in found if name != NOTHING):
        by = {item: difference(whole[item], found[name][item]) for item in whole}
        points = min(by, key=lambda item: by[item][0])
        hours = max(by, key=lambda item: by[item][1])
        mean = difference(_mean(whole.values()), _mean(found[name].values()))
        verdict = "yes" if earns(by.values()) else "no"
        verdict = f"a guard; {verdict}" if name in GUARDS else verdict
        lost = _at(points, by) if by[points][0] <= -SMALL_POINTS else "none"
        added = _at(hours, by) if by[hours][1] >= SMALL_PERCENT else "none"
        yield f"| {name} | {_text(mean)} | {lost} | {added} | {verdict} |"


def _mean(items: Iterable[Difference]) -> Difference:
    slo, hours = zip(*items, strict=True)
    return fmean(slo), fmean(hours)


def _text(difference: Difference) -> str:
    return f"{difference[0]:+.2f} · {difference[1]:+.1f} %"


def _at(scenario: str, by: Mapping[str, Difference]) -> str:
    return f"{scenario}: {_text(by[scenario])}"


def page(text: str, ablated: Sequence[Row], judging: Sequence[Row]) -> str:
    """``text`` with the tables between its markers."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError("docs/results/scaling/ablation.md has no markers for its tables")
    return f"{before}{BEGIN}\n{judged(ablated, judging)}\n{END}{after}"
