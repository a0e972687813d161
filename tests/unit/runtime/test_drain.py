"""Draining longer than a silent engine is believed in, with the limits made small."""

from __future__ import annotations

import asyncio
import dataclasses
import time
from pathlib import Path
from typing import Any, cast

import pytest

from tacho_contract.failure import FailedError
from tacho_contract.measurement import Environment, Measurement
from tacho_contract.report import StartupSeconds
from tacho_runtime.supervisor import draining, lifecycle, stall, supervise
from tacho_runtime.supervisor.supervise import Supervisor
from tests.unit.runtime.running import custom_config
from tools.harness.documents import plain_measurement


class _Engine:
    """What ``Supervisor`` sees of an engine with one request that does not end."""

    def __init__(self, *, healthy: bool, answers_after_seconds: float = 0.0) -> None:
        self.exit_status: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._healthy, self._answers_after_seconds = healthy, answers_after_seconds

    async def healthy(self, _path: str) -> tuple[bool, str]:
        return self._healthy, "told so"

    async def metrics(self) -> str:
        await asyncio.sleep(self._answers_after_seconds)
        load = "vllm:num_requests_running 1.0\nvllm:num_requests_waiting 0.0\n"
        return load + f"vllm:generation_tokens_total {self.tokens}\n"

    tokens = 5.0


class _Memory:
    """What ``Supervisor`` sees of the watch of an engine's memory."""

    async def recorded_in(self, measurement: Measurement, _figures: object) -> Measurement:
        return measurement


def serving(folder: Path, engine: _Engine, drain_seconds: int) -> Supervisor:
    supervisor = Supervisor(custom_config(folder, drain_seconds=drain_seconds))
    supervisor._child, supervisor._client = cast("Any", engine), cast("Any", engine)
    supervisor.state = dataclasses.replace(
        supervisor.state,
        phase=lifecycle.SERVING,
        healthy_seconds=time.monotonic(),
        startup=StartupSeconds(total=60.0),
    )
    return supervisor


@pytest.fixture(autouse=True)
def small_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lifecycle, "WEDGED_AFTER_SECONDS", 1.5)
    monkeypatch.setattr(supervise, "HEALTH_SECONDS", 0.05)
    monkeypatch.setattr(draining, "POLL_SECONDS", 0.1)


async def test_an_engine_that_answers_is_drained_to_the_end_of_its_time(tmp_path: Path) -> None:
    supervisor = serving(tmp_path, _Engine(healthy=True), drain_seconds=3)
    await supervisor._drain()
    assert supervisor.state.message == "the drain time is over with 1 request left"


async def test_an_engine_that_fell_silent_is_told_as_hung(tmp_path: Path) -> None:
    supervisor = serving(tmp_path, _Engine(healthy=False), drain_seconds=60)
    with pytest.raises(FailedError, match="the engine hung"):
        await supervisor._drain()


async def test_a_late_answer_does_not_take_the_time_to_stop_the_engine(tmp_path: Path) -> None:
    supervisor = serving(tmp_path, _Engine(healthy=True, answers_after_seconds=3600), drain_seconds=1)
    await asyncio.wait_for(supervisor._drain(), 60)
    assert supervisor.state.message == "the drain time is over with an unknown number of requests left"


async def test_an_engine_that_hung_during_its_probe_is_not_ready_until_it_answers(tmp_path: Path) -> None:
    engine = _Engine(healthy=False)
    supervisor = serving(tmp_path, engine, drain_seconds=1)
    measured = plain_measurement(state="Failed")
    supervisor.state = dataclasses.replace(supervisor.state, phase=lifecycle.PROBING, measurement=measured)
    await supervisor._enter_serving(measured, cast("Any", None))

    def ready() -> bool:
        return lifecycle.readiness(supervisor.state, now=time.monotonic()).ok

    assert not ready()
    assert "no healthy answer since its probe" in supervisor.report().message
    engine._healthy = True
    async with asyncio.timeout(60):
        await supervisor._watch_health(cast("Any", engine), "/health", until=ready)


async def test_a_pod_that_was_resized_reports_where_it_measured_again(tmp_path: Path) -> None:
    """And not before: its earlier figures are of its former size."""
    supervisor = serving(tmp_path, _Engine(healthy=True), drain_seconds=1)
    former, now = (Environment(cpu_limit_millis=millis) for millis in (1000, 50))
    supervisor._report = dataclasses.replace(supervisor._report, environment=former)
    known, new = (plain_measurement(measure_key=key) for key in ("former", "new"))
    memory = cast("Any", _Memory())
    supervisor.state = dataclasses.replace(supervisor.state, phase=lifecycle.PROBING, measurement=known)
    supervisor._measured_in = now
    await supervisor._enter_serving(known, memory)
    assert supervisor.report().environment == former
    supervisor.state = dataclasses.replace(supervisor.state, phase=lifecycle.PROBING)
    await supervisor._enter_serving(new, memory)
    assert (supervisor.report().environment, supervisor.report().measurement) == (now, new)


async def test_a_healthy_engine_whose_requests_make_no_progress_is_not_ready(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stall, "READ_SECONDS", 0.0)
    monkeypatch.setattr(lifecycle, "STALLED_AFTER_SECONDS", 0.3)
    engine = _Engine(healthy=True)
    supervisor = serving(tmp_path, engine, drain_seconds=1)

    def ready() -> bool:
        return lifecycle.readiness(supervisor.state, now=time.monotonic()).ok

    async with asyncio.timeout(60):
        assert ready()
        await supervisor._watch_health(cast("Any", engine), "/health", until=lambda: not ready())
        engine.tokens += 1
        await supervisor._watch_health(cast("Any", engine), "/health", until=ready)
