"""Plans in a process of their own: whatever one does there, it fails alone."""

from __future__ import annotations

import asyncio
import base64
import dataclasses
import json
import os
import pickle
import random
import signal
import subprocess
import sys
import time
import tracemalloc
import zlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, cast

import pytest
from prometheus_client import CollectorRegistry

from tacho_contract import codec
from tacho_contract.failure import FailureClass
from tacho_contract.model import ModelFacts
from tacho_operator.core.planner.inputs import inputs_hash, subject_hash
from tacho_operator.core.planner.plan import plan_of
from tacho_operator.core.planner.types import ModelPlan, PlanFailure, PlanResult
from tacho_operator.core.types import NodeFacts, PlanInputs
from tacho_operator.shell import plan_process
from tacho_operator.shell.budget import NamespaceBudget
from tacho_operator.shell.metrics import Metrics
from tacho_operator.shell.plans import COMMAND, DeadlinePassed, PlanCache, PlanProcess, Plans, packed
from tacho_operator.shell.workqueue import Key
from tools.harness.resources import CONFIG, HUB_SPEC, changed, resource
from tools.mock.specs import smollm2

A, B = Key("a", "smol"), Key("b", "smol")


def inputs(nodes: tuple[NodeFacts, ...] | None = None, **fields: Any) -> PlanInputs:
    spec = resource(changed(HUB_SPEC, **fields)).spec
    return PlanInputs(spec=spec, facts=smollm2(), nodes=nodes, history=(), config=CONFIG, replan="")


def node(name: str) -> NodeFacts:
    return NodeFacts(name=name, labels={}, allocatable={"memory": "64Gi"})


class Calls:
    """Pickled, it is a call that the process makes where it expects inputs."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self._call = (function, arguments)

    def __reduce__(self) -> Any:
        return self._call


@pytest.fixture
async def process() -> AsyncIterator[PlanProcess]:
    found = PlanProcess(deadline_seconds=20.0)
    yield found
    await found.stop()


async def test_the_process_plans_as_the_planner_does(process: PlanProcess) -> None:
    fits, does_not = inputs(), inputs((), gpu={"count": 1})
    assert isinstance(plan_of(fits), ModelPlan)
    assert isinstance(plan_of(does_not), PlanFailure)
    assert [await process.plan(item) for item in (fits, does_not)] == [plan_of(fits), plan_of(does_not)]


async def test_a_process_that_ends_is_not_killed_before_its_status_is_known(
    process: PlanProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To kill it asks for its status first, which is then known to nobody else: its plan was made again."""

    def kill(_self: object) -> None:
        raise AssertionError("its status is lost")

    monkeypatch.setattr(asyncio.subprocess.Process, "kill", kill)
    for _ in range(3):
        found = await process.plan(cast(PlanInputs, Calls(signal.raise_signal, signal.SIGXCPU)))
        assert isinstance(found, PlanFailure)
        assert "longer than its CPU time" in found.failure.message
    monkeypatch.undo()


async def test_a_plan_past_its_deadline_is_killed_and_the_next_one_is_made() -> None:
    process = PlanProcess(deadline_seconds=0.2)
    with pytest.raises(DeadlinePassed, match="took longer than"):
        await process.plan(cast(PlanInputs, Calls(time.sleep, 1000)))
    assert not process.runs
    process._deadline_seconds = 20.0
    assert await process.plan(inputs()) == plan_of(inputs())
    await process.stop()


async def test_cpu_time_is_bounded_whatever_the_deadline() -> None:
    """A busy node lengthens an honest plan, and no hostile one's CPU time."""
    process = PlanProcess((*COMMAND[:-1], "1"), deadline_seconds=100.0)
    found = await process.plan(cast(PlanInputs, Calls(sum, range(1 << 40))))
    assert isinstance(found, PlanFailure)
    assert (found.failure.message, process.runs) == ("The planner took longer than its CPU time.", False)


def test_it_ends_with_its_input_and_leaves_nothing_open() -> None:
    """As after the operator itself was killed."""
    command = [sys.executable, "-X", "dev", *COMMAND[1:]]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=True)
    assert done.stderr == b""


async def test_a_plan_that_ends_the_process_fails_alone(process: PlanProcess) -> None:
    for call in (Calls(os._exit, 1), Calls(bytearray, 1 << 40)):
        found = await process.plan(cast(PlanInputs, call))
        assert isinstance(found, PlanFailure)
        assert "ended without a result" in found.failure.message
    assert isinstance(await process.plan(inputs()), ModelPlan)


async def test_a_process_killed_while_idle_is_no_failure_of_the_next_plan(process: PlanProcess) -> None:
    await process.plan(inputs())
    assert process._process is not None
    process._process.kill()
    await process._process.wait()
    assert await process.plan(inputs()) == plan_of(inputs())


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


