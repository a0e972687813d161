"""An engine that is healthy and answers no request: its start has failed, and no other one's."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import sys
import time
from pathlib import Path

import pytest

from tacho_contract import codec
from tacho_contract.failure import FailedError, Failure
from tacho_contract.launch import Again, LiveConfig, ProbeSettings, RuntimeConfig
from tacho_contract.measurement import Baseline, Environment, Measurement
from tacho_runtime.files import replace_file
from tacho_runtime.probe import sequence
from tacho_runtime.probe.load.first_answer import NeverAnswered
from tacho_runtime.probe.sequence import MUST_ANSWER_SHARE
from tacho_runtime.probe.target import ProbeTarget
from tacho_runtime.supervisor import measuring
from tacho_runtime.supervisor.measuring import MeasurementRun
from tests.unit.runtime.running import custom_config, running
from tests.unit.runtime.test_measuring import CONFIG, LIVE, asked, figures
from tests.unit.runtime.test_supervise import IMPATIENT, known

LIMITS = ProbeSettings(budget_seconds=2, timeout_seconds=4)


def starting(seen: list[ProbeTarget], *, refused: bool = False) -> MeasurementRun:
    """The measurement of an engine that answers nothing, at its start."""

    async def probe(target: ProbeTarget, baseline: Baseline | None) -> Measurement:
        seen.append(target)
        if target.must_answer:
            raise NeverAnswered("HTTP 500: died", seconds=45.2, refused=refused)
        return figures("Failed")

    plain = asked(probe, LIVE, lambda _: None)
    return dataclasses.replace(plain, starts=True, output=lambda: ("a", "b", "loaded", "", "CUDA error"))


async def failure(run: MeasurementRun) -> Failure:
    with pytest.raises(FailedError) as caught:
        await run.measurement(None)
    return caught.value.failure


async def test_a_start_without_an_answer_has_failed() -> None:
    found = await failure(starting([]))
    assert found.failure_class == "EngineCrashed"
    assert found.log_tail == ("loaded", "CUDA error", "HTTP 500: died")
    assert "in 45 s" in found.message
    assert "probe.timeoutSeconds" in found.next_step
    assert found.retryable, "the kubelet starts it again, and three restarts need a user"


async def test_what_the_probe_asks_at_its_end_has_the_time_that_it_takes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An engine that hung in the middle of its measurement was Ready, as the probe was cut before."""
    monkeypatch.setattr(measuring, "PROBE_GRACE_SECONDS", 0.1)

    async def probe(target: ProbeTarget, baseline: Baseline | None) -> Measurement:
        await asyncio.sleep(1 + MUST_ANSWER_SHARE)
        raise NeverAnswered("no full answer", seconds=0.8)

    live = dataclasses.replace(LIVE, probe=ProbeSettings(budget_seconds=1, timeout_seconds=1))
    run = dataclasses.replace(starting([]), probe=probe, live=live)
    assert (await failure(run)).failure_class == "EngineCrashed"


async def test_one_that_refuses_all_has_a_setting_that_is_wrong() -> None:
    found = await failure(starting([], refused=True))
    assert (found.failure_class, found.retryable) == ("InvalidConfig", False)
    assert "extraArgs" in found.next_step
    assert "probe.policy" in found.next_step, "its clients may use another API"


async def test_a_check_at_a_start_must_be_answered_too() -> None:
    seen: list[ProbeTarget] = []
    known_one = Baseline(
        plan_key=CONFIG.plan_key,
        measure_key="m",
        environment=Environment(),
        observed_time="2026-01-01T00:00:00Z",
        concurrency=4,
        output_tokens_per_second=100.0,
    )
    run = starting(seen)
    live = dataclasses.replace(run.live, baselines=(known_one,))
    assert (await failure(dataclasses.replace(run, live=live))).failure_class == "EngineCrashed"
    assert len(seen) == 1


async def test_who_serves_already_and_a_probe_pod_need_not_answer() -> None:
    seen: list[ProbeTarget] = []
    run = starting(seen)
    serving = dataclasses.replace(run, starts=False)
    alone = dataclasses.replace(run, pod=dataclasses.replace(run.pod, probe_pod=True))
    for one in (serving, alone):
        assert (await one.measurement(None)).state == "Failed"
    assert [target.must_answer for target in seen] == [False, False]


