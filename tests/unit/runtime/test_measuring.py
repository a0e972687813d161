"""A measurement in any case, whatever becomes of the probe."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable

import pytest

from tacho_contract.launch import Again, LiveConfig, ProbeSettings
from tacho_contract.measurement import Baseline, Environment, Measurement, Workload
from tacho_runtime.probe.target import ProbeTarget
from tacho_runtime.supervisor import measuring
from tacho_runtime.supervisor.measuring import MeasuredPod, MeasurementRun, target_of
from tests.launching import runtime_config

CONFIG = runtime_config(
    revision="r",
    plan_key="plan",
    engine="custom",
    model_path="/m",
    served_name="demo",
    max_model_len=1024,
    concurrency=4,
)
LIVE = LiveConfig(measure_key="m", workload=Workload(input_tokens=7), probe=ProbeSettings(timeout_seconds=0))


@pytest.fixture(autouse=True)
def still(monkeypatch: pytest.MonkeyPatch) -> None:
    """Equal measurements are dated alike."""
    monkeypatch.setattr(measuring, "now_text", lambda: "2026-01-01T00:00:00Z")


def asked(probe: measuring.Probe, live: LiveConfig, say: Callable[[str], None]) -> MeasurementRun:
    target = target_of(CONFIG, "http://127.0.0.1:1", "key", slots=4)
    return MeasurementRun(
        pod=MeasuredPod(plan_key=CONFIG.plan_key, hostname="me"),
        live=live,
        target=target,
        probe=probe,
        say=say,
    )


def figures(state: str = "Complete", live: LiveConfig = LIVE) -> Measurement:
    return asked(never, live, print).without_figures(state, "", seconds=1.23456)


async def outcome(
    probe: measuring.Probe, live: LiveConfig = LIVE, known: Measurement | None = None
) -> tuple[Measurement, list[str]]:
    said: list[str] = []
    made = await asked(probe, live, said.append).measurement(known)
    return made, said


def test_what_has_no_figures_carries_the_keys() -> None:
    made = figures("Skipped")
    assert (made.plan_key, made.measure_key) == (CONFIG.plan_key, "m")
    assert (made.state, made.probe_seconds, made.workload) == ("Skipped", 1.235, LIVE.workload)


async def never(target: ProbeTarget, baseline: Baseline | None) -> Measurement:
    raise AssertionError("must not be probed")


async def test_the_probe_is_pointed_at_the_engine_and_heard() -> None:
    seen: list[ProbeTarget] = []

    async def probe(target: ProbeTarget, baseline: Baseline | None) -> Measurement:
        seen.append(target)
        return figures()

    measurement, said = await outcome(probe)
    assert measurement == figures()
    assert said == ["measuring: this plan and workload were not measured yet"]
    (target,) = seen
    assert (target.served_name, target.max_model_len, target.concurrency) == ("demo", 1024, 4)
    assert (target.engine, target.api_key) == ("custom", "key")


async def test_a_probe_that_hangs_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measuring, "PROBE_GRACE_SECONDS", 0.05)
    ended = asyncio.Event()

    async def probe(target: ProbeTarget, baseline: Baseline | None) -> Measurement:
        try:
            await asyncio.sleep(3600)
        finally:
            ended.set()
        return figures()

    measurement, _ = await outcome(probe)
    assert ended.is_set(), "nothing of it may run on"
    assert measurement.state == "Failed"
    assert "did not end" in measurement.message
    assert measurement.flags == ("BudgetExhausted",)
    assert (measurement.plan_key, measurement.measure_key) == ("plan", "m")
    assert measurement.workload.input_tokens == 7


async def test_a_probe_that_breaks_says_how() -> None:
    async def probe(target: ProbeTarget, baseline: Baseline | None) -> Measurement:
        raise ZeroDivisionError("of tokens")

    measurement, _ = await outcome(probe)
    assert measurement.state == "Failed"
    assert "ZeroDivisionError: of tokens" in measurement.message


async def test_what_is_known_is_kept() -> None:
    assert await outcome(never, known=figures()) == (figures(), [])


async def test_what_is_known_is_kept_with_the_probe_disabled() -> None:
    disabled = LiveConfig(measure_key="m", probe=ProbeSettings(policy="Disabled"))
    assert (await outcome(never, live=disabled, known=figures()))[0] == figures()
    assert (await outcome(never, live=disabled))[0].state == "Skipped"
    other = LiveConfig(measure_key="other", probe=ProbeSettings(policy="Disabled"))
    skipped, _ = await outcome(never, live=other, known=figures())
    assert (skipped.state, skipped.measure_key) == ("Skipped", "other")


async def test_the_probe_gets_the_baseline_and_who_asked_is_in_the_measurement() -> None:
    seen: list[Baseline | None] = []

    async def probe(target: ProbeTarget, baseline: Baseline | None) -> Measurement:
        seen.append(baseline)
        return figures()

    known = Baseline(
        plan_key=CONFIG.plan_key,
        measure_key="m",
        environment=Environment(),
        observed_time="2026-01-01T00:00:00Z",
        concurrency=4,
        output_tokens_per_second=100.0,
    )
    limits = ProbeSettings(timeout_seconds=5)
    checked, _ = await outcome(probe, LiveConfig(measure_key="m", baselines=(known,), probe=limits))
    again = Again(request="gate-1", hostname="me")
    asked_for, _ = await outcome(
        probe, LiveConfig(measure_key="m", baselines=(known,), probe=limits, again=again), figures()
    )
    assert seen == [known, None]
    assert (checked.request, asked_for.request) == ("", "gate-1")


async def test_what_failed_before_and_what_nobody_knows_is_not_asked_to_score() -> None:
    targets: list[ProbeTarget] = []

    async def asked_of(target: ProbeTarget, baseline: Baseline | None) -> Measurement:
        targets.append(target)
        return figures()

    for engine in ("vllm", "custom"):
        config = dataclasses.replace(CONFIG, engine=engine)
        target = target_of(config, "http://127.0.0.1:1", "", slots=0)
        case = dataclasses.replace(asked(asked_of, LIVE, print), target=target)
        await case.measurement(None)
        await case.measurement(figures("Failed"))
    assert [target.scores for target in targets] == [True, False, False, False]
