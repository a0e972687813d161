"""How well the model, as it was loaded, foresees a fixed text: what a quantization costs, in three seconds.

The text is sent as text: every quantization of a model has its tokenizer, and so the same tokens. Four short
passages and not one long: what an engine needs for the logits of a prompt grows with its length, and may be
planned for no more than a batch of answers.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Mapping
from pkgutil import get_data
from typing import Any

from tacho_contract.measurement import Quality
from tacho_runtime.probe.asking.timed_client import RequestFailed

TEXT = "H. G. Wells, The Time Machine (1895): four passages, v1"
"""Public domain: published in 1895, its author died in 1946. As in Project Gutenberg's text 35, with lines
joined and the narrator's quotation marks left out. Another choice of passages is another version."""
FILE = "quality_text.txt"
BUDGET_SECONDS = 3.0
"""Of the whole. Without the last passage there is no figure: it would be of another text."""
MESSAGE_CHARACTERS = 300

Post = Callable[[str, Mapping[str, Any]], Awaitable[tuple[int, Any]]]
"""Sends a JSON document to a path of the engine; (HTTP status, the answer's document). Raises
RequestFailed, OSError or ValueError."""


class NoFigure(Exception):
    """Why there is none, in words."""


def passages() -> tuple[str, ...]:
    """The text, in pieces that are sent one by one."""
    data = get_data(__package__, FILE)
    assert data is not None, "shipped with this package"
    return tuple(data.decode().strip().split("\n\n"))


async def quality(
    post: Post,
    served_name: str,
    *,
    budget_seconds: float = BUDGET_SECONDS,
    now: Callable[[], float] = time.monotonic,
) -> Quality:
    """Mean negative log-likelihood and perplexity of the text; ``message`` says why there are none.

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
                raise NoFigure(
                    f"the text would take {whole:.1f} s on this engine, more than the {budget_seconds:.0f} s "
                    "that are meant for it"
                )
    except NoFigure as error:
        return Quality(text=TEXT, message=str(error)[:MESSAGE_CHARACTERS])
    mean = -sum(scores) / len(scores)
    return Quality(
        text=TEXT, tokens=len(scores), negative_log_likelihood=round(mean, 5), perplexity=_perplexity(mean)
    )


def _perplexity(mean: float) -> float | None:
    """None where it is no number that could be shown: a model that is broken."""
    return round(math.exp(mean), 4) if mean < 30 else None


async def _scored(post: Post, served_name: str, text: str, seconds: float) -> list[float]:
    """Log-probabilities, in nats, of the tokens of ``text`` but the first. Raises NoFigure.

    ``echo`` with ``logprobs`` and nothing to generate: OpenAI's completions as vLLM and tacho's own server
    understand it. llama.cpp's server refuses ``echo`` or passes over it, by version.
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
        raise NoFigure("the engine took too long to score the text") from None
    except (RequestFailed, OSError, ValueError) as error:
        raise NoFigure(f"the engine could not be asked to score the text: {error}") from None
    if status != 200:
        raise NoFigure(f"the engine does not score a given text: HTTP {status}, {_told(document)}")
    return _logprobs(document)


def _logprobs(document: Any) -> list[float]:
    """Those of the prompt. Raises NoFigure for an answer that holds none, or not those of a prompt: an engine
    that passes over ``echo`` answers with tokens of its own, and the first of them is scored too."""
    try:
        first, *rest = document["choices"][0]["logprobs"]["token_logprobs"]
    except (LookupError, TypeError, ValueError):
        raise NoFigure("the engine gave no log-probabilities of the text it was given") from None
    if first is not None or not rest:
        raise NoFigure("the engine gave log-probabilities, but not of the text it was given")
    if not all(isinstance(value, int | float) and math.isfinite(value) for value in rest):
        raise NoFigure("some tokens of the text have no finite log-probability: the model may be broken")
    return [float(value) for value in rest]


def _told(document: Any) -> str:
    """What an error document says, in whichever of the usual shapes."""
    found = document.get("error", document) if isinstance(document, dict) else document
    found = found.get("message", found) if isinstance(found, dict) else found
    return str(found)
