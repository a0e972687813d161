"""What the fixed text says of a quantization, by real engines, against Transformers' own arithmetic."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.engines.given import quality
from tests.engines.serving import Served, serving

pytestmark = pytest.mark.timeout(900)


def test_transformers_own_arithmetic_gives_the_same_figure(
    transformers_bf16: Served, quality_reference: tuple[int, float]
) -> None:
    (tokens, mean), exact = quality_reference, quality(transformers_bf16)
    print(f"tacho's server: {exact}; reference: {mean:.4f} nats over {tokens} tokens")
    assert exact.tokens == tokens
    assert exact.negative_log_likelihood == pytest.approx(mean, rel=0.01)


def test_llama_cpp_says_that_it_cannot(gguf_model: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tacho_llamacpp", "-m", gguf_model, "-c", "512", "-np", "1"]
    with serving(command, tmp_path / "log") as running:
        found = quality(running)
    assert found.perplexity is None
    assert found.message == "the engine gave no log-probabilities of the text it was given"
