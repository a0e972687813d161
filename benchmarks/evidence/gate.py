"""docs/evidence/gate.md: what the gate of a rollout rejects, from recorded measurements and GPU rollouts."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

from benchmarks.evidence.texts import fill
from benchmarks.gate.__main__ import SLOWED
from benchmarks.gate.recorded import groups, servers
from benchmarks.gate.study import (
    Case,
    Change,
    Rules,
    Share,
    has_levels,
    other_machines,
    rejected,
    same_machine,
    slowed,
    slowed_under_load,
    unchanged,
)
from tools.pages import ROOT, table

ROLLOUTS = ROOT / "benchmarks/gpu/h200/vllm-0.32-pods/rollouts"
ROLLED_OUT = {"eager": "eager", "front_ends": "front-ends", "fp8": "fp8"}
"""The changes of the rollouts, by the names of their seconds in the text."""
REASONS = ["Regression", "Accepted", "Accepted"]
"""How the text says that they ended."""


def page() -> str:
    changes = {change["name"]: change for change in read("changes.json")}
    answers = read("requests.json")
    lost = sum(answers.values()) - answers["answered"]
    (alone, *_), (others, *_), (load, *_), _ = (shares for _, _, shares in judged())
    every = list(found().values())
    if [changes[key]["reason"] for key in ROLLED_OUT.values()] != REASONS:
        raise ValueError("the text says how the rollouts ended, and they ended otherwise")
    return fill(
        "gate",
        configurations=len(every),
        measurements=sum(map(len, every)),
        false_alarms=alone.rejected,
        cases=f"{alone.cases:,}",
        elsewhere=percent(others),
        caught=whole_percent(judged()[0][2][1]),
        loaded=percent(judged()[2][2][1]),
        load_cases=f"{load.cases:,}",
        results=table(("candidates", "cases", "unchanged", *(f"{by}% slower" for by in SLOWED)), rows()),
        **{name: f"{changes[key]['seconds']:.0f}" for name, key in ROLLED_OUT.items()},
        requests=sum(answers.values()),
        lost=lost or "none",
    )


def read(name: str) -> Any:
    return json.loads((ROLLOUTS / name).read_text(encoding="utf-8"))


@cache
def found() -> dict[str, Any]:
    return dict(groups())


@cache
def judged() -> tuple[tuple[str, int, list[Share]], ...]:
    """What the gate rejects: candidates, how many cases, and the shares, unchanged ones first."""
    machines = {
        "one machine": list(same_machine(found())),
        "another machine of its kind": list(other_machines(servers(found()))),
    }
    judged_rows = [(f"slower throughout, {name}", cases, slowed) for name, cases in machines.items()]
    judged_rows += [
        (f"slower only under load, {name}", [case for case in cases if has_levels(case)], slowed_under_load)
        for name, cases in machines.items()
    ]
    return tuple((name, len(cases), shares(cases, change)) for name, cases, change in judged_rows)


def shares(cases: list[Case], slower: Callable[[int], Change]) -> list[Share]:
    return [rejected(cases, change, Rules()) for change in (unchanged, *map(slower, SLOWED))]


def rows() -> Iterator[tuple[str, ...]]:
    for name, cases, found_shares in judged():
        yield name, f"{cases:,}", *map(percent, found_shares)


def percent(share: Share) -> str:
    return f"{100 * share.rejected / share.cases:.1f}%"


def whole_percent(share: Share) -> str:
    return f"{100 * share.rejected / share.cases:.0f}%"
