"""docs/results/gate.md and the pages that quote it say what the recorded measurements say."""

from __future__ import annotations

import functools
from pathlib import Path

import pytest

from benchmarks.gate.__main__ import ABLATION, tables
from benchmarks.gate.recorded import groups
from benchmarks.gate.study import Rules, pairs, rejected, same_machine, slowed, unchanged

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/results/gate.md").read_text(encoding="utf-8")


@functools.cache
def written() -> tuple[str, ...]:
    return tuple(tables())


def test_the_tables_are_those_of_the_command() -> None:
    block = PAGE.split("<!-- begin tables: python -m benchmarks.gate -->\n")[1].split("<!-- end tables -->")[
        0
    ]
    assert block.splitlines() == list(written())


@pytest.mark.parametrize("page", ["README.md", "docs/how-to/gate.md"])
def test_other_pages_quote_them(page: str) -> None:
    text = " ".join((ROOT / page).read_text(encoding="utf-8").split())
    (one, other) = (row for row in written() if row.startswith("| and a second measurement"))
    assert "1,224" in written()[2]
    assert one.startswith("| and a second measurement: the gate | 0.0 % | 99.0 % |")
    assert other.startswith("| and a second measurement: the gate | 0.4 % | 99.0 % |")
    for figure in ("1,224", "0.4 %", "99 %", "15 % slower"):
        assert figure in text, figure


def test_an_unchanged_one_is_the_same_as_itself() -> None:
    group = next(iter(groups().values()))
    cases = list(same_machine({"same": (group[0],) * 3}))
    assert rejected(cases, unchanged, Rules()).rejected == 0


def test_each_rule_can_only_admit_more() -> None:
    cases = list(pairs(groups()))
    for change in (unchanged, slowed(30)):
        counts = [
            rejected(cases, change, Rules(interval=interval, least_ttft=least, twice=False)).rejected
            for interval, least in ((False, False), (True, False), (True, True))
        ]
        assert counts == sorted(counts, reverse=True)
    assert len(ABLATION) == 5
