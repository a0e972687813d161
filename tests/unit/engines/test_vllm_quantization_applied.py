"""Whether the quantization was applied: what vLLM's real logs say is loaded, against what was predicted."""

from __future__ import annotations

import dataclasses

import pytest

from tacho_contract.units import GIB
from tacho_engines.base import EngineStartup
from tacho_runtime.supervisor.engine_memory import quantization_failure
from tests.unit.engines.test_vllm_logs import H200, STARTS, config, read

METHODS = {
    "fp8": "fp8",
    "awq": "awq",
    "gptq": "gptq",
    "gptq-silently-unquantized": "gptq",
    "w4a16": "compressed-tensors",
    "w4a16-marlin": "compressed-tensors",
    "w8a8": "compressed-tensors",
    "bnb-nf4": "bnb-nf4",
}
PREDICTED_GIB = {"fp8": 8.51, "awq": 5.5, "gptq": 5.39, "compressed-tensors": 5.36, "bnb-nf4": 5.66}


@pytest.mark.parametrize("row", STARTS[:-1], ids=lambda row: row[0])
def test_the_quantization_that_was_not_applied_is_found(row):
    """Predicted is what the planner predicts of these checkpoints (tests/unit/planner)."""
    name = row[0].removeprefix(f"{H200}/8b-")
    method = METHODS.get(name, "none")
    size = 8.52 if name == "w8a8" else PREDICTED_GIB.get(method, row[1])
    asked = config(quantization_method=method, predicted_weights_bytes=int(size * GIB))
    failure = quantization_failure(asked, read(row[0]))
    if name != "gptq-silently-unquantized":
        assert failure is None
        return
    assert failure is not None
    assert failure.failure_class == "QuantizationNotApplied"
    assert "15.0 GiB" in failure.message
    assert "5.39 GiB" in failure.message


def test_what_is_not_known_is_no_mismatch():
    figures = EngineStartup(weights_bytes=100 * GIB)
    assert quantization_failure(config(quantization_method="gptq"), figures) is None
    assert (
        quantization_failure(config(quantization_method="gptq", predicted_weights_bytes=GIB), EngineStartup())
        is None
    )


@pytest.mark.parametrize(
    "changes",
    [
        {"quantization_method": "none"},
        {"quantization_method": "bnb-nf4", "extra_args": ("--dtype", "float32")},
        {"quantization_method": "fp8", "extra_args": ("--speculative-config={}",)},
        {"quantization_method": "awq", "extra_args": ("--enable_lora",)},
    ],
)
def test_what_the_user_loads_besides_is_no_mismatch(changes):
    asked = config(predicted_weights_bytes=5 * GIB, **changes)
    assert quantization_failure(asked, EngineStartup(weights_bytes=15 * GIB)) is None
    told = dataclasses.replace(asked, quantization_method="gptq", extra_args=())
    assert quantization_failure(told, EngineStartup(weights_bytes=15 * GIB)) is not None
