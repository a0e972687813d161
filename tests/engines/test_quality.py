"""What the fixed text says of a quantization, by real engines, against Transformers' own arithmetic."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest

from tacho_contract.measurement import Quality
from tacho_runtime.probe.quality import passages, score_text
from tests.engines.serving import Served, serving, transformers_command

REFERENCE = """
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
PATIENT_SECONDS = 300.0
"""The text takes a second on two idle cores."""
pytestmark = pytest.mark.timeout(900)


def measured(served: Served) -> Quality:
    async def asked() -> Quality:
        async with httpx.AsyncClient(base_url=served.url, timeout=PATIENT_SECONDS, trust_env=False) as client:

            async def post(path: str, body: Mapping[str, Any]) -> tuple[int, Any]:
                answer = await client.post(path, json=body)
                return answer.status_code, answer.json()

            return await score_text(post, served.model, budget_seconds=PATIENT_SECONDS)

    return asyncio.run(asked())


@pytest.fixture(scope="module")
def reference(engines_python: Path, safetensors_model: Path) -> tuple[int, float]:
    """(tokens, mean negative log-likelihood)"""
    command = [engines_python, "-c", REFERENCE, safetensors_model, json.dumps(passages())]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    tokens, mean = json.loads(told.splitlines()[-1])
    return int(tokens), float(mean)


@pytest.fixture(scope="module")
def exact(transformers_bf16: Served) -> Quality:
    return measured(transformers_bf16)


@pytest.fixture(scope="module")
def vllm(
    engines_python: Path, safetensors_model: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Served]:
    log = tmp_path_factory.mktemp("vllm") / "log"
    words = [
        "-m",
        "vllm.entrypoints.openai.api_server",
        "--model",
        safetensors_model,
        "--served-model-name",
        "m",
        "--max-model-len",
        "512",
        "--enforce-eager",
    ]
    small = {"VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_NO_USAGE_STATS": "1"}
    with serving([engines_python, *words], log, environment=small) as running:
        yield running


def test_transformers_own_arithmetic_gives_the_same_figure(
    exact: Quality, reference: tuple[int, float]
) -> None:
    tokens, mean = reference
    print(f"tacho's server: {exact}; reference: {mean:.4f} nats over {tokens} tokens")
    assert exact.tokens == tokens
    assert exact.negative_log_likelihood == pytest.approx(mean, rel=0.01)


def test_vllm_gives_the_same_figure(vllm: Served, reference: tuple[int, float]) -> None:
    tokens, mean = reference
    found = measured(vllm)
    print(f"vLLM: {found}; reference: {mean:.4f} nats over {tokens} tokens")
    assert found.message == ""
    assert found.tokens == tokens
    assert found.negative_log_likelihood == pytest.approx(mean, rel=0.01)


def test_four_bits_are_worse_and_the_figure_says_so(
    exact: Quality, engines_python: Path, safetensors_model: Path, tmp_path: Path
) -> None:
    command = transformers_command(engines_python, safetensors_model, "--quantization", "bnb-nf4")
    with serving(command, tmp_path / "nf4.log") as running:
        worse = measured(running)
    print(f"bf16: {exact.perplexity}, nf4: {worse.perplexity}")
    assert worse.tokens == exact.tokens
    assert worse.perplexity is not None
    assert exact.perplexity is not None
    assert worse.perplexity > 1.05 * exact.perplexity


def test_llama_cpp_says_that_it_cannot(gguf_model: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tacho_llamacpp", "-m", gguf_model, "-c", "512", "-np", "1"]
    with serving(command, tmp_path / "log") as running:
        found = measured(running)
    assert found.perplexity is None
    assert found.message == "the engine gave no log-probabilities of the text it was given"