@pytest.mark.parametrize("error", [None, ValueError("odd"), NeverAnswered("HTTP 500: died", seconds=45.2)])
async def test_a_start_with_its_measurement_known_is_asked_for_one_answer(
    monkeypatch: pytest.MonkeyPatch, error: Exception | None
) -> None:
    """An engine that its former run had broken for good, as on a lost GPU, was Ready again by its health."""
    seen: list[ProbeTarget] = []
    asked_once: list[ProbeTarget] = []

    async def check_answers(target: ProbeTarget, *_: object) -> None:
        asked_once.append(target)
        if error is not None:
            raise error

    monkeypatch.setattr(sequence, "check_answers", check_answers)
    run = starting(seen)
    known_one = figures()
    for other in (
        dataclasses.replace(run, starts=False),
        dataclasses.replace(run, live=dataclasses.replace(LIVE, probe=ProbeSettings(policy="Disabled"))),
    ):
        assert await other.measurement(known_one) is known_one
    assert not asked_once
    if isinstance(error, NeverAnswered):
        with pytest.raises(FailedError, match="answered no request in 45 s"):
            await run.measurement(known_one)
    else:
        assert await run.measurement(known_one) is known_one, "a defect of the question is no engine's fault"
    assert [target.must_answer for target in asked_once] == [True]
    assert not seen, "it is not measured"


async def test_without_a_probe_nothing_is_asked() -> None:
    seen: list[ProbeTarget] = []
    disabled = dataclasses.replace(LIVE, probe=ProbeSettings(policy="Disabled"))
    assert (await dataclasses.replace(starting(seen), live=disabled).measurement(None)).state == "Skipped"
    assert not seen


def mock_config(folder: Path, *flags: str) -> RuntimeConfig:
    config = custom_config(folder)
    assert config.custom is not None
    command = (sys.executable, "-m", "tools.mock.engine", "--port", "$(TACHO_PORT)", *flags)
    custom = dataclasses.replace(config.custom, command=(*command, "--served-name", "$(TACHO_SERVED_NAME)"))
    return dataclasses.replace(config, custom=custom)


@pytest.mark.parametrize(("mode", "words"), [("errors", "told to fail"), ("hang", "no full answer within")])
def test_a_process_that_answers_nothing_never_gets_ready(tmp_path: Path, mode: str, words: str) -> None:
    live = LiveConfig(measure_key="m", probe=LIMITS)
    with running(mock_config(tmp_path, "--fail", mode), tmp_path, live=live) as runtime:
        ready: list[int] = []
        while runtime.process.poll() is None:
            ready.append(runtime.get("/readyz")[0])
            assert ready[-1] != 200, runtime.log()
            time.sleep(0.05)
        assert runtime.ended() == 1
    assert 503 in ready
    failure = runtime.failure()
    assert failure.failure_class == "EngineCrashed"
    assert words in failure.log_tail[-1]
    assert any("listening on" in line for line in failure.log_tail[:-1])
    assert "Serving" not in runtime.log()


def test_a_restarted_process_that_answers_nothing_never_gets_ready(tmp_path: Path) -> None:
    known(tmp_path)
    live = LiveConfig(measure_key="m", probe=LIMITS)
    with running(mock_config(tmp_path, "--fail", "errors"), tmp_path, live=live) as runtime:
        assert runtime.ended() == 1
    assert runtime.failure().failure_class == "EngineCrashed"
    assert "Serving" not in runtime.log()


def test_a_pod_that_is_measured_again_serves_on_with_what_its_engine_answers(tmp_path: Path) -> None:
    """Nobody knows whether it answered its clients, and it has a Service to itself."""
    known(tmp_path)
    live = LiveConfig(measure_key="m", probe=LIMITS)
    config = mock_config(tmp_path, "--fail", "errors-after:1")
    with running(config, tmp_path, live=live, program=(sys.executable, "-c", IMPATIENT)) as runtime:
        runtime.until_ready()
        mine = Again(request="r", hostname=os.uname().nodename)
        replace_file(Path(config.paths.live_file), codec.dumps(dataclasses.replace(live, again=mine)))
        runtime.until(lambda: runtime.report()["measurement"].get("request") == "r", "the answer")
        assert runtime.report()["measurement"]["state"] == "Failed"
        runtime.until_ready()
        assert runtime.stop() == 0
