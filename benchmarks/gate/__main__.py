"""The tables of docs/results/gate.md: false alarms of the rollout's gate, and what it catches.

    python -m benchmarks.gate

Reads recorded measurements below benchmarks/gpu and docs/results, in a few seconds.
"""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.gate.recorded import groups, servers
from benchmarks.gate.study import (
    Case,
    Rules,
    other_machines,
    pairs,
    rejected,
    same_machine,
    slowed,
    unchanged,
)

ABLATION = {
    "the tolerance alone": Rules(interval=False, least_ttft=False, twice=False),
    "and the interval of the difference": Rules(least_ttft=False, twice=False),
    "and 10 ms of TTFT": Rules(twice=False),
    "and a second measurement: the gate": Rules(),
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
    yield from _throughput(list(pairs(found)))


def _table(name: str, cases: list[Case]) -> Iterator[str]:
    slower = " | ".join(f"{item} % slower" for item in SLOWED)
    yield f"| {name}, {len(cases):,} cases: rejected by | unchanged | {slower} |"
    yield f"|{' --- |' * (2 + len(SLOWED))}"
    for label, rules in ABLATION.items():
        shares = [rejected(cases, change, rules) for change in (unchanged, *map(slowed, SLOWED))]
        yield f"| {label} | {' | '.join(map(str, shares))} |"


def _throughput(cases: list[Case]) -> Iterator[str]:
    """Engines that are slower with many requests only."""
    shares = [
        rejected(cases, change, Rules(twice=False))
        for change in (unchanged, *(slowed(item, alone=False) for item in SLOWED))
    ]
    less = " | ".join(f"{item} % less" for item in SLOWED)
    yield f"| throughput alone, {len(cases):,} pairs | unchanged | {less} |"
    yield f"|{' --- |' * (2 + len(SLOWED))}"
    yield f"| one measurement | {' | '.join(map(str, shares))} |"


if __name__ == "__main__":
    for line in tables():
        print(line)
