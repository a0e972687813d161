"""engine.extraArgs of vLLM: what it refuses is not called fitting, what it takes counts."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given, strategies as st

from benchmarks.planner.models import facts
from tacho_contract.units import GIB
from tacho_engines.hardware.gpus import named_gpu
from tacho_engines.vllm.graphs import CONTEXT_BYTES
from tacho_engines.vllm.recorded import spelled_out
from tacho_operator.core.planner.plan import plan_model
from tacho_operator.core.planner.types import ModelPlan, PlanFailure
from tests.properties import examples
from tools.mock.specs import CONFIG, gpu_node, spec


def plan(*args, model="llama-3.1-8b", product="L4", nodes=None, count=1, version="0.32.0", **fields):
    asks = {
        "gpu": {"products": [product], "count": count},
        "engine": {"name": "vllm", "image": f"vllm/vllm-openai:v{version}", "extraArgs": list(args)},
        **fields,
    }
    return plan_model(spec(**asks), facts(model), nodes=nodes, history=(), config=CONFIG)


def refusal(*args, **kwargs):
    found = plan(*args, **kwargs)
    assert isinstance(found, PlanFailure), found
    return found.failure


def fitting(*args, **kwargs) -> ModelPlan:
    found = plan(*args, **kwargs)
    assert isinstance(found, ModelPlan), found
    return found


@pytest.mark.parametrize(
    "argument",
    [
        "--gpu-memory-utilization=5",
        "--gpu-memory-utilization=0",
        "--gpu-memory-utilization=half",
        "--max-num-seqs=-5",
        "--max-num-seqs=many",
        "--max-num-batched-tokens=0",
        "--block-size=-16",
        "--tensor-parallel-size=-1",
        "--cpu-offload-gb=-5",
        "--kv-cache-memory-bytes=-5",
        "--max-cudagraph-capture-size=-8",
    ],
)
def test_a_value_the_engine_refuses_is_bad_input(argument):
    found = refusal(argument)
    assert found.failure_class == "InvalidConfig"
    assert argument.partition("=")[0] in found.message
    assert "engine.extraArgs" in found.next_step


def test_fewer_batched_tokens_than_sequences_are_bad_input():
    assert refusal("--max-num-batched-tokens=64", "--max-num-seqs=128").failure_class == "InvalidConfig"


@pytest.mark.parametrize(("version", "share"), [("0.32.0", "0.99"), ("0.32.0", "1.0"), ("0.26.0", "0.96")])
def test_a_budget_that_leaves_the_context_no_room_is_refused_with_one_that_does(version, share):
    """vLLM: "Free memory on device is less than desired GPU memory utilization"; 0.26 takes its graphs
    beside the budget as well."""
    found = refusal(f"--gpu-memory-utilization={share}", version=version)
    assert found.failure_class == "InvalidConfig"
    room = found.message.rsplit("; ", 1)[1].split()[0]
    assert fitting(f"--gpu-memory-utilization={room}", version=version)


def test_a_cache_of_fixed_size_bounds_what_fits():
    asks = {"context": {"maxModelLen": 8192, "concurrency": 8}, "product": "H200"}
    found = refusal("--kv-cache-memory-bytes=1G", **asks)
    assert "--kv-cache-memory-bytes allows 1.00 GiB" in found.message
    length = int(found.details["fitsMaxModelLen"])
    asks["context"] = {"maxModelLen": length, "concurrency": 8}
    assert fitting("--kv-cache-memory-bytes=1G", **asks).predicted.kv_cache_bytes == GIB
    assert refusal("--kv-cache-memory-bytes=1G", product="H200", context={"maxModelLen": 131072})
    assert refusal("--kv-cache-memory-bytes=140G", product="H200")
    given = fitting("--kv-cache-memory-bytes=100G", product="H200", context={"maxModelLen": 8192})
    assert given.predicted.kv_cache_bytes == 100 * GIB
    assert given.predicted.total_bytes <= given.gpu_memory_bytes


@pytest.mark.parametrize("given", ["--num-gpu-blocks-override=64", "--num_gpu_blocks=64"])
@pytest.mark.parametrize("gpu", [{"products": ["L4"], "count": 1}, {"count": 0}])
def test_a_number_of_blocks_is_refused_with_the_switch_for_the_size_of_the_cache(given, gpu):
    asks = {"gpu": gpu, "context": {"maxModelLen": 2048, "concurrency": 1}}
    found = refusal(given, model="qwen2.5-0.5b", **asks)
    assert found.failure_class == "InvalidConfig"
    assert "--kv-cache-memory-bytes sets its size" in found.message


def test_a_shared_gpu_is_asked_for_a_part_only():
    """The engine's own default is 0.92 of the whole GPU, which the other pods also want."""
    shared = gpu_node("s", "NVIDIA-L4-SHARED", 4, memory_mib=23034, compute="8.9")
    shared = dataclasses.replace(shared, labels={**shared.labels, "nvidia.com/gpu.replicas": "4"})
    asks = {"model": "qwen2.5-0.5b", "product": "NVIDIA-L4-SHARED", "nodes": (shared,)}
    found = fitting(**asks)
    part = float(found.arguments[found.arguments.index("--gpu-memory-utilization") + 1])
    assert part * found.gpu_memory_bytes + CONTEXT_BYTES <= found.gpu_memory_bytes / 4
    assert found.predicted.budget_bytes == int(part * found.gpu_memory_bytes)
    greedy = fitting("--gpu-memory-utilization=0.9", **asks)
    assert "the other pods must use less" in greedy.message
    assert "1/4 of it is planned" not in greedy.message


