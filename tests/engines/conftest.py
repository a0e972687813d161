"""The engines' own environment and a real model; made where they are missing, so no test skips."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tacho_runtime.probe.quality import passages
from tests.engines.given import QUALITY_REFERENCE
from tests.engines.serving import Served, serving, transformers_command
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


@pytest.fixture(scope="session")
def claim(safetensors_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that stands in for the claim of the examples, with the model under the names they use."""
    folder = tmp_path_factory.mktemp("models")
    for name in ("smollm2", "smollm2-bf16"):
        (folder / name).symlink_to(safetensors_model)
    return folder


@pytest.fixture(scope="session")
def transformers_bf16(
    engines_python: Path, safetensors_model: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Served]:
    """The model as it is: what quantized ones and other engines are held against."""
    log = tmp_path_factory.mktemp("transformers") / "bf16.log"
    with serving(transformers_command(engines_python, safetensors_model), log) as running:
        yield running


@pytest.fixture(scope="session")
def quality_reference(engines_python: Path, safetensors_model: Path) -> tuple[int, float]:
    """(tokens, mean negative log-likelihood)"""
    command = [engines_python, "-c", QUALITY_REFERENCE, safetensors_model, json.dumps(passages())]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    tokens, mean = json.loads(told.splitlines()[-1])
    return int(tokens), float(mean)
