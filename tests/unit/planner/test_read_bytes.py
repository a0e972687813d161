"""What a decoding step reads, and what a kernel unpacks: an embedding table beside the head is looked up."""

from __future__ import annotations

import dataclasses

import pytest

from benchmarks.planner.models import facts
from benchmarks.planner.placements import host, placement
from tacho_contract.model import TensorClass
from tacho_engines.base import Context
from tacho_engines.memory.account import Account
from tacho_engines.registry import planner_adapter
from tacho_operator.core.planner.speed import whole_passes

TABLE = 128_256 * 4096
"""Elements of the table of a Llama 8B, and of its head."""
MIB = 2**20


def account(engine: str, model: str, method: str, device: object = "H200", **more: int) -> Account:
    found = planner_adapter(engine).account(
        placement(engine, model, method, device, **more), Context(4096, 1)
    )
    assert found is not None
    assert found.read_bytes == found.weights_bytes - found.unread_bytes
    return found


@pytest.mark.parametrize(
    ("engine", "method", "table"),
    [
        ("vllm", "none", 2 * TABLE),
        ("vllm", "fp8", 2 * TABLE),
        ("vllm", "bnb-nf4", 2 * TABLE),
        ("transformers", "bnb-int8", 2 * TABLE),
        ("transformers", "none", 2 * TABLE),
        ("ctranslate2", "none", 2 * TABLE),
        ("ctranslate2", "ct2-int8-float16", TABLE),
    ],
)
def test_a_table_is_held_as_its_engine_holds_it_and_not_read(engine: str, method: str, table: int) -> None:
    """Quantization at the start leaves tables in 16 bits, but for CTranslate2's."""
    kept = account(engine, "qwen2.5-1.5b", method).unread_bytes  # its table is its head
    assert kept < 300 * MIB
    assert account(engine, "llama-3.1-8b", method).unread_bytes == pytest.approx(table, abs=300 * MIB)


def test_two_gpus_hold_half_a_table_each() -> None:
    two = account("vllm", "llama-3.1-8b", "none", count=2, tensor=2)
    assert two.unread_bytes == pytest.approx(TABLE, abs=100 * MIB)


def test_llamacpp_on_a_host_holds_the_table_there() -> None:
    model = facts("llama-3.1-8b")
    stored = tuple(
        TensorClass(kind=kind, dtype="Q4_0", tensors=1, parameters=elements, stored_bytes=elements // 2)
        for kind, elements in (("embedding", TABLE), ("lm_head", TABLE), ("linear", 10**9))
    )
    found = dataclasses.replace(model, tensors=stored, format="gguf")
    assert account("llamacpp", found, "gguf", host()).unread_bytes == TABLE // 2
    assert account("llamacpp", found, "gguf").unread_bytes == 0, "it is not on the GPU"


@pytest.mark.parametrize(
    ("model", "passes"),
    [
        ("llama-3.1-8b", 1.0),
        # Rows of 3,584 take 4,096, and those of 18,944 take 19,456.
        ("qwen2.5-7b", (4096 * (4608 + 2 * 18_944) + 4096 * 3584 + 19_456 * 3584) / 233_046_016),
    ],
)
def test_a_row_takes_whole_passes(model: str, passes: float) -> None:
    assert whole_passes(facts(model).architecture, 1024) == pytest.approx(passes, rel=1e-6)
    assert whole_passes(facts(model).architecture, 0) == 1.0