def test_what_is_kept_of_a_failure_is_short() -> None:
    """1,000 resources whose model facts had a text of 128 KiB took 92 MiB."""
    text = "".join(map(chr, random.Random(1).choices(range(0x23, 0x5B), k=125_000)))
    asked = dataclasses.replace(inputs(), facts=dataclasses.replace(smollm2(), tensors=(), unknown=(text,)))
    found = plan_process.result_of(asked)
    assert isinstance(found, PlanFailure)
    assert found.failure.failure_class == FailureClass.MODEL_INVALID
    assert text[:1000] in found.failure.message
    assert len(packed(found)) < 4096


class Gate:
    """A process that makes a plan when it is told to."""

    def __init__(self) -> None:
        self.begun: asyncio.Queue[PlanInputs] = asyncio.Queue()
        self.results: asyncio.Queue[PlanResult | Exception] = asyncio.Queue()
        self.runs = False

    async def plan(self, asked: PlanInputs) -> PlanResult:
        self.begun.put_nowait(asked)
        found = await self.results.get()
        if isinstance(found, Exception):
            raise found
        return found

    async def stop(self) -> None: ...


@asynccontextmanager
async def running(gate: Gate) -> AsyncIterator[tuple[Plans, asyncio.Queue[Key]]]:
    late: asyncio.Queue[Key] = asyncio.Queue()
    plans = Plans(cast(PlanProcess, gate), late=late.put_nowait, metrics=Metrics(CollectorRegistry()))
    task = asyncio.create_task(plans.run())
    yield plans, late
    task.cancel()


FAILED = plan_process.planning_failed("No.")


async def test_a_failure_is_made_once_and_kept_until_the_inputs_change() -> None:
    gate = Gate()
    async with running(gate) as (plans, late):
        assert plans.answer(A, inputs()) is None
        gate.results.put_nowait(FAILED)
        assert await late.get() == A
        assert plans.answer(A, inputs()) == FAILED
        assert plans.answer(B, inputs()) == FAILED, "the same inputs"
        assert gate.begun.qsize() == 1
        assert plans.answer(A, inputs((node("new"),))) == FAILED, "until its successor is there"
        gate.results.put_nowait(plan_of(inputs()))
        assert await late.get() == A
        assert plans.answer(A, inputs((node("new"),))) == plan_of(inputs())
        assert plans.answer(A, inputs(replicas=3)) is None, "another spec"


async def test_namespaces_take_turns_and_a_resource_has_one_question() -> None:
    gate = Gate()
    async with running(gate) as (plans, late):
        for replicas in range(1, 4):
            for name in ("x", "y", "z"):
                plans.answer(Key("crowd", name), inputs(replicas=replicas))
        plans.answer(A, inputs(replicas=9))
        gone = Key("crowd", "y")
        plans.forget(gone)
        for _ in range(3):
            gate.results.put_nowait(FAILED)
        assert [await late.get() for _ in range(3)] == [Key("crowd", "x"), A, Key("crowd", "z")]
        assert [gate.begun.get_nowait().spec.replicas for _ in range(gate.begun.qsize())] == [3, 9]


async def test_a_namespace_whose_plans_take_seconds_waits_until_those_of_others_are_made() -> None:
    """Facts in a ConfigMap made each plan of a tenant take 3.6 s, and six plans beside it 38 s."""
    gate, now = Gate(), 0.0
    async with running(gate) as (plans, late):
        assert plans._budget.cpu_clock is time.monotonic, "another process plans, while this one waits"
        plans._budget = NamespaceBudget(lambda: now, lambda: now)
        keys = [Key(namespace, name) for namespace in ("crowd", "ml") for name in ("x", "y", "z")]
        assert plans.answer(keys[0], inputs(replicas=1)) is None
        await gate.begun.get()
        for number, key in enumerate(keys[1:], start=2):
            plans.answer(key, inputs(replicas=number))
        now = 3.6
        order = []
        for _ in keys:
            gate.results.put_nowait(FAILED)
            order.append(await late.get())
        assert order == [keys[0], *keys[3:], *keys[1:3]]


def hostile() -> PlanInputs:
    """Inputs whose facts take a thousand times as much memory as the ConfigMap that they are from."""
    texts = [f"{number % 1296:x}" for number in range(20_000)]
    facts = codec.to_dict(smollm2()) | {"files": texts}
    packed = base64.b64encode(zlib.compress(json.dumps(facts, separators=(",", ":")).encode())).decode()
    return dataclasses.replace(inputs(), facts=codec.unpack(ModelFacts, packed))


def test_a_megabyte_of_facts_is_not_read() -> None:
    facts = codec.to_dict(smollm2()) | {"files": ["ab"] * 200_000}
    packed = base64.b64encode(zlib.compress(json.dumps(facts).encode())).decode()
    with pytest.raises(codec.DocumentError, match="larger than 131072 bytes"):
        codec.unpack(ModelFacts, packed)


