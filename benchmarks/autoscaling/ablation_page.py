"""The tables of benchmarks/lab/scaling/ablation.md, from ablation.csv and the judging run beside it. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from statistics import fmean

from benchmarks.autoscaling.ablation import FAMILIES, FAMILY_OF, MECHANISMS, NOTHING, means, table
from benchmarks.autoscaling.goals import OWN
from benchmarks.autoscaling.records import ON, Row
from benchmarks.autoscaling.scenarios import SCENARIOS

BEGIN, END = "<!-- begin judged: python -m benchmarks.autoscaling.page -->", "<!-- end judged -->"
ENOUGH_POINTS, ENOUGH_PERCENT = 1.0, 5.0
"""What a mechanism earns in a scenario at least, or it goes."""
SMALL_POINTS, SMALL_PERCENT = 0.005, 0.05
"""Less is not shown."""
FOR_A_GOAL = {"deviation": "short requests"}
"""Kept because the goal of that scenario would be missed without it."""
A_TABLE = 5
"""Mechanisms that a table of all scenarios shows at a time."""
HEAD = """Of {mechanisms} mechanisms, in {scenarios} scenarios on the {seeds} judging seeds of `{commit}`:

| without it | mean | most points lost | most GPU-hours added | earns |
|---|---|---|---|---|"""

GUARDS = """
**Guards** exist for what no scenario has. Each counts in a family of its own, on the same seeds, by the code
of `{commit}`:
"""
Found = Mapping[str, Mapping[str, tuple[float, float]]]
"""Means by mechanism, by scenario."""

Difference = tuple[float, float]
"""Points of SLO attainment, and percent of the GPU-hours, without a mechanism."""


def difference(whole: Difference, left: Difference) -> Difference:
    return left[0] - whole[0], 100 * (left[1] / whole[1] - 1)


def earns(differences: Iterable[Difference]) -> bool:
    return any(points <= -ENOUGH_POINTS or percent >= ENOUGH_PERCENT for points, percent in differences)


def judged(ablated: Sequence[Row], judging: Sequence[Row]) -> str:
    """All tables of the commit that was ablated last."""
    usual = [row for row in ablated if row.scenario not in FAMILY_OF]
    commit = usual[-1].commit
    rows = {(row.policy, row.scenario): row for row in usual if row.commit == commit}
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
    guarding = families([row for row in ablated if row.scenario in FAMILY_OF])
    parts = [head, *_summary(found, guarding), *_still(commit, judging), *_guards(ablated, guarding)]
    for first in range(0, len(names), A_TABLE):
        shown = names[first : first + A_TABLE]
        parts += ["", *_lines({name: found[name] for name in (NOTHING, *shown)})]
    return "\n".join(parts)


def families(rows: Sequence[Row]) -> dict[str, Found]:
    """Means of the last run of each family, by its name."""
    found: dict[str, Found] = {}
    for family in FAMILIES:
        last = {(row.policy, row.scenario): _means(row) for row in rows if row.commit == rows[-1].commit}
        names = (NOTHING, *family.guards)
        if all((name, item) in last for name in names for item in family.scenarios):
            found[family.name] = {
                name: {item: last[name, item] for item in family.scenarios} for name in names
            }
    return found


def _guards(ablated: Sequence[Row], found: Mapping[str, Found]) -> Iterator[str]:
    if found:
        yield GUARDS.format(commit=next(row.commit for row in reversed(ablated) if row.scenario in FAMILY_OF))
    for number, means_of in enumerate(found.values()):
        yield from ([""] if number else [])
        yield from _lines(means_of)


def _lines(found: Found) -> Iterator[str]:
    return (line.rstrip() for line in table(found))


def _still(commit: str, judging: Sequence[Row]) -> Iterator[str]:
    """Where a later commit has other rows on these seeds than the one whose mechanisms were left out."""
    own = {row.scenario: row for row in judging if (row.commit, row.policy) == (commit, OWN)}
    later = [row for row in judging if row.policy == OWN and row.commit.endswith(f"{ON}{commit}")]
    latest = {row.scenario: row for row in later if row.commit == later[-1].commit}
    if latest.keys() != own.keys():
        return
    other = [
        name
        for name, row in latest.items()
        if (row.slo_percent, row.gpu_hours) != (own[name].slo_percent, own[name].gpu_hours)
    ]
    present, but = later[-1].commit.partition(ON)[0], f", but of {' and '.join(other)}" if other else ""
    yield f"\nThe algorithm of `{present}` has the same rows on these seeds, to the last digit{but}."


def _means(row: Row) -> Difference:
    return means([(slo, hours, None) for slo, hours in zip(row.slo_percent, row.gpu_hours, strict=True)])


def _summary(found: Found, guarding: Mapping[str, Found]) -> Iterator[str]:
    whole = found[NOTHING]
    for name in (name for name in found if name != NOTHING):
        by = _differences(found, name)
        points = min(by, key=lambda item: by[item][0])
        hours = max(by, key=lambda item: by[item][1])
        mean = difference(_mean(whole.values()), _mean(found[name].values()))
        lost = _at(points, by) if by[points][0] <= -SMALL_POINTS else "none"
        added = _at(hours, by) if by[hours][1] >= SMALL_PERCENT else "none"
        yield f"| {name} | {_text(mean)} | {lost} | {added} | {_verdict(name, by, guarding)} |"


def _verdict(name: str, by: Mapping[str, Difference], guarding: Mapping[str, Found]) -> str:
    own = next((family for family in FAMILIES if name in family.guards), None)
    if own and own.name in guarding:
        return f"{'yes' if earns(_differences(guarding[own.name], name).values()) else 'no'}, {own.name}"
    if earns(by.values()):
        return "yes"
    return f"no; for the goal of {FOR_A_GOAL[name]}" if name in FOR_A_GOAL else "no"


def _differences(found: Found, name: str) -> dict[str, Difference]:
    return {item: difference(found[NOTHING][item], left) for item, left in found[name].items()}


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
        raise ValueError("benchmarks/lab/scaling/ablation.md has no markers for its tables")
    return f"{before}{BEGIN}\n{judged(ablated, judging)}\n{END}{after}"
