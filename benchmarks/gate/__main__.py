"""The tables of benchmarks/lab/gate.md: false alarms of the rollout's gate, and what it catches.

    python -m benchmarks.gate

Reads recorded measurements below benchmarks/gpu and benchmarks/lab, in a few seconds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial

from benchmarks.gate.recorded import groups, servers
from benchmarks.gate.study import (
    Case,
    Change,
    Rules,
    has_levels,
    other_machines,
    pairs,
    rejected,
    same_machine,
    slowed,
    slowed_under_load,
    unchanged,
)

ABLATION = {
    "the tolerance alone": Rules(interval=False, least_ttft=False, twice=False, under_load=False),
    "and the interval of the difference": Rules(least_ttft=False, twice=False, under_load=False),
    "and 10 ms of TTFT": Rules(twice=False, under_load=False),
    "and a second measurement": Rules(under_load=False),
    "and TPOT under load: the gate": Rules(),
    "and the spread of the baseline's pods": Rules(spread=True),
}
SLOWED = (15, 20, 30)


def tables() -> Iterator[str]:
    found = groups()
    machines = {
        "one machine": list(same_machine(found)),
        "another machine": list(other_machines(servers(found))),
    }
    yield f"{len(found)} configurations, {sum(map(len, found.values()))} clean measurements."
    for name, cases in machines.items():
        yield ""
        yield from _table(name, cases)
    yield ""
    yield from _under_load(machines, list(pairs(found)))


def _table(name: str, cases: list[Case]) -> Iterator[str]:
    slower = " | ".join(f"{item} % slower" for item in SLOWED)
    yield f"| {name}, {len(cases):,} cases: rejected by | unchanged | {slower} |"
    yield f"|{' --- |' * (2 + len(SLOWED))}"
    for label, rules in ABLATION.items():
        yield _row(label, cases, rules, slowed)


def _under_load(machines: dict[str, list[Case]], several: list[Case]) -> Iterator[str]:
    """Engines that are slower with many requests only."""
    less = " | ".join(f"{item} % less" for item in SLOWED)
    yield f"| slower under load alone: rejected by | unchanged | {less} |"
    yield f"|{' --- |' * (2 + len(SLOWED))}"
    without, linear = Rules(under_load=False), partial(slowed_under_load, linear=True)
    for name, every in machines.items():
        cases = [case for case in every if has_levels(case)]
        label = f"{name}, {len(cases):,} cases: "
        yield _row(f"{label}without TPOT under load", cases, without, slowed_under_load)
        yield _row(f"{label}the gate", cases, Rules(), slowed_under_load)
        yield _row(f"{label}the gate, the more requests the slower", cases, Rules(), linear)
    label = f"one measurement, {len(several):,} pairs: "
    once = Rules(twice=False)
    yield _row(f"{label}without TPOT under load", several, replace(without, twice=False), slowed_under_load)
    yield _row(f"{label}with it", several, once, slowed_under_load)


def _row(label: str, cases: list[Case], rules: Rules, slower: Callable[[int], Change]) -> str:
    shares = [rejected(cases, change, rules) for change in (unchanged, *map(slower, SLOWED))]
    return f"| {label} | {' | '.join(map(str, shares))} |"


if __name__ == "__main__":
    for line in tables():
        print(line)