def test_a_small_slice_keeps_room_for_the_context():
    """0.92 of a slice of 4.75 GiB leaves less than the context takes."""
    slice_gpu = "NVIDIA-A100-SXM4-40GB-MIG-1g.5gb"
    found = fitting(model="qwen2.5-0.5b", product=slice_gpu)
    part = float(found.arguments[found.arguments.index("--gpu-memory-utilization") + 1])
    gpu = named_gpu(slice_gpu)
    assert gpu is not None
    assert part * gpu.memory_bytes + CONTEXT_BYTES <= gpu.memory_bytes


NAMES = st.sampled_from(
    (
        "--gpu-memory-utilization",
        "--kv-cache-memory-bytes",
        "--max-num-seqs",
        "--max-num-batched-tokens",
        "--block-size",
        "--cpu-offload-gb",
        "--max-cudagraph-capture-size",
        "--pipeline-parallel-size",
        "--kv-cache-dtype",
        "--enforce-eager",
    )
)
NUMBERS = st.one_of(
    st.integers(-(10**20), 10**20).map(str),
    st.integers(0, 4096).map(str),
    st.floats(0, 1).map(lambda x: f"{x:.3f}"),
    st.sampled_from(("fp8", "1G", "", "nan", "inf", "1e400", "auto")),
)


@examples(1.5)
@given(st.lists(st.tuples(NAMES, NUMBERS), max_size=3))
def test_no_switch_makes_a_plan_of_nonsense(pairs):
    found = plan(*(f"{name}={value}" if value else name for name, value in pairs))
    if isinstance(found, ModelPlan):
        seen = found.predicted
        assert seen.total_bytes <= found.gpu_memory_bytes
        assert seen.max_concurrency >= found.concurrency
        assert all(value >= 0 for value in dataclasses.astuple(seen) if value is not None)
    else:
        assert found.failure.failure_class in ("InvalidConfig", "DoesNotFit", "UnsupportedGPU")


@pytest.mark.parametrize(
    ("product", "concurrency", "sequences", "tokens"),
    [
        ("L4", 256, None, None),
        ("L4", 300, "300", None),
        ("L4", 3000, "3000", "3000"),
        ("H100", 1024, None, None),
    ],
)
def test_more_requests_than_the_scheduler_admits_by_default_are_asked_for(
    product, concurrency, sequences, tokens
):
    """256 at once by default, 1024 from 70 GiB on; a batch holds a token of each at least."""
    found = fitting(
        model="qwen2.5-0.5b", product=product, context={"maxModelLen": 256, "concurrency": concurrency}
    )
    given = dict(zip(found.arguments[::2], found.arguments[1::2], strict=True))
    assert given.get("--max-num-seqs") == sequences
    assert given.get("--max-num-batched-tokens") == tokens


def test_the_users_own_bounds_of_the_scheduler_stay():
    asks = {"model": "qwen2.5-0.5b", "context": {"maxModelLen": 256, "concurrency": 300}}
    own = ("--max-model-len", "256")
    assert fitting("--max-num-seqs=64", **asks).arguments == own
    assert fitting("--max-num-batched-tokens=128", **asks).arguments == own


def test_prompts_that_are_not_prefilled_in_chunks_are_charged_whole():
    asks = {"context": {"maxModelLen": 16384, "concurrency": 1}, "product": "A100-80GB"}
    whole = fitting("--no-enable-chunked-prefill", **asks).predicted.activation_bytes
    batch = fitting("--max-num-batched-tokens=16384", **asks).predicted.activation_bytes
    assert whole == batch > fitting(**asks).predicted.activation_bytes


def test_offloaded_weights_are_read_all_the_same():
    """What is kept in host memory comes over a slower bus: offloading never makes decoding faster."""
    asks = {"context": {"maxModelLen": 2048, "concurrency": 1}, "product": "H100"}
    asks["quantization"] = {"method": "none"}
    plain, offloaded = fitting(**asks).predicted, fitting("--cpu-offload-gb=10", **asks).predicted
    assert offloaded.weights_bytes == plain.weights_bytes - 10 * GIB
    assert offloaded.decode_tokens_per_second == pytest.approx(plain.decode_tokens_per_second)


