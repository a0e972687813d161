"""Log-probabilities of the same given tokens by two servers, and how far they are apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tests.engines.serving import Served

GIVEN = (
    "The capital of France is Paris. The capital of Germany is Berlin. Water boils at one hundred degrees "
    "and freezes at zero. The sun rises in the east and sets in the west."
)


def scores(server: Served, prompt: str | list[int] = GIVEN) -> list[float]:
    """Nats, of every token but the first, which has none."""
    body = {"model": server.model, "prompt": prompt, "echo": True, "logprobs": 1, "max_tokens": 0}
    answer = server.post("/v1/completions", body)
    assert answer.status_code == 200, answer.text
    choice = answer.json()["choices"][0]
    assert choice["text"] == GIVEN
    first, *rest = choice["logprobs"]["token_logprobs"]
    assert first is None
    return list(rest)


@dataclass(frozen=True)
class Difference:
    """Nats a token."""

    mean: float
    most: float


def difference(found: Sequence[float], expected: Sequence[float]) -> Difference:
    each = [abs(one - other) for one, other in zip(found, expected, strict=True)]
    return Difference(mean=sum(each) / len(each), most=max(each))
