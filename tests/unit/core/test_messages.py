"""The messages of conditions: golden texts of every documented reason, and their limits.

``TACHO_UPDATE_GOLDEN=1`` writes golden/messages.txt anew for review. It is the only place of this tier that
asserts whole messages of conditions.
"""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path

from hypothesis import example, given, strategies as st

from tacho_contract.failure import FAILURE_KINDS, Failure
from tacho_operator.core.problems import DETAILS, from_failure
from tacho_operator.core.status.condition_value import MESSAGE_LIMIT_CHARS, ConditionValue, condition_message
from tests.unit.core.test_reasons import WORLDS
from tools.harness.world import World

GOLDEN = Path(__file__).parent / "golden" / "messages.txt"


@cache
def worlds() -> tuple[World, ...]:
    return tuple(make() for make in WORLDS.values())


def rendered() -> str:
    lines = []
    for (kind, status, reason), world in zip(WORLDS, worlds(), strict=True):
        lines.append(f"{kind}={status} {reason}: {world.condition(kind)['message']}")
    for name, kind in FAILURE_KINDS.items():
        problem = from_failure(Failure(failure_class=name, message=kind.meaning, next_step=kind.next_step))
        lines.append(f"Ready=False {name}: {ConditionValue.of('False', problem).message}")
    return "\n".join(lines) + "\n"


def test_the_message_of_every_documented_reason_and_class() -> None:
    text = rendered()
    if os.environ.get("TACHO_UPDATE_GOLDEN") == "1":
        GOLDEN.write_text(text, encoding="utf-8")
    assert text == GOLDEN.read_text(encoding="utf-8"), "review, then run with TACHO_UPDATE_GOLDEN=1"


TEXT = st.text(max_size=700)


@given(TEXT, TEXT, TEXT)
@example("a" * 700, "b" * 700, "c" * 700)
def test_no_text_exceeds_the_limits(what: str, next_step: str, quotation: str) -> None:
    assert len(condition_message(what, next_step, quotation)) <= MESSAGE_LIMIT_CHARS


def test_the_next_step_and_what_is_quoted_follow() -> None:
    message = condition_message("The figure is 7", "Raise it.", "words\nof others")
    assert message == f"The figure is 7. Raise it.{DETAILS}words of others"
    assert condition_message(f"No answer.{DETAILS}EOF", "Wait.") == f"No answer. Wait.{DETAILS}EOF"
