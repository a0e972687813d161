"""No namespace's pods or resources delay the scaling decisions of another namespace."""

from __future__ import annotations

import asyncio
import dataclasses
import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import pytest

from tacho_contract.report import Load
from tacho_operator.shell.loads import TimedLoad
from tacho_operator.shell.scaler import ScaledResource, Scaler
from tacho_operator.shell.workqueue import Key
from tests.wiring.sampled import ADDRESS, KEY, Looking
from tools.harness.world import world_of

SLOW_ADDRESS = "10.9.9.9"


@pytest.fixture
def looking() -> Looking:
    found = Looking(world_of())
    found.reconcile()
    return found


def put_beside(looking: Looking, key: Key, address: str) -> None:
    """Adds a resource like the first one, with its pods at another address; none where it is empty."""
    observed = looking.world.observed()
    for pod in observed.pods:
        pod["status"]["podIP"] = address
    looking.scaler.observed(key, observed)


async def test_a_namespace_is_decided_when_its_own_pods_are_read(
    looking: Looking, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pods that answer just in time delayed every decision by ten seconds."""
    slow = Key("slow", "a")
    put_beside(looking, slow, SLOW_ADDRESS)
    load = Load(running=1, waiting=0, observed_time="1")
    decided: list[tuple[Key, float]] = []
    decide = Scaler._decide

    def spied(self: Scaler, key: Key, *rest: Any) -> bool:
        decided.append((key, looking.now))
        return decide(self, key, *rest)

    async def read(
        addresses: Iterable[str],
        namespaces: Mapping[str, str],
        is_read: Callable[[str, dict[str, TimedLoad]], None],
    ) -> dict[str, TimedLoad]:
        assert namespaces == {ADDRESS: KEY.namespace, SLOW_ADDRESS: "slow"}
        is_read(KEY.namespace, {ADDRESS: TimedLoad(load, looking.now)})
        for _ in range(5):
            await asyncio.sleep(0)
        assert [key for key, _ in decided] == [KEY]
        looking.now += 10
        return dict.fromkeys(addresses, TimedLoad(load, looking.now))

    monkeypatch.setattr(Scaler, "_decide", spied)
    monkeypatch.setattr(looking.pods, "read", read)
    await looking.scaler.sample()
    assert decided == [(KEY, looking.now - 10), (slow, looking.now)]


async def test_thousands_of_resources_of_a_namespace_take_turns_with_the_others(
    looking: Looking, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(50):
        put_beside(looking, Key("a-namespace", str(number)), "")
    order: list[Key] = []
    monkeypatch.setattr(Scaler, "_decide", lambda _self, key, *_: bool(order.append(key)))
    looking.scaler._watched = dict(sorted(looking.scaler._watched.items()))
    for known in looking.scaler._watched.values():
        known.target = looking.scaler._watched[Key("a-namespace", "0")].target
    await looking.scaler.sample()
    assert len(order) == 51
    assert KEY in order[:2]


async def test_decisions_rest_however_long_other_tasks_took(
    looking: Looking, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a reconcile of seconds, decisions would take as many seconds in one go."""
    for number in range(50):
        put_beside(looking, Key("a-namespace", str(number)), "")
    clock, decided, done = 0.0, [0], asyncio.Event()

    def decide(*_: object) -> bool:
        nonlocal clock
        clock += 0.1
        decided[-1] += 1
        return False

    async def other() -> None:
        nonlocal clock
        while not done.is_set():
            clock += 5.0
            decided.append(0)
            await asyncio.sleep(0)

    monkeypatch.setattr(Scaler, "_decide", decide)
    monkeypatch.setattr("tacho_operator.shell.scaler.time.perf_counter", lambda: clock)
    busy = asyncio.create_task(other())
    await looking.scaler.sample()
    done.set()
    await busy
    assert sum(decided) == 51
    assert max(decided) == 3


async def test_after_a_reading_that_failed_the_next_one_is_made(
    looking: Looking, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = asyncio.Event()

    async def reading(*_: object) -> dict[str, TimedLoad]:
        if looking.scaler._samples > 1:
            read.set()
            return {}
        raise OSError("no more threads")

    monkeypatch.setattr(looking.pods, "read", reading)
    monkeypatch.setattr(looking.scaler, "_period_seconds", 0.01)
    task = asyncio.create_task(looking.scaler.run())
    async with asyncio.timeout(5):
        await read.wait()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_what_made_a_decision_fail_is_not_kept(
    looking: Looking, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each later one failed too, until the operator was restarted."""

    def decide(scaler: Scaler, key: Key, known: ScaledResource, *rest: Any) -> bool:
        assert not math.isnan(known.state.imbalance)
        return decide_(scaler, key, known, *rest)

    decide_ = Scaler._decide
    monkeypatch.setattr(Scaler, "_decide", decide)
    known = looking.scaler._watched[KEY]
    known.state = dataclasses.replace(known.state, imbalance=math.nan)
    await looking.scaler.sample()
    assert known.decision is None
    await looking.scaler.sample()
    assert known.decision is not None


async def test_decisions_that_take_long_delay_neither_others_nor_the_next_sampling(
    looking: Looking, monkeypatch: pytest.MonkeyPatch
) -> None:
    """1,200 resources with 16 schedules each, more than are cached, made a sampling take 96 s."""
    seconds = {"long": 0.3, KEY.namespace: 0.001}
    order: list[Key] = []
    cpu = 0.0

    def decide(_scaler: Scaler, key: Key, *_: Any) -> bool:
        nonlocal cpu
        cpu += seconds[key.namespace]
        order.append(key)
        return False

    monkeypatch.setattr(Scaler, "_decide", decide)
    monkeypatch.setattr(looking.scaler, "_cpu_clock", lambda: cpu)
    target = looking.scaler._watched[KEY].target
    for number in range(40):
        for namespace in seconds:
            put_beside(looking, Key(namespace, str(number)), "")
    for known in looking.scaler._watched.values():
        known.target = target
    await looking.scaler.sample()
    first, order[:] = order[:], []
    own = [place for place, key in enumerate(first) if key.namespace == KEY.namespace]
    assert len(own) == 41
    assert sum(key.namespace == "long" for key in first[: own[-1]]) == 4, "a tenth of the period"
    slow = [int(key.name) for key in first if key.namespace == "long"]
    assert slow == list(range(17)), "half of the period"
    await looking.scaler.sample()
    slow = [int(key.name) for key in order if key.namespace == "long"]
    assert slow == list(range(17, 34)), "what was left comes first"


async def test_a_namespace_without_others_is_decided_for_half_of_the_period(
    looking: Looking, monkeypatch: pytest.MonkeyPatch
) -> None:
    cpu = 0.0

    def decide(_scaler: Scaler, _key: Key, *_: Any) -> bool:
        nonlocal cpu
        cpu += 0.0625
        return False

    monkeypatch.setattr(Scaler, "_decide", decide)
    monkeypatch.setattr(looking.scaler, "_cpu_clock", lambda: cpu)
    for number in range(100):
        put_beside(looking, Key(KEY.namespace, str(number)), "")
    await looking.scaler.sample()
    assert cpu == 5.0


async def test_pods_of_two_namespaces_with_one_address_hide_no_load(
    looking: Looking, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A kubelet may report any address for its pods: those of the other namespace counted as silent."""
    put_beside(looking, Key("other", "a"), ADDRESS)
    looking.pods.answers[ADDRESS] = Load(running=1, waiting=0, observed_time="1")
    seen: dict[Key, set[str]] = {}

    def decide(_scaler: Scaler, key: Key, _known: object, answers: dict[str, TimedLoad], _now: float) -> bool:
        seen[key] = set(answers)
        return False

    monkeypatch.setattr(Scaler, "_decide", decide)
    await looking.scaler.sample()
    assert seen == {KEY: {ADDRESS}, Key("other", "a"): {ADDRESS}}


@pytest.mark.parametrize(("names_itself", "running"), [("own", 50), ("", 50), ("another", None)])
async def test_the_load_of_a_pod_that_got_the_address_of_another_counts_for_nothing(
    looking: Looking, names_itself: str, running: int | None
) -> None:
    """Another namespace's load decided how many replicas a resource has, and raised its measured capacity."""
    (pod,) = looking.world.pods("server")
    uid = pod["metadata"]["uid"] if names_itself == "own" else names_itself
    for number in range(3):
        total = 1e4 * number
        await looking.look(running=50, waiting=200, generation_tokens_total=total, pod_uid=uid)
        looking.reconcile()
    assert looking.sample("requests_running") == running
    assert (looking.world.status["autoscaling"]["desiredReplicas"] > 1) == (running is not None)
    assert looking.world.brief("ScalingActive")[0] == ("False" if running is None else "True")


async def test_a_resource_that_was_left_and_then_deleted_ends_no_sampling(
    looking: Looking, monkeypatch: pytest.MonkeyPatch
) -> None:
    cpu, order = 0.0, list[Key]()

    def failing(_scaler: Scaler, key: Key, *_: Any) -> bool:
        nonlocal cpu
        cpu += 2.5
        order.append(key)
        raise ValueError("it takes long and fails")

    monkeypatch.setattr(Scaler, "_decide", failing)
    monkeypatch.setattr(looking.scaler, "_cpu_clock", lambda: cpu)
    for number in range(4):
        put_beside(looking, Key("long", str(number)), "")
    await looking.scaler.sample()
    assert len(order) == 2, "what fails is charged too"
    assert looking.scaler._left == tuple(Key("long", str(number)) for number in (1, 2, 3))
    looking.scaler.forget(Key("long", "1"))
    order.clear()
    await looking.scaler.sample()
    assert order == [Key("long", "2"), KEY]
