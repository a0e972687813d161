"""benchmarks/lab/gate.md and the pages that quote it say what the recorded measurements say."""

from __future__ import annotations

import functools
import re
from pathlib import Path

import pytest
import yaml

from benchmarks.gate.__main__ import ABLATION, tables
from benchmarks.gate.recorded import groups
from benchmarks.gate.study import Rules, pairs, rejected, same_machine, slowed, slowed_under_load, unchanged

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "benchmarks/lab/gate.md").read_text(encoding="utf-8")


@functools.cache
def written() -> tuple[str, ...]:
    return tuple(tables())


def test_the_tables_are_those_of_the_command() -> None:
    block = PAGE.split("<!-- begin tables: python -m benchmarks.gate -->\n")[1].split("<!-- end tables -->")[
        0
    ]
    assert block.splitlines() == list(written())


@pytest.mark.parametrize("page", ["docs/evidence/gate.md", "docs/use/gate.md"])
def test_other_pages_quote_them(page: str) -> None:
    text = " ".join((ROOT / page).read_text(encoding="utf-8").split()).replace(" %", "%")
    (one, other) = (row for row in written() if row.startswith("| and TPOT under load: the gate"))
    assert "1,224" in written()[2]
    assert one.startswith("| and TPOT under load: the gate | 0.0 % | 99.0 % |")
    assert other.startswith("| and TPOT under load: the gate | 0.4 % | 99.0 % |")
    for figure in ("1,224", "0.4%", "99%", "15% slower"):
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
    assert len(ABLATION) == 6


def test_the_how_to_quotes_what_is_caught_under_load() -> None:
    text = " ".join((ROOT / "docs/use/gate.md").read_text(encoding="utf-8").split())
    (row,) = (row for row in written() if row.startswith("| one machine, 218 cases: the gate | "))
    assert row.endswith("| 0.0 % | 58.7 % | 86.2 % | 96.3 % |")
    assert "| 15% | 59% | | 20% | 86% | | 30% | 96% |" in text


def test_the_how_to_shows_a_message_that_was_recorded() -> None:
    recorded = ROOT / "benchmarks/gpu/h200/vllm-0.32-pods/rollouts/front-ends.resource.yaml"
    conditions = yaml.safe_load(recorded.read_text(encoding="utf-8"))["status"]["conditions"]
    (message,) = (item["message"] for item in conditions if item["type"] == "RolloutAccepted")
    text = (ROOT / "docs/use/gate.md").read_text(encoding="utf-8")
    (shown,) = re.findall(r"^\$ kubectl .*\n((?s:.*?))^```$", text, re.M)
    parts = [part.strip() for part in " ".join(shown.split()).split("…") if part.strip(" ;")]
    assert len(parts) == 2
    assert [part for part in parts if part not in message] == []


@pytest.mark.parametrize("linear", [False, True])
def test_an_engine_that_is_slower_under_load_is_as_fast_alone(linear: bool) -> None:
    change = slowed_under_load(20, linear=linear)
    for case in pairs(groups()):
        before = case.baseline
        after = change(before)
        assert after.single_stream == before.single_stream
        assert after.curve[0] == before.curve[0]
        rates = [
            (one.output_tokens_per_second or 0.0) / (other.output_tokens_per_second or 1.0)
            for one, other in zip(after.curve, before.curve, strict=True)
        ]
        assert before.capacity
        at = [item.concurrency for item in before.curve].index(before.capacity.concurrency or 0)
        assert rates[at] == pytest.approx(0.8 if at else 1.0)
        assert after.capacity
        assert after.capacity.output_tokens_per_second == pytest.approx(
            rates[at] * (before.capacity.output_tokens_per_second or 0.0)
        )
