"""Perplexity of a fixed text under the model as it was loaded, as a measure of the loss by quantization;
takes three seconds.

The text is sent as text: all quantizations of a model have the same tokenizer. It is sent in four short
passages, as the memory for a prompt's logits grows with its length and an engine may not have planned for it.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Mapping
from pkgutil import get_data
from typing import Any

from tacho_contract.measurement import Quality
from tacho_runtime.probe.load.timed_client import RequestFailed

TEXT = "H. G. Wells, The Time Machine (1895): four passages, v1"
"""Name and version of the fixed text. It is in the public domain (published 1895); from Project Gutenberg's
text 35, with lines joined and the narrator's quotation marks removed. Other passages would be a new version.
"""
FILE = "quality_text.txt"
BUDGET_SECONDS = 3.0
"""Longest time in seconds to score the whole text. If a passage is missing, no perplexity is reported, as it
would be of another text.
"""
MESSAGE_CHARACTERS = 300
PLAUSIBLE_NATS = (-1e6, 1e-3)
"""Bounds of a valid log-probability: engines write -9999 for none, and rounding may exceed 0 a little."""

Post = Callable[[str, Mapping[str, Any]], Awaitable[tuple[int, Any]]]
"""Function that sends a JSON document to a path of the engine; returns (HTTP status, the answer's document).
Raises RequestFailed, OSError or ValueError.
"""


class NoScore(Exception):
    """The perplexity of the fixed text cannot be computed; the message says why."""


def passages() -> tuple[str, ...]:
    """The fixed text in short passages, each of which is one request."""
    data = get_data(__package__, FILE)
    assert data is not None, "shipped with this package"
    return tuple(data.decode().strip().split("\n\n"))


async def score_text(
    post: Post,
    served_name: str,
    *,
    budget_seconds: float = BUDGET_SECONDS,
    now: Callable[[], float] = time.monotonic,
) -> Quality:
    """Mean negative log-likelihood and perplexity of the text; ``message`` says why the values are missing.

    Takes no longer than ``budget_seconds`` and raises nothing but CancelledError.
    """
    texts, ends = passages(), now() + budget_seconds
    scores: list[float] = []
    try:
        for number, text in enumerate(texts):
            began = now()
            scores += await _scored(post, served_name, text, ends - began)
            needed = (now() - began) * (len(texts) - number - 1)
            if needed > ends - now():
                whole = needed + budget_seconds - (ends - now())
                raise NoScore(
                    f"scoring the text would take {whole:.1f} s of a budget of {budget_seconds:.0f} s"
                )
    except NoScore as error:
        return Quality(text=TEXT, message=str(error)[:MESSAGE_CHARACTERS])
    mean = -sum(scores) / len(scores)
    return Quality(
        text=TEXT, tokens=len(scores), negative_log_likelihood=round(mean, 5), perplexity=_perplexity(mean)
    )


def _perplexity(mean: float) -> float | None:
    """The perplexity; None where it is too large to be shown, as of a broken model."""
    return round(math.exp(mean), 4) if mean < 30 else None


async def _scored(post: Post, served_name: str, text: str, seconds: float) -> list[float]:
    """Log-probabilities, in nats, of all tokens of ``text`` but the first. Raises NoScore.

    Uses ``echo`` with ``logprobs`` and no generated token, as vLLM and tacho's own server support it.
    llama.cpp's server refuses or ignores ``echo``, depending on its version.
    """
    body = {
        "model": served_name,
        "prompt": text,
        "echo": True,
        "logprobs": 1,
        "max_tokens": 0,
        "temperature": 0,
    }
    try:
        status, document = await asyncio.wait_for(post("/v1/completions", body), seconds)
    except (asyncio.TimeoutError, TimeoutError):
        raise NoScore("the engine took too long to score the text") from None
    except (RequestFailed, OSError, ValueError, RecursionError) as error:
        raise NoScore(f"the scoring request failed: {error}") from None
    if status != 200:
        raise NoScore(f"the engine does not score a given text: HTTP {status}, {_error_text(document)}")
    return _logprobs(document)


def _logprobs(document: Any) -> list[float]:
    """Log-probabilities of the prompt's tokens. Raises NoScore where the answer has none, or has those of
    generated tokens.

    An engine that ignores ``echo`` sends generated tokens, of which also the first has a log-probability.
    """
    try:
        first, *rest = document["choices"][0]["logprobs"]["token_logprobs"]
    except (LookupError, TypeError, ValueError):
        raise NoScore("the engine gave no log-probabilities of the text it was given") from None
    if first is not None or not rest:
        raise NoScore("the engine gave log-probabilities, but not of the text it was given")
    lowest, highest = PLAUSIBLE_NATS
    if not all(isinstance(value, int | float) and lowest <= value <= highest for value in rest):
        raise NoScore("some tokens of the text have no possible log-probability: the model may be broken")
    return [float(value) for value in rest]


def _error_text(document: Any) -> str:
    """Message of an error document, in any of the usual formats."""
    found = document.get("error", document) if isinstance(document, dict) else document
    found = found.get("message", found) if isinstance(found, dict) else found
    try:
        return str(found)
    except RecursionError:  # of a document that was just not too deep to be parsed
        return "an error that is nested too deep"
