"""The engines' own environment and a real model; made where they are missing, so no test skips."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools import engines


@pytest.fixture(scope="session")
def engines_python() -> Path:
    """An interpreter that imports vllm, transformers, bitsandbytes and ctranslate2."""
    return engines.environment()


@pytest.fixture(scope="session")
def safetensors_model() -> Path:
    """SmolLM2-135M-Instruct, bf16."""
    return engines.safetensors_model()


@pytest.fixture(scope="session")
def gguf_model() -> Path:
    """The file those were made from."""
    return engines.gguf_model()
