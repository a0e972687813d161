"""The fixed text's figures: from a scripted engine, and from answers that are none."""

from __future__ import annotations

import asyncio
import hashlib
import math
from collections.abc import Mapping
from typing import Any

import pytest

from tacho_contract.measurement import Quality
from tacho_runtime.probe import quality as module
from tacho_runtime.probe.quality import passages, score_text

DIGEST = "0f2c7562074ccc3575e4f3521feda029abfb4d26b333d9628792c743ca0fb5ef"


def scored(*values: float | None) -> dict[str, Any]:
    return {"choices": [{"text": "…", "logprobs": {"token_logprobs": list(values)}}]}


class Engine:
    """Answers with ``document``, each time after ``seconds`` of a clock of its own."""

    def __init__(self, document: Any, status: int = 200, seconds: float = 0.1) -> None:
        self.document, self.status, self.seconds = document, status, seconds
        self.time = 0.0
        self.bodies: list[Mapping[str, Any]] = []

    async def post(self, path: str, body: Mapping[str, Any]) -> tuple[int, Any]:
        assert path == "/v1/completions"
        self.bodies.append(body)
        self.time += self.seconds
        if isinstance(self.document, Exception):
            raise self.document
        return self.status, self.document

    def found(self) -> Quality:
        return asyncio.run(score_text(self.post, "m", now=lambda: self.time))


def test_the_mean_is_over_all_tokens_and_the_text_is_sent_as_it_is() -> None:
    engine = Engine(scored(None, -1.0, -2.0, -4.5))
    found = engine.found()
    assert found.negative_log_likelihood == pytest.approx(2.5)
    assert found.perplexity == pytest.approx(math.exp(2.5), abs=1e-4)
    assert (found.tokens, found.text, found.message) == (12, module.TEXT, "")
    assert [body["prompt"] for body in engine.bodies] == list(passages())
    assert all(body["echo"] and body["max_tokens"] == 0 for body in engine.bodies)


def test_the_text_is_the_one_that_its_name_stands_for() -> None:
    """Figures of two releases are compared by the text's name: other words need another."""
    whole = "\n\n".join(passages())
    assert hashlib.sha256(whole.encode()).hexdigest() == DIGEST, "give TEXT another version, then this digest"
    assert all(600 < len(passage) < 1200 for passage in passages())
    assert whole.isascii()


@pytest.mark.parametrize(
    ("engine", "words"),
    [
        (
            Engine({"error": {"code": 400, "message": "Only no echo is supported"}}, 400),
            "HTTP 400, Only no echo is supported",
        ),
        (Engine("no such route", 404), "HTTP 404, no such route"),
        (Engine(ConnectionError("gone")), "the scoring request failed: gone"),
        (Engine({"choices": [{"text": "x", "logprobs": None}]}), "gave no log-probabilities"),
        (Engine({"choices": []}), "gave no log-probabilities"),
        (Engine([]), "gave no log-probabilities"),
        (Engine(scored()), "gave no log-probabilities"),
        (Engine(scored(-1.0, -2.0)), "not of the text it was given"),
        (Engine(scored(None, -1.0, None)), "no possible log-probability"),
        (Engine(scored(None, float("-inf"))), "no possible log-probability"),
        *(
            (Engine(scored(None, value, value)), "no possible log-probability")
            for value in (50.0, -1e308, -(10**400))
        ),
        (Engine(scored(None, -1.0), seconds=1.0), "scoring the text would take 4.0 s of a budget of 3 s"),
    ],
)
def test_where_there_is_no_figure_it_says_why(engine: Engine, words: str) -> None:
    found = engine.found()
    assert (found.negative_log_likelihood, found.perplexity, found.tokens) == (None, None, 0)
    assert words in found.message
    assert found.text == module.TEXT
    assert len(engine.bodies) == 1, "nothing is asked for in vain"


def test_an_error_may_be_nested_too_deep_to_be_shown() -> None:
    nested: list[Any] = []
    for _ in range(50_000):
        nested = [nested]
    assert "nested too deep" in Engine({"error": nested}, status=400).found().message


def test_an_engine_that_does_not_answer_is_not_waited_for() -> None:
    async def never(path: str, body: Mapping[str, Any]) -> tuple[int, Any]:
        await asyncio.Event().wait()
        raise AssertionError

    found = asyncio.run(score_text(never, "m", budget_seconds=0.05))
    assert found.message == "the engine took too long to score the text"
