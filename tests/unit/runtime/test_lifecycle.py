"""The phases and what is decided about them: tables, with the clock as an argument."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from hypothesis import given, strategies as st

from tacho_contract.failure import Failure
from tacho_contract.fetch import FetchProgress
from tacho_contract.report import StartupSeconds
from tacho_engines.base import EngineStartup
from tacho_runtime.probe.load.engine_counters import EngineCounters
from tacho_runtime.supervisor import lifecycle
from tacho_runtime.supervisor.draining import drain_step
from tacho_runtime.supervisor.endpoints import make_report
from tacho_runtime.supervisor.lifecycle import (
    DRAINING,
    FAILED,
    PHASES,
    PREFLIGHT,
    PROBING,
    SERVING,
    STARTING,
    WAITING_FOR_MODEL,
    RuntimeState,
)
from tacho_runtime.supervisor.stall import Progress
from tools.harness.documents import plain_report

FAILURE = Failure(failure_class="EngineCrashed", message="gone", next_step="look")


def at(
    phase: str, *, entered: float = 0.0, healthy: float | None = None, message: str = "why"
) -> RuntimeState:
    return RuntimeState(
        phase=phase, message=message, started_seconds=0.0, entered_seconds=entered, healthy_seconds=healthy
    )


def test_each_phase_times_the_one_before() -> None:
    state = lifecycle.initial_state(100.0)
    state = lifecycle.advance(state, WAITING_FOR_MODEL, now=101.0)
    state = dataclasses.replace(state, fetch=FetchProgress(state="Complete", elapsed_seconds=12.5))
    state = lifecycle.advance(state, STARTING, now=111.0)
    state = lifecycle.advance(state, PROBING, now=131.0)
    state = lifecycle.advance(state, SERVING, now=171.5, message="ok")
    assert (state.phase, state.message) == (SERVING, "ok")
    taken = state.startup
    assert (taken.preflight, taken.model_wait, taken.load, taken.probe) == (1.0, 10.0, 20.0, 40.5)
    assert taken.total == 71.5, "the sum of these"
    assert taken.download == 12.5, "it began before the runtime did"


def test_reading_the_model_is_no_part_of_waiting_for_it() -> None:
    state = lifecycle.advance(lifecycle.initial_state(0.0), WAITING_FOR_MODEL, now=1.0)
    state = lifecycle.verified(state, seconds=7.5)
    taken = lifecycle.advance(state, STARTING, now=11.0).startup
    assert (taken.model_wait, taken.verify) == (2.5, 7.5)


@pytest.mark.parametrize(
    ("figures", "split"),
    [
        (EngineStartup(), (20.0, None, None)),
        (EngineStartup(compile_seconds=12.5, graph_seconds=2.25), (5.25, 12.5, 2.25)),
        (EngineStartup(graph_seconds=2.0), (18.0, None, 2.0)),
        (EngineStartup(compile_seconds=30.0), (20.0, None, None)),
    ],
)
def test_what_the_engine_compiled_is_no_part_of_its_load(
    figures: EngineStartup, split: tuple[float, float | None, float | None]
) -> None:
    found = lifecycle.load_split(StartupSeconds(load=20.0), figures)
    assert (found.load, found.compile, found.graphs) == split


def test_an_engine_that_was_not_started_is_not_split() -> None:
    assert lifecycle.load_split(StartupSeconds(), EngineStartup(graph_seconds=1.0)) == StartupSeconds()


def test_measuring_again_is_no_part_of_the_start() -> None:
    state = lifecycle.advance(at(PROBING), SERVING, now=5.0)
    again = lifecycle.advance(lifecycle.advance(state, PROBING, now=100.0), SERVING, now=150.0)
    assert again.startup == state.startup
    assert lifecycle.advance(again, DRAINING, now=151.0).phase == DRAINING


def test_a_model_that_was_there_took_no_download() -> None:
    state = lifecycle.advance(at(WAITING_FOR_MODEL), STARTING, now=5.0)
    assert state.startup.download is None


@given(start=st.sampled_from(PHASES), end=st.sampled_from(PHASES))
def test_no_phase_is_left_out_and_only_the_probe_is_entered_again(start: str, end: str) -> None:
    following = PHASES[PHASES.index(start) + 1 :]
    again = (start, end) == (SERVING, PROBING)
    if again or end in (*following[:1], *(phase for phase in (DRAINING, FAILED) if phase in following)):
        assert lifecycle.advance(at(start), end, now=1.0).phase == end
    else:
        with pytest.raises(ValueError, match=f"from phase {start} to {end}"):
            lifecycle.advance(at(start), end, now=1.0)


@pytest.mark.parametrize("phase", PHASES[:-1])
def test_every_phase_can_fail_and_says_why(phase: str) -> None:
    state = lifecycle.fail(at(phase), FAILURE, now=1.0)
    assert state.phase == FAILED
    assert state.failure is FAILURE
    assert not lifecycle.liveness(state, now=1.0).ok
    assert "EngineCrashed: gone" in lifecycle.readiness(state, now=1.0).reason


def test_the_first_failure_counts() -> None:
    second = dataclasses.replace(FAILURE, message="second")
    state = lifecycle.fail(lifecycle.fail(at(SERVING), FAILURE, now=1.0), second, now=2.0)
    assert state.failure is FAILURE


@pytest.mark.parametrize(
    ("phase", "now", "words"),
    [
        (WAITING_FOR_MODEL, 61.0, "the model was not available"),
        (STARTING, 61.0, "the engine was not healthy"),
        (STARTING, 60.0, None),
        (PREFLIGHT, 61.0, "this machine or its cache had not answered"),
        (PROBING, 61.0, None),
        (SERVING, 61.0, None),
    ],
)
def test_startup_timeout(phase: str, now: float, words: str | None) -> None:
    failure = lifecycle.overdue(at(phase, entered=50.0), budget_seconds=60.0, now=now)
    if words is None:
        assert failure is None
    else:
        assert failure is not None
        assert failure.failure_class == "StartupTimeout"
        assert words in failure.message
        assert "why" in failure.message


@pytest.mark.parametrize(
    ("state", "now", "ready", "alive"),
    [
        (at(PREFLIGHT), 9999.0, False, True),
        (at(WAITING_FOR_MODEL), 9999.0, False, True),
        (at(STARTING), 9999.0, False, True),
        (at(PROBING), 9999.0, False, True),
        (at(SERVING, healthy=0.0), 59.0, True, True),
        (at(SERVING, healthy=0.0), 61.0, False, True),
        (at(SERVING, healthy=0.0), 181.0, False, False),
        (at(DRAINING, healthy=0.0), 10.0, False, True),
        (at(DRAINING, healthy=0.0), 181.0, False, False),
        (at(SERVING), 59.0, False, True),
        (at(SERVING), 181.0, False, False),
        (at(DRAINING), 10.0, False, True),
    ],
)
def test_ready_and_alive(state: RuntimeState, now: float, ready: bool, alive: bool) -> None:
    assert lifecycle.readiness(state, now=now).ok is ready
    assert lifecycle.liveness(state, now=now).ok is alive


REPORT = plain_report(phase=SERVING)
STEPS = EngineCounters(generated_tokens=5.0, computed_prompt_tokens=9.0, running=2.0, by_step=True)


@pytest.mark.parametrize(
    ("then", "ready"),
    [
        ({}, False),
        ({"generated_tokens": 6.0}, True),
        ({"computed_prompt_tokens": 10.0}, False),  # of a request that arrived
        ({"ttft_seconds_count": 1.0}, True),
        ({"running": 0.0}, True),
        ({"running": None}, True),
        ({"by_step": False}, True),
        ({"by_step": False, "steps": 9.0}, True),
    ],
)
def test_requests_without_a_token_for_long_make_a_pod_unready(then: dict[str, Any], ready: bool) -> None:
    """The engine's HTTP server answers its health check, and the thread that computes hangs."""
    progress = Progress().after(STEPS, 100.0).after(STEPS, 115.0).after(STEPS, 130.0)
    assert progress.stalled_since == 100.0
    for now, is_ready in ((700.0, True), (701.0, ready)):
        progress = progress.after(dataclasses.replace(STEPS, **then) if now == 701.0 else STEPS, now)
        state = dataclasses.replace(at(SERVING, healthy=now), progress=progress)
        assert lifecycle.readiness(state, now=now).ok is is_ready
        assert lifecycle.liveness(state, now=now).ok, "a very long prompt is no reason to end the engine"
    if not ready:
        report = make_report(REPORT, state, now=now)
        assert not report.ready
        assert "no token was counted for 601 s" in report.message
    state = dataclasses.replace(
        state, progress=progress.after(dataclasses.replace(STEPS, running=0.0), 702.0)
    )
    assert lifecycle.readiness(state, now=702.0).ok


