"""Inputs that wait for a plan take bounded memory in each namespace, and no resource waits for ever."""

from __future__ import annotations

import asyncio
import dataclasses
import random

import pytest
from hypothesis import given, strategies as st

from tacho_operator.core.types import PlanInputs
from tacho_operator.shell import waiting_plans
from tacho_operator.shell.plans import packed
from tacho_operator.shell.waiting_plans import Question, WaitingPlans
from tacho_operator.shell.workqueue import Key
from tests.wiring.test_plans import FAILED, Gate, inputs, running

HONEST = Key("honest", "smol")


def long_inputs(number: int) -> PlanInputs:
    """Inputs with random text, which does not compress."""
    return dataclasses.replace(inputs(), replan=random.Random(number).randbytes(20_000).hex())


def waiting_bytes(waiting: WaitingPlans, namespace: str) -> int:
    return sum(len(item.inputs) for key, item in waiting._found.items() if key.namespace == namespace)


async def test_inputs_that_wait_are_bounded_in_each_namespace_and_all_have_their_plan(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each of a thousand LLMDeployments of random text had 450 KB waiting while plans took ten seconds."""
    monkeypatch.setattr(waiting_plans, "NAMESPACE_BYTES", 100_000)
    gate, keys = Gate(), [Key("crowd", str(number)) for number in range(30)]
    found = {key: long_inputs(number) for number, key in enumerate(keys)} | {HONEST: inputs()}
    assert len(packed(found[keys[0]])) > 20_000
    async with running(gate) as (plans, late):
        for key, item in found.items():
            assert plans.answer(key, item) is None
        assert 60_000 < waiting_bytes(plans._waiting, "crowd") <= 100_000
        assert waiting_bytes(plans._waiting, "honest") > 0
        made = {keys[0]}
        gate.results.put_nowait(FAILED)
        async with asyncio.timeout(20):
            assert await late.get() == keys[0]
            next_key = await late.get()
            assert plans._waiting.get(next_key) is None, "there is place for it, while others wait"
            assert plans.answer(next_key, found[next_key]) is None
            for _ in range(len(found) - 1):
                gate.results.put_nowait(FAILED)
            while len(made) < len(found):
                key = await late.get()
                if plans.answer(key, found[key]) == FAILED:
                    made.add(key)
                assert waiting_bytes(plans._waiting, "crowd") <= 100_000
        assert gate.begun.qsize() == len(found), "each once"


async def test_resources_that_need_no_plan_any_more_hold_up_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting_plans, "NAMESPACE_BYTES", 1)
    monkeypatch.setattr(waiting_plans, "RETRIED", 2)
    monkeypatch.setattr("tacho_operator.shell.plans.RETRY_SECONDS", 0.01)
    gate, keys = Gate(), [Key("crowd", str(number)) for number in range(10)]
    async with running(gate) as (plans, late):
        for key in keys:
            plans.answer(key, long_inputs(int(key.name)))
        plans.forget(keys[4])
        gate.results.put_nowait(FAILED)
        async with asyncio.timeout(20):
            found = [await late.get() for _ in range(9)]
        assert found == [*keys[:4], *keys[5:]]


def test_one_that_is_longer_than_all_may_be_has_a_place() -> None:
    waiting = WaitingPlans()
    longest = Question("h", b"x" * (waiting_plans.NAMESPACE_BYTES + 1))
    assert waiting.put(HONEST, longest)
    assert waiting.put(HONEST, longest), "in its own place"
    assert not waiting.put(Key("honest", "other"), Question("h", b"x"))
    assert waiting.put(Key("elsewhere", "smol"), longest)
    waiting.pop(HONEST)
    assert waiting.retried("honest") == [Key("honest", "other")]
    assert waiting.all_retried() == []


STEP = st.tuples(
    st.sampled_from(["put", "put", "put", "pop", "forget", "retried", "all"]),
    st.builds(Key, st.sampled_from("ab"), st.sampled_from("xyz")),
    st.integers(0, 60),
)


@given(st.lists(STEP, max_size=60))
def test_what_is_counted_is_what_waits(steps: list[tuple[str, Key, int]]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(waiting_plans, "NAMESPACE_BYTES", 100)
        waiting, expected = WaitingPlans(), set[Key]()
        for what, key, size in steps:
            if what == "put":
                waiting.put(key, Question("h", b"x" * size))
                expected.add(key)
            elif what in ("pop", "forget"):
                if waiting.pop(key) or what == "forget":
                    waiting.forget(key)
                    expected.discard(key)
            else:
                expected -= set(
                    waiting.retried(key.namespace) if what == "retried" else waiting.all_retried()
                )
            for namespace in "ab":
                assert waiting._bytes[namespace] == waiting_bytes(waiting, namespace) <= 100
            left_out = {key for keys in waiting._left_out.values() for key in keys}
            assert left_out.isdisjoint(waiting._found)
            assert left_out | set(waiting._found) == expected
        for key in list(expected):
            waiting.forget(key)
        assert not any((waiting._found, waiting._left_out, +waiting._bytes))
