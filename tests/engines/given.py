"""What servers say of given tokens: log-probabilities, how far they are apart, and the probe's fixed text."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import httpx

from tacho_contract.measurement import Quality
from tacho_runtime.probe.quality import score_text
from tests.engines.serving import Served

GIVEN = (
    "The capital of France is Paris. The capital of Germany is Berlin. Water boils at one hundred degrees "
    "and freezes at zero. The sun rises in the east and sets in the west."
)

QUALITY_REFERENCE = """
import json, sys, torch, transformers
tokenizer = transformers.AutoTokenizer.from_pretrained(sys.argv[1])
model = transformers.AutoModelForCausalLM.from_pretrained(sys.argv[1], dtype="bfloat16")
scores = []
for text in json.loads(sys.argv[2]):
    tokens = tokenizer(text, return_tensors="pt")["input_ids"]
    with torch.no_grad():
        logprobs = model(tokens).logits.float().log_softmax(-1)
    scores += logprobs[0, :-1].gather(1, tokens[0, 1:, None])[:, 0].tolist()
print(json.dumps([len(scores), -sum(scores) / len(scores)]))
"""
"""Prints tokens and mean of the texts, by Transformers without a server."""
PATIENT_SECONDS = 300.0
"""The probe's fixed text takes a second on two idle cores."""


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


def quality(served: Served) -> Quality:
    """Of the model as it was loaded, by the probe's fixed text."""

    async def asked() -> Quality:
        async with httpx.AsyncClient(base_url=served.url, timeout=PATIENT_SECONDS, trust_env=False) as client:

            async def post(path: str, body: Mapping[str, Any]) -> tuple[int, Any]:
                answer = await client.post(path, json=body)
                return answer.status_code, answer.json()

            return await score_text(post, served.model, budget_seconds=PATIENT_SECONDS)

    return asyncio.run(asked())