def test_steps_are_progress_where_tokens_are_counted_when_an_answer_ends() -> None:
    """llama.cpp, with a prompt of several steps."""
    counters = EngineCounters(generated_tokens=5.0, running=1.0, steps=9.0)
    progress = Progress().after(counters, 100.0).after(counters, 115.0)
    assert progress.stalled_since == 100.0
    assert progress.after(dataclasses.replace(counters, steps=10.0), 130.0).stalled_since is None


def test_wedged_failure_says_how_long() -> None:
    assert "200 s" in lifecycle.wedged_failure(at(SERVING, healthy=0.0), now=200.0).message


@pytest.mark.parametrize(
    ("progress", "words"),
    [
        (None, "waiting for the fetch container"),
        (FetchProgress(state="Listing"), "fetch: Listing"),
        (FetchProgress(state="Downloading", bytes_done=2**20, bytes_total=2**22), "1.0 of 4.2 MB (25 %)"),
        (FetchProgress(state="Failed", failure=FAILURE), "fetch failed and will be retried: gone"),
        (FetchProgress(state="Verifying", bytes_total=2_000_000, verified_bytes=1_000_000), "Verifying, 1.0"),
    ],
)
def test_waiting_for_the_model_in_words(progress: FetchProgress | None, words: str) -> None:
    assert words in lifecycle.model_message(progress)


def test_drain_wants_two_idle_readings_in_a_row() -> None:
    idle, ends = 0, []
    for running in [1, 0, None, 0, 0]:
        idle, verdict = drain_step(idle, running=running, wedged=False, left_seconds=100.0)
        ends.append(verdict.ok)
    assert ends == [False, False, False, False, True]


@given(running=st.none() | st.integers(0, 5), left=st.floats(-1e6, 0.0), idle=st.integers(0, 1))
def test_drain_never_outlives_its_time(running: int | None, left: float, idle: int) -> None:
    assert drain_step(idle, running=running, wedged=False, left_seconds=left)[1].ok


def test_a_wedged_engine_is_not_waited_for() -> None:
    assert drain_step(0, running=None, wedged=True, left_seconds=100.0)[1].ok


@given(readings=st.lists(st.none() | st.integers(1, 9), max_size=20))
def test_unknown_is_never_taken_for_idle(readings: list[int | None]) -> None:
    idle = 0
    for running in readings:
        idle, verdict = drain_step(idle, running=running, wedged=False, left_seconds=99.0)
        assert not verdict.ok
