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
from tacho_operator.core.status.condition_value import (
    MESSAGE_LIMIT_CHARS,
    OWN_LIMIT_CHARS,
    ConditionValue,
    condition_message,
)
from tests.unit.core.test_reasons import WORLDS
from tools.harness.world import World

GOLDEN = Path(__file__).parent / "golden" / "messages.txt"


@cache
def worlds() -> tuple[World, ...]:
    return tuple(make() for make in WORLDS.values())


def assert_limits(message: str) -> None:
    own, _, _ = message.partition(DETAILS)
    assert len(own) <= OWN_LIMIT_CHARS, f"{len(own)}: {own}"
    assert len(message) <= MESSAGE_LIMIT_CHARS


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


def test_meaning_and_next_step_of_every_class_fit() -> None:
    for name, kind in FAILURE_KINDS.items():
        assert len(kind.meaning) + 1 + len(kind.next_step) <= OWN_LIMIT_CHARS, name


def test_every_condition_of_every_world_is_short() -> None:
    for world in worlds():
        for condition in world.status["conditions"]:
            assert_limits(condition["message"])


TEXT = st.text(max_size=700)


@given(TEXT, TEXT, TEXT)
@example("a" * 700, "b" * 700, "c" * 700)
@example("One. " * 60, "Do. " * 60, "")
def test_no_text_exceeds_the_limits(what: str, next_step: str, quotation: str) -> None:
    assert_limits(condition_message(what, next_step, quotation))


def test_a_text_is_not_cut_within_a_parenthesis() -> None:
    parts = "(weights 92 MiB, KV cache 360 MiB, buffers 148 MiB)"
    what = f"Revision {'m' * 60}: 600 MiB of 4.00 GiB for 4 requests of 4096 tokens {parts}"
    assert condition_message(what).endswith("for 4 requests of 4096 tokens…")


def test_the_next_step_and_the_first_sentence_survive() -> None:
    message = condition_message(f"The figure is 7. {'x' * 150}", "Raise it.", "words of others")
    assert message == f"The figure is 7. Raise it.{DETAILS}words of others"
    assert condition_message("word " * 40, "Raise it.").endswith("word… Raise it.")
    image = f"registry.example/team/engine@sha256:{'a' * 64}"
    found = condition_message(f"Image {image} cannot be pulled.", "Check its name. " * 6, "no such tag")
    assert found.startswith("Image registry.example/team/engine@sha256:aa"), "not Image…"
    assert condition_message("a. " * 80, "Do b.").endswith(". Do b.")
