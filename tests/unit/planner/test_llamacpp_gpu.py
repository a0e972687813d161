"""GGUF models on GPUs: who holds which layers, what that takes, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from benchmarks.planner.placements import placement
from tacho_contract.units import GIB, MIB
from tacho_engines.base import Context, EngineRefusal
from tacho_engines.llamacpp import gpu_split, memory
from tacho_engines.registry import planner_adapter
from tacho_operator.core.planner.plan import plan_model
from tacho_operator.core.planner.types import ModelPlan, PlanFailure
from tools.mock.specs import CONFIG, cpu_node, gpu_node, smollm2, spec

CONTEXT = Context(2048, 4)
ADAPTER = planner_adapter("llamacpp")


def on(gpus: int, *arguments: str, **more: Any) -> Any:
    return placement("llamacpp", smollm2(), "gguf", count=gpus, arguments=arguments, **more)


def layers(*arguments: str, gpus: int) -> list[tuple[int, bool]]:
    return [(share.layers, share.head) for share in gpu_split.shares(on(gpus, *arguments))]


@pytest.mark.parametrize(
    ("gpus", "arguments", "held"),
    [
        (1, (), [(30, True)]),
        # Thirty layers and the head, in turn.
        (2, (), [(16, False), (14, True)]),
        (4, (), [(8, False), (8, False), (8, False), (6, True)]),
        (2, ("--tensor-split", "3,1"), [(24, False), (6, True)]),
        (2, ("-ts", "1/0"), [(30, True), (0, False)]),
        # The last ones, and the head first of all.
        (1, ("--n-gpu-layers", "11"), [(10, True)]),
        (1, ("-ngl", "1"), [(0, True)]),
        (1, ("-ngl", "0"), [(0, False)]),
        (2, ("--n-gpu-layers", "auto"), [(16, False), (14, True)]),
    ],
)
def test_which_gpu_holds_which_layers(
    gpus: int, arguments: tuple[str, ...], held: list[tuple[int, bool]]
) -> None:
    assert layers(*arguments, gpus=gpus) == held


def test_layers_on_two_gpus_share_the_memory_and_a_pipeline_has_more_copies_of_its_inputs() -> None:
    one, two = (memory.account(on(gpus), CONTEXT) for gpus in (1, 2))
    # The second has fewer layers, and the head, which outweighs them in a model as small as this.
    assert two.cache_bytes == pytest.approx(one.cache_bytes * 14 / 30, rel=0.01)
    head = memory.head_bytes(smollm2())[0]
    assert two.weights_bytes == pytest.approx((one.weights_bytes - head) * 14 / 30 + head, abs=2)
    assert two.activation_bytes > one.activation_bytes


def test_split_tensors_are_halves_of_everything() -> None:
    one, two = memory.account(on(1), CONTEXT), memory.account(on(2, tensor=2), CONTEXT)
    assert two.weights_bytes == pytest.approx(one.weights_bytes / 2, abs=2)
    assert two.cache_bytes == pytest.approx(one.cache_bytes / 2, abs=2)
    assert two.activation_bytes == one.activation_bytes


def test_a_head_of_its_own_leaves_the_embedding_on_the_host() -> None:
    head, table = memory.head_bytes(smollm2())
    assert (head > 0, table) == (True, 0)
    whole = memory.account(on(1), CONTEXT)
    assert whole.weights_bytes == memory.weights_bytes(smollm2())
    assert whole.offloaded_bytes == 0


def test_fewer_layers_on_the_gpu_are_planned_as_asked_and_named() -> None:
    some = on(1, "--n-gpu-layers", "11")
    found, whole = memory.account(some, CONTEXT), memory.account(on(1), CONTEXT)
    assert found.cache_bytes == pytest.approx(whole.cache_bytes / 3, rel=0.01)
    assert found.offloaded_bytes == whole.weights_bytes - found.weights_bytes
    assert ADAPTER.fallbacks(some) == (
        "--n-gpu-layers puts 11 of 31 layers on GPUs, the host computes the others",
    )
    assert ADAPTER.fallbacks(on(1)) == ()


def test_what_does_not_fit_is_said_and_not_put_on_the_host_in_part() -> None:
    asks = spec(gpu={"products": ["L4"], "count": 1}, context={"maxModelLen": 8192, "concurrency": 512})
    found = plan_model(asks, smollm2(), nodes=None, history=(), config=CONFIG)
    assert isinstance(found, PlanFailure)
    assert found.failure.failure_class == "DoesNotFit"


@pytest.mark.parametrize(
    ("gpus", "arguments", "words"),
    [
        (2, ("--split-mode", "row"), "splits no rows over CUDA devices"),
        (2, ("--split-mode", "none"), "leaves 1 of 2 GPUs idle"),
        (2, ("-sm", "rows"), "is not one of layer, tensor, row, none"),
        (2, ("--tensor-split", "1,1,1"), "has 3 parts for 2 GPUs"),
        (2, ("--tensor-split", "a,b"), "no list of parts"),
        (2, ("--tensor-split", "0,0"), "no list of parts"),
        (1, ("--main-gpu", "1"), "is not one of 1 GPUs"),
        (2, ("--split-mode", "tensor", "--flash-attn", "off"), "split tensors need flash attention"),
        (1, ("--cache-type-v", "q8_0", "-fa", "off"), "a V cache of type q8_0 needs flash attention"),
    ],
)
def test_switches_that_leave_gpus_idle_or_are_refused_by_the_engine(
    gpus: int, arguments: tuple[str, ...], words: str
) -> None:
    found = ADAPTER.refusal(on(gpus, *arguments))
    assert found is not None
    assert words in found.message
    assert (found.failure_class, bool(found.next_step)) == ("InvalidConfig", True)


@pytest.mark.parametrize("asked", [{"tensor": 2}, {"arguments": ("-sm", "tensor")}])
def test_tensors_of_some_architectures_are_not_split(asked: dict[str, Any]) -> None:
    """llama.cpp: "LLAMA_SPLIT_MODE_TENSOR not implemented for architecture 'deepseek2'"."""

    def refused(name: str, **more: Any) -> EngineRefusal | None:
        mine = placement("llamacpp", smollm2(), "gguf", count=2, **asked, **more)
        return ADAPTER.refusal(replace(mine, architecture=replace(mine.architecture, name=name)))

    found = refused("deepseek2")
    assert found is not None
    assert "splits no tensors of the architecture deepseek2" in found.message
    assert refused("llama") is None
    assert refused("deepseek2", own_image=True) is None


@pytest.mark.parametrize(
    ("width", "asked", "refused"),
    [
        (80, {"kv_cache_dtype": "q8_0"}, True),
        (80, {"arguments": ("-ctk", "q4_0")}, True),
        (80, {"arguments": ("-ctk", "q4_0", "-fa", "off")}, False),
        (80, {"kv_cache_dtype": "bfloat16"}, False),
        (96, {"kv_cache_dtype": "q8_0"}, False),
    ],
)
def test_a_head_is_whole_blocks_of_a_quantized_cache(
    width: int, asked: dict[str, Any], refused: bool
) -> None:
    """llama.cpp of Phi-2: "K cache type q8_0 with block size 32 does not divide n_embd_head_k=80"."""
    mine = placement("llamacpp", smollm2(), "gguf", **asked)
    (group,) = mine.architecture.layer_groups
    wide = replace(group, key_head_dim=width, value_head_dim=width)
    found = ADAPTER.refusal(replace(mine, architecture=replace(mine.architecture, layer_groups=(wide,))))
    assert (found is not None) is refused
    assert found is None or f"heads of {width} elements" in found.message


def test_without_flash_attention_the_scores_of_a_layer_are_kept() -> None:
    """xllamacpp 2026.10 reserved 22.64 MiB for 8,192 cells of SmolLM2-135M with it, 167.51 without."""
    with_it, without = (
        ADAPTER.account(on(1, "--flash-attn", switch), Context(8192, 1)) for switch in ("auto", "off")
    )
    assert with_it is not None
    assert without is not None
    kept = (without.activation_bytes - with_it.activation_bytes) / MIB
    assert kept == pytest.approx(167.51 - 22.64, rel=0.01)


@pytest.mark.parametrize(
    ("version", "may"), [("0.2.14", True), ("b6123", True), ("b11549", False), ("b12000", False)]
)
def test_an_older_llama_cpp_may_split_rows(version: str, may: bool) -> None:
    assert (ADAPTER.refusal(on(2, "--split-mode", "row", version=version)) is None) is may


def test_tensors_are_split_over_all_gpus_or_not_at_all() -> None:
    assert ADAPTER.splits(on(2)) == ((1, 2),)
    assert ADAPTER.splits(on(2, tensor=2)) == ((2, 1),)
    assert isinstance(ADAPTER.splits(on(4, tensor=2)), EngineRefusal)
    assert ADAPTER.fallbacks(on(2, tensor=2)) == (
        "tensors split over GPUs, which llama.cpp calls experimental",
    )


def test_the_plan_tells_the_engine_how_gpus_share() -> None:
    def switches(**fields: Any) -> tuple[str, ...]:
        asks = spec(engine={"name": "llamacpp"}, **fields)
        found = plan_model(asks, smollm2(), nodes=None, history=(), config=CONFIG)
        assert isinstance(found, ModelPlan)
        return found.arguments

    every = ("--n-gpu-layers", "999", "--fit", "off")
    assert switches(gpu={"products": ["L4"], "count": 1}) == every
    assert switches(gpu={"products": ["L4"], "count": 2}) == (*every, "--split-mode", "layer")
    both = {"gpu": {"products": ["L4"], "count": 2}, "parallelism": {"tensor": 2}}
    assert switches(**both) == (*every, "--split-mode", "tensor")
    assert switches(gpu={"count": 0}) == ()


def test_the_image_is_that_of_the_device() -> None:
    def image(**fields: Any) -> str:
        nodes = (gpu_node("g", "NVIDIA-L4"), cpu_node("c", "64Gi"))
        found = plan_model(spec(**fields), smollm2(), nodes=nodes, history=(), config=CONFIG)
        assert isinstance(found, ModelPlan)
        assert found.predicted.total_bytes is not None
        assert found.predicted.total_bytes < 24 * GIB
        return found.image

    assert image() == "tacho-llamacpp-cuda"
    assert image(gpu={"count": 0}) != "tacho-llamacpp-cuda"


def test_a_model_that_claims_any_number_of_layers_is_shared_out_at_once() -> None:
    """Walked through layer by layer, this would take years."""
    assert gpu_split._first_beyond(0.5, 10**15) == 10**15 // 2
    assert gpu_split._first_beyond(1 / 3, 33) == 11
    assert [gpu_split._first_beyond(end, 3) for end in (0.0, 0.34, 1.0)] == [0, 2, 3]