async def test_neither_inputs_that_wait_nor_plans_that_are_kept_fill_the_memory() -> None:
    """A revision's facts took 13 MiB for each change of a spec that was waiting, and for each plan."""
    gate, facts = Gate(), pickle.dumps(hostile())
    made = pickle.dumps(plan_of(hostile()))
    async with running(gate) as (plans, late):
        tracemalloc.start()
        keys = [Key("crowd", str(number)) for number in range(30)]
        for number, key in enumerate(keys):
            asked = dataclasses.replace(pickle.loads(facts), replan=str(number))
            assert plans.answer(key, asked) is None
        del asked
        assert tracemalloc.get_traced_memory()[0] < 5 << 20, "as objects, 35 MiB"
        for number in range(len(keys)):
            gate.results.put_nowait(dataclasses.replace(pickle.loads(made), message=str(number)))
            await late.get()
            gate.begun.get_nowait()
        assert tracemalloc.get_traced_memory()[0] < 5 << 20, "as objects, 35 MiB"
        tracemalloc.stop()
        asked = dataclasses.replace(pickle.loads(facts), replan="7")
        assert plans.answer(keys[7], asked) == dataclasses.replace(pickle.loads(made), message="7")


def test_the_bytes_of_all_kept_plans_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tacho_operator.shell.plans.KEPT_BYTES", 25)
    cache = PlanCache()
    for name in ("a", "b", "c", "a", "b"):
        cache.put(name, name.encode() * 10)
    assert ("c" in cache, cache.get("a"), cache.get("b")) == (False, b"a" * 10, b"b" * 10)
    cache.get("a")
    cache.put("c", b"c")
    cache.put("d", b"d" * 10)
    assert [name in cache for name in "abcd"] == [True, False, True, True]
    assert cache.pop("b") is None


async def test_plans_wait_while_the_process_does_not_start(monkeypatch: Any) -> None:
    monkeypatch.setattr("tacho_operator.shell.plans.RETRY_SECONDS", 0.0)
    gate = Gate()
    async with running(gate) as (plans, late):
        plans.answer(A, inputs())
        for result in (OSError("no memory"), FAILED):
            gate.results.put_nowait(result)
        assert await late.get() == A
        assert gate.begun.qsize() == 2


async def test_an_error_of_one_plan_ends_no_other() -> None:
    gate = Gate()
    async with running(gate) as (plans, late):
        plans.answer(A, inputs())
        plans.answer(B, inputs(replicas=2))
        for result in (EOFError("pickle"), plan_of(inputs(replicas=2))):
            gate.results.put_nowait(result)
        assert [await late.get(), await late.get()] == [A, B]
        failed = plans.answer(A, inputs())
        assert isinstance(failed, PlanFailure)
        assert failed.failure.message == "The planner failed: EOFError."
        assert isinstance(plans.answer(B, inputs(replicas=2)), ModelPlan)


async def test_a_deadline_that_passed_is_no_verdict_on_the_inputs(monkeypatch: Any) -> None:
    """The wall clock is the node's matter: the failure is shown, and the plan is tried again with a pause."""
    gate, pauses = Gate(), asyncio.Queue[tuple[float, Callable[[], None]]]()
    loop = asyncio.get_running_loop()
    monkeypatch.setattr(loop, "call_later", lambda delay, call: pauses.put_nowait((delay, call)))
    async with running(gate) as (plans, late):
        plans.answer(A, inputs())
        for seconds in (120, 240, 480, 960, 1920, 3600, 3600):
            gate.results.put_nowait(DeadlinePassed("It took too long."))
            assert await late.get() == A
            shown = plans.answer(A, inputs())
            assert isinstance(shown, PlanFailure)
            assert shown.failure.message == "It took too long. It is retried."
            pause, again = pauses.get_nowait()
            assert pause == seconds
            again()
            assert await late.get() == A
            assert plans.answer(A, inputs()) == shown, "until the next try has ended"
        gate.results.put_nowait(plan_of(inputs()))
        assert await late.get() == A
        assert plans.answer(A, inputs()) == plan_of(inputs())
        plans.answer(A, inputs(replicas=2))
        gate.results.put_nowait(DeadlinePassed("It took too long."))
        assert await late.get() == A
        pause, again = pauses.get_nowait()
        assert pause == 120, "another plan was made since"
        assert plans.answer(A, inputs(replicas=2)) == plans.answer(B, inputs(replicas=2))
        again()
        assert {await late.get(), await late.get()} == {A, B}, "both share the failure"


async def test_the_pause_after_very_many_deadlines_is_a_number() -> None:
    """The power of 1,024 of them was none: the error ended the operator."""
    plans = Plans(cast(Any, None), late=lambda _: None, metrics=cast(Any, None))
    plans._deadlines[A] = 2000
    assert "retried" in plans._again_later(A, "", "It took too long.").failure.message


async def test_a_process_that_cannot_start_says_so() -> None:
    with pytest.raises(OSError, match="ended at its start"):
        await PlanProcess(("true",)).plan(inputs())


def hashed(found: PlanInputs) -> str:
    return inputs_hash(found, subject_hash(found))


def test_the_hash_is_that_of_what_a_plan_reads() -> None:
    assert hashed(inputs()) == hashed(inputs())
    others = [inputs((node("a"),)), inputs(()), inputs(replicas=2), inputs((node("b"),))]
    assert len({hashed(inputs()), *map(hashed, others)}) == 5
