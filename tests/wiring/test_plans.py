"""Plans in a process of their own: whatever one does there, it fails alone."""

from __future__ import annotations

import asyncio
import base64
import dataclasses
import json
import os
import signal
import time
import zlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, cast

import pytest
from prometheus_client import CollectorRegistry

from tacho_contract import codec
from tacho_contract.failure import FailureClass
from tacho_contract.model import ModelFacts
from tacho_operator.core.planner.inputs import inputs_hash, subject_hash
from tacho_operator.core.planner.plan import plan_of
from tacho_operator.core.planner.types import ModelPlan, PlanFailure
from tacho_operator.core.types import NodeFacts, PlanInputs
from tacho_operator.shell import plan_process, plans as module
from tacho_operator.shell.metrics import Metrics
from tacho_operator.shell.plans import Plans
from tacho_operator.shell.workqueue import Key
from tools.harness.resources import CONFIG, HUB_SPEC, changed, resource
from tools.mock.specs import smollm2

A, B = Key("a", "smol"), Key("b", "smol")


def inputs(nodes: tuple[NodeFacts, ...] | None = None, **fields: Any) -> PlanInputs:
    spec = resource(changed(HUB_SPEC, **fields)).spec
    return PlanInputs(spec=spec, facts=smollm2(), nodes=nodes, history=(), config=CONFIG, replan="")


def node(name: str) -> NodeFacts:
    return NodeFacts(name=name, labels={}, allocatable={"memory": "64Gi"})


@asynccontextmanager
async def running() -> AsyncIterator[tuple[Plans, asyncio.Queue[Key]]]:
    late: asyncio.Queue[Key] = asyncio.Queue()
    plans = Plans(late=late.put_nowait, metrics=Metrics(CollectorRegistry()))
    task = asyncio.create_task(plans.run())
    yield plans, late
    task.cancel()
    await asyncio.wait([task])


async def made(plans: Plans, late: asyncio.Queue[Key], asked: PlanInputs) -> object:
    if plans.answer(A, asked) is None:
        async with asyncio.timeout(60):
            assert await late.get() == A
    return plans.answer(A, asked)


async def test_the_process_plans_as_the_planner_does() -> None:
    fits, does_not = inputs(), inputs((), gpu={"count": 1})
    assert isinstance(plan_of(fits), ModelPlan)
    assert isinstance(plan_of(does_not), PlanFailure)
    async with running() as (plans, late):
        assert [await made(plans, late, item) for item in (fits, does_not)] == [
            plan_of(fits),
            plan_of(does_not),
        ]


async def test_a_failure_is_kept_until_its_successor_is_made() -> None:
    fails, other = inputs((), gpu={"count": 1}), inputs((node("new"),), gpu={"count": 1})
    async with running() as (plans, late):
        failure = await made(plans, late, fails)
        assert plans.answer(B, fails) == failure, "the same inputs"
        assert plans.answer(A, other) == failure, "until its successor is there"
        async with asyncio.timeout(60):
            assert await late.get() == A
        assert plans.answer(A, other) == plan_of(other)
        assert plans.answer(A, inputs((), gpu={"count": 1}, replicas=3)) is None, "another spec"
        plans.forget(A)
        assert plans.answer(A, inputs((node("b"),), gpu={"count": 1})) is None, "it was deleted"


def ended(_inputs: PlanInputs) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def spinning(_inputs: PlanInputs) -> None:
    plan_process.resource.setrlimit(plan_process.resource.RLIMIT_CPU, (int(time.process_time()) + 1, -1))
    while True:
        pass


def filling(asked: PlanInputs) -> PlanFailure:
    try:
        bytearray(plan_process.MEMORY_LIMIT_BYTES)
    except MemoryError:
        return plan_process.planning_failed("MemoryError")
    raise AssertionError(asked)


@pytest.mark.parametrize(
    ("broken", "words"),
    [(ended, "CPU time or memory"), (spinning, "CPU time or memory"), (filling, "MemoryError")],
)
async def test_a_plan_that_ends_the_process_fails_alone(
    broken: Any, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running() as (plans, late):
        with monkeypatch.context() as one:
            one.setattr(module, "limited_result", broken)
            found = await made(plans, late, inputs())
        assert isinstance(found, PlanFailure)
        assert words in found.failure.message
        assert await made(plans, late, inputs(replicas=2)) == plan_of(inputs(replicas=2))


async def test_a_plan_past_its_deadline_is_made_again_later(monkeypatch: pytest.MonkeyPatch) -> None:
    """The node was busy: that is no verdict on the inputs."""
    monkeypatch.setattr(module, "RETRY_SECONDS", 0.1)
    async with running() as (plans, late):
        with monkeypatch.context() as slow:
            slow.setattr(module, "DEADLINE_SECONDS", 0.0)
            found = await made(plans, late, inputs())
        assert isinstance(found, PlanFailure)
        assert "It is retried." in found.failure.message
        async with asyncio.timeout(60):
            assert await late.get() == A, "once the pause is over"
            assert plans.answer(A, inputs()) == found, "until its successor is there"
            assert await late.get() == A
        assert plans.answer(A, inputs()) == plan_of(inputs())


async def test_an_idle_process_ends_and_the_next_plan_starts_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "IDLE_SECONDS", 0.05)
    async with running() as (plans, late):
        await made(plans, late, inputs())
        while plans._pool is not None:
            await asyncio.sleep(0.01)
        assert await made(plans, late, inputs(replicas=2)) == plan_of(inputs(replicas=2))


@pytest.mark.parametrize(
    ("broken", "words"),
    [
        (lambda _: 1 // 0, "ZeroDivisionError"),
        (lambda _: PlanFailure(failure=cast(Any, None)), "Error"),
    ],
)
def test_an_error_of_the_planner_is_a_failure(monkeypatch: Any, broken: Any, words: str) -> None:
    monkeypatch.setattr(plan_process, "plan_of", broken)
    found = plan_process.result_of(inputs())
    assert isinstance(found, PlanFailure)
    assert words in found.failure.message


@pytest.mark.parametrize("figures", [{"file_count": -1}, {"file_count": 2**31}, {"total_bytes": -1}])
def test_figures_that_no_status_holds_are_a_failure_of_the_plan(figures: dict[str, int]) -> None:
    """Whoever writes a model's facts chose them: as a plan, each decision about the resource failed."""
    facts = smollm2()
    files = dataclasses.replace(facts.files, **figures)
    asked = dataclasses.replace(inputs(), facts=dataclasses.replace(facts, files=files))
    assert isinstance(plan_of(asked), ModelPlan)
    found = plan_process.result_of(asked)
    assert isinstance(found, PlanFailure)
    assert found.failure.failure_class == FailureClass.PLANNING_FAILED


def test_a_megabyte_of_facts_is_not_read() -> None:
    facts = codec.to_dict(smollm2()) | {"files": ["ab"] * 200_000}
    packed = base64.b64encode(zlib.compress(json.dumps(facts).encode())).decode()
    with pytest.raises(codec.DocumentError, match="larger than 131072 bytes"):
        codec.unpack(ModelFacts, packed)


def hashed(found: PlanInputs) -> str:
    return inputs_hash(found, subject_hash(found))


def test_the_hash_is_that_of_what_a_plan_reads() -> None:
    assert hashed(inputs()) == hashed(inputs())
    others = [inputs((node("a"),)), inputs(()), inputs(replicas=2), inputs((node("b"),))]
    assert len({hashed(inputs()), *map(hashed, others)}) == 5