def test_with_weights_on_the_host_no_speed_is_expected():
    """10 GiB a step over a bus of 25 GB/s take 0.4 s; the plan expected 204 tok/s within 9 %."""
    asks = {"context": {"maxModelLen": 2048, "concurrency": 1}, "product": "H200"}
    asks["quantization"] = {"method": "none"}
    assert "Expected" in fitting(**asks).message
    found = fitting("--cpu-offload-gb=10", **asks)
    assert found.predicted.expected_decode_tokens_per_second is None
    assert found.predicted.expected_capacity_tokens_per_second is None
    assert "Its speed is not known: 10.0 GiB of weights are on the host." in found.message


@pytest.mark.parametrize(
    ("version", "args", "limit", "kept"),
    [
        ("0.32.0", ("--cpu-offload-gb=10",), "8Gi", "10.0 GiB"),
        ("0.32.0", ("--kv-offloading-size=20",), "16Gi", "20.0 GiB"),
        ("0.6.4", ("--swap-space=16",), "12Gi", "16.0 GiB"),
        ("0.6.4", (), "3Gi", "4.00 GiB"),
    ],
)
def test_swap_and_offload_take_host_memory(version, args, limit, kept):
    """cpu-offload-gb and swap-space are of each GPU, kv-offloading-size of all together."""

    def asked(size):
        engine = {"name": "vllm", "image": f"vllm/vllm-openai:v{version}", "extraArgs": list(args)}
        asks = spec(
            gpu={"products": ["A100-80GB"], "count": 1},
            engine={**engine, "resources": {"limits": {"memory": size}}},
            quantization={"method": "none"},
            context={"maxModelLen": 2048, "concurrency": 1},
        )
        return plan_model(asks, facts("llama-3.1-8b"), nodes=None, history=(), config=CONFIG)

    found = asked(limit)
    assert isinstance(found, PlanFailure)
    assert found.failure.failure_class == "InvalidConfig"
    assert f"keep {kept} in host memory" in found.failure.message
    assert isinstance(asked("64Gi"), ModelPlan)


def test_a_switch_the_version_no_longer_has_is_bad_input():
    assert "no switch --swap-space" in refusal("--swap-space=4").message
    assert refusal("--swap-space=4", version="0.18.0").failure_class == "InvalidConfig"
    assert fitting("--swap-space=4", version="0.17.0")


def test_abbreviations_are_read_as_the_engine_reads_them():
    asks = {"context": {"maxModelLen": 2048, "concurrency": 1}}
    whole = fitting("--gpu-memory-utilization=0.85", **asks).predicted
    assert fitting("--gpu_mem", "0.85", **asks).predicted == whole != fitting(**asks).predicted
    assert fitting("--device-memory-utilization=0.85", **asks).predicted == whole


def test_the_last_of_a_switch_and_its_negation_wins():
    asks = {"context": {"maxModelLen": 2048, "concurrency": 1}}
    compiled, eager = (fitting(*words, **asks).predicted for words in ((), ("--enforce-eager",)))
    assert (
        fitting("--enforce-eager", "--no-enforce-eager", **asks).predicted.graph_bytes == compiled.graph_bytes
    )
    assert (
        fitting("--no-enforce_eager", "--enforce-e", **asks).predicted.graph_bytes == eager.graph_bytes == 0
    )


def test_what_was_timed_is_known_by_abbreviations_too():
    asks = {"model": "llama-3.1-8b", "product": "H200", "quantization": {"method": "none"}}
    asks["context"] = {"maxModelLen": 2048, "concurrency": 16}
    assert "not measured" in fitting("--async-scheduling", **asks).message
    for word in ("--gpu-memory-utilization=0.9", "--gpu_mem=0.9"):
        assert "not measured" not in fitting(word, **asks).message


@pytest.mark.parametrize("words", [("--prefill-con", "2"), ("-pcp", "2"), ("-dp=2",)])
def test_a_switch_that_multiplies_gpus_is_refused_in_short_as_well(words):
    assert "2 times as many GPUs" in refusal(*words).message


@pytest.mark.parametrize(
    ("word", "whole"),
    [
        ("--dt=half", "--dtype=half"),
        ("-t", "--tensor-parallel-size"),
        ("-ep", "--enable-expert-parallel"),
        ("--no-enable-chunk", "--no-enable-chunked-prefill"),
        ("--kernel-c.linear_backend", "--kernel-config.linear_backend"),
        ("-cc.mode=1", "--compilation-config.mode=1"),
        ("--cudagraph-capture", "--cudagraph-capture-sizes"),
        ("--swap-s=4", "--swap-space=4"),
        ("--seed=1", "--seed=1"),
        *(
            (same, same)
            for same in ("--kv-cache=x", "--data-parallel-siz", "-O3", "-3", "half", "--", "--=1")
        ),
    ],
)
def test_names_of_switches_in_full(word, whole):
    """vLLM 0.32's parser on the same words; those that stay it refuses as ambiguous, or are no names."""
    assert spelled_out((word,)) == (whole,)


