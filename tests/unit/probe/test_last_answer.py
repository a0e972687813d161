"""The last request to an engine that has just started: whether it still answers once it was measured."""

from __future__ import annotations

import json
import time
from random import Random

import pytest

from tacho_contract.measurement import Baseline, Environment
from tacho_runtime.probe import sequence
from tacho_runtime.probe.load.first_answer import NeverAnswered
from tacho_runtime.probe.load.timed_client import RequestFailed
from tacho_runtime.probe.sequence import check_answers, run_probe
from tacho_runtime.probe.target import ProbeScope
from tests.unit.probe.engines import ask, live, mock_engine, target
from tests.unit.probe.scripted_engine import (
    STREAM,
    TOKEN,
    WHOLE,
    Answer,
    Late,
    Script,
    always,
    asked,
    broken_after,
    engine,
)


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sequence, "AGAIN_SECONDS", 0.1)


@pytest.mark.parametrize(
    "answer",
    [(500, "CUDA error"), None, b"", (404, "no such model"), (302, ""), (200, "<html>an app</html>")],
    ids=["errors", "silence", "closed", "model gone", "moved", "another document"],
)
async def test_one_that_breaks_while_it_is_measured_has_not_started(answer: Answer) -> None:
    """Load may break an engine that stays healthy: it would be Ready, and let in as a new revision."""
    with pytest.raises(NeverAnswered) as caught:
        await asked(broken_after(6, answer), seconds=4)
    assert not caught.value.refused, "its settings were right before"


@pytest.mark.parametrize(
    ("script", "must"),
    [
        (broken_after(6, (500, "CUDA error")), False),
        (broken_after(6, (500, "CUDA error"), until=16), True),
        (broken_after(6, (429, "too many")), True),
    ],
    ids=["it serves already", "it recovers", "it admits others"],
)
async def test_one_that_may_still_serve_has(script: Script, must: bool) -> None:
    assert (await asked(script, must=must, seconds=8)).state in ("Partial", "Failed")


async def test_one_that_breaks_in_a_measurement_that_looks_whole_has_not_started() -> None:
    """A check ends with its level: one that hung under that load was Complete, and its pod Ready."""
    baseline = Baseline(
        plan_key="plan",
        measure_key="measure",
        environment=Environment(),
        observed_time="2026-01-01T00:00:00Z",
        concurrency=2,
        output_tokens_per_second=100.0,
    )
    with mock_engine(itl_base_ms=4) as port:

        def crash(phase: str) -> None:
            if "still answers" in phase:
                ask(port, "/_crash", {})
                time.sleep(0.3)  # it ends after its answer

        goal, limits = target(port, must_answer=True), live(timeout=10, budget=8)
        scope = ProbeScope(baseline=baseline)
        with pytest.raises(NeverAnswered):
            await run_probe(goal, limits, plan_key="plan", rng=Random(1), scope=scope, progress=crash)


async def test_one_that_fails_late_each_time_is_asked_no_longer_than_it_was_measured() -> None:
    """As behind a proxy that gives up: such a failure is sent again."""
    began, late = time.monotonic(), Late(b"HTTP/1.1 504 X\r\nContent-Length: 0\r\n\r\n")
    with pytest.raises(NeverAnswered):
        await asked(broken_after(6, late), seconds=4)
    assert time.monotonic() - began < 2 * 4 + 2


async def test_the_last_question_is_in_the_format_that_was_answered() -> None:
    """One that answers texts in one piece, and has no chat, crashed at each start."""

    def texts_alone(path: str, body: str) -> Answer:
        texts = bool(body) and isinstance(json.loads(body).get("prompt"), str)
        return (200, '{"choices":[{"text":"a word"}]}') if texts or not body else (500, "no template")

    assert (await asked(texts_alone)).state == "Failed"


@pytest.mark.parametrize(
    ("script", "is_started"),
    [
        (always(STREAM + 8 * TOKEN + b"data: [DONE]\n\n"), True),
        (always((429, "too many")), True),
        (always((404, "no such model")), False),
        (always((500, "CUDA error")), False),
        (always(None), False),
        (always(None, None), False),
        (always((404, "no such model"), (404, "")), False),
        (always(WHOLE, (404, "")), True),
        (always((401, "no"), (401, "no")), True),
    ],
    ids=[
        "it answers",
        "it admits others",
        "model gone",
        "errors",
        "silence",
        "no list either",
        "all gone",
        "it answers without a list",
        "it admits others to its list",
    ],
)
async def test_one_that_was_measured_before_is_asked_once_at_its_start(
    script: Script, *, is_started: bool
) -> None:
    async with engine(script) as port:
        goal, limits = target(port, must_answer=True), live(timeout=2, budget=2)
        if is_started:
            await check_answers(goal, limits, lambda _: None)
        else:
            with pytest.raises(NeverAnswered) as caught:
                await check_answers(goal, limits, lambda _: None)
            assert not caught.value.refused, "its settings were right before"


@pytest.mark.parametrize(("status", "is_refused"), [(404, True), (408, False), (425, False), (500, False)])
def test_an_answer_that_may_pass_says_nothing_of_the_settings(status: int, *, is_refused: bool) -> None:
    error = RequestFailed("no", answered=True, status=status)
    assert NeverAnswered.after(error, 1.0).refused == is_refused
    assert not NeverAnswered.after(error, 1.0, api_is_known=True).refused