@pytest.mark.parametrize(
    "switch", ["max-num-seqs", "max-num-batched-tokens", "cpu-offload-gb", "kv-offloading-size"]
)
def test_a_number_beyond_every_float_is_refused_by_its_switch(switch):
    found = refusal(f"--{switch}={'9' * 400}", model="qwen2.5-0.5b")
    assert found.failure_class == "InvalidConfig"
    assert f"--{switch}" in found.message
    assert len(found.message) < 500


@pytest.mark.parametrize(
    ("model", "gpu", "dtype", "says"),
    [
        (
            "llama-2-7b-awq",
            "T4",
            "bfloat16",
            "--dtype bfloat16 needs compute capability 8.0 or higher; Tesla-T4 has 7.5",
        ),
        ("gemma-3-4b", "H100", "half", "refuses Gemma3ForConditionalGeneration in float16"),
        ("gemma-2-9b", "H100", "float16", "refuses Gemma2ForCausalLM in float16"),
    ],
)
def test_a_type_that_vllm_refuses_is_refused(model, gpu, dtype, says):
    """vLLM: "Bfloat16 is only supported on GPUs with compute capability of at least 8.0"."""
    found = refusal(f"--dtype={dtype}", model=model, product=gpu)
    assert found.failure_class == "InvalidConfig"
    assert says in found.message


@pytest.mark.parametrize("dtype", ["float32", "float"])
@pytest.mark.parametrize("model", ["qwen2.5-0.5b", "gemma-2-2b", "qwen3-30b-a3b"])
def test_32_bits_take_twice_the_memory(model, dtype):
    """vLLM 0.32 loads every weight in the model's type, and ``auto`` is that type for the cache."""
    asks = {"model": model, "product": "H200", "context": {"maxModelLen": 2048, "concurrency": 1}}
    asks["quantization"] = {"method": "none"}
    half, whole = (fitting(f"--dtype={one}", **asks).predicted for one in ("bfloat16", dtype))
    # The allocator keeps other remainders beside larger tensors.
    assert whole.weights_bytes == pytest.approx(2 * half.weights_bytes, rel=0.02)
    assert whole.activation_bytes == pytest.approx(2 * half.activation_bytes, rel=0.01)
    assert whole.graph_bytes == pytest.approx(2 * half.graph_bytes, rel=0.01)
    tokens = [seen.kv_cache_bytes / seen.kv_cache_tokens for seen in (half, whole)]
    assert tokens[1] == pytest.approx(2 * tokens[0], rel=0.02)


def test_32_bits_are_planned_on_a_gpu_without_bfloat16_and_without_quantization():
    """What a T4 cannot do, compute in bfloat16, is no reason then for float16."""
    asks = {"model": "qwen2.5-0.5b", "product": "T4", "context": {"maxModelLen": 2048, "concurrency": 1}}
    found = fitting("--dtype=float32", **asks)
    assert found.quantization_method == "none"
    assert "float16" not in found.message
    assert "float16 instead of bfloat16" in fitting(**asks).message


@pytest.mark.parametrize(
    ("model", "asked", "says"),
    [
        ("llama-2-7b-awq", {}, "--dtype float32 is planned only for GGUF and weights that are not quantized"),
        ("qwen2.5-0.5b", {"quantization": {"method": "fp8"}}, "--dtype float32 is planned only for"),
        ("deepseek-v3", {"quantization": {"method": "none"}}, "--dtype float32 is"),
    ],
)
def test_32_bits_that_vllm_refuses_are_refused(model, asked, says):
    """vLLM: "torch.float32 is not supported for quantization method auto_awq"."""
    found = refusal("--dtype=float32", model=model, product="H200", **asked)
    assert found.failure_class == "InvalidConfig"
    assert says in found.message


def test_an_fp8_cache_beside_32_bits_is_tritons():
    asks = {"model": "qwen2.5-0.5b", "quantization": {"method": "none", "kvCacheDtype": "fp8"}}
    assert (
        "FP8 KV cache needs compute capability 8.9"
        in refusal("--dtype=float32", product="A100-80GB", **asks).message
    )
    fitting("--dtype=float32", product="L40S", **asks)


@pytest.mark.parametrize(
    ("gpu", "dtype"), [("T4", "auto"), ("T4", "half"), ("L4", "bfloat16"), ("L4", "half")]
)
def test_other_types_are_the_users(gpu, dtype):
    fitting(f"--dtype={dtype}", model="llama-2-7b-awq", product=gpu)
