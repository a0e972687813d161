"""What is read in vLLM's real logs: figures of every start, and the cause of every failure."""

from __future__ import annotations

import random
from functools import reduce
from pathlib import Path

import pytest

from tacho_contract import codec
from tacho_contract.failure import Failure, termination_message
from tacho_contract.launch import RuntimeConfig
from tacho_contract.units import GIB
from tacho_engines.base import EngineStartup, Exit
from tacho_engines.registry import runtime_adapter
from tacho_runtime.supervisor.process import DIAGNOSTIC_AGE_LINES, TAIL_LINES, LogTail
from tests.launching import runtime_config

# ruff: noqa: E501 - lines of logs are quoted as they came
LOGS = Path(__file__).parents[2] / "fixtures" / "vllm"
H200, NEWEST, CPU = "h200-0.26", "h200-0.32", "cpu-0.32"
VLLM = runtime_adapter("vllm")
EAGER = "eager mode: nothing is compiled, no CUDA graphs"
V1 = "the V1 model runner instead of V2"

# (file, weights GiB, KV cache GiB, KV cache tokens, graphs GiB, compile s, graph capture s, fallbacks)
STARTS = [
    (f"{H200}/8b-bf16-cold", 15.0, 112.28, 919824, 0.98, 17.66, 4.0, ()),
    (f"{H200}/8b-bf16-curve", 15.0, 112.51, 921696, 0.98, 3.45, 4.0, ()),
    (f"{H200}/8b-eager", 15.0, 112.51, 921696, None, None, None, (EAGER,)),
    (f"{H200}/8b-fp8", 8.51, 118.74, 972752, 0.90, 26.03, 4.0, ()),
    (f"{H200}/8b-awq", 5.49, 121.8, 997776, 1.01, 16.08, 3.0, ()),
    (f"{H200}/8b-gptq", 5.39, 121.9, 998560, 1.01, 15.32, 4.0, ()),
    (f"{H200}/8b-gptq-silently-unquantized", 15.0, 112.28, 919824, 0.98, 11.65, 3.0, ()),
    (f"{H200}/8b-w4a16", 5.36, 121.92, 998800, 1.01, 12.65, 3.0, ()),
    (f"{H200}/8b-w4a16-marlin", 5.36, 121.92, 998800, 0.67, 17.43, 4.0, ()),
    (f"{H200}/8b-w8a8", 8.52, 118.77, 972960, 0.94, 17.84, 4.0, ()),
    (f"{H200}/8b-bnb-nf4", 5.66, 121.63, 996368, 1.01, 14.28, 8.0, ()),
    (f"{H200}/phi2-fp16", 5.19, 122.72, 402112, 0.61, 15.74, 4.0, ()),
    (f"{NEWEST}/8b-bf16-warm", 15.0, 111.05, 909728, 0.45, 0.32, 7.0, ()),
    (f"{NEWEST}/8b-bnb-nf4", 5.66, 119.86, 981856, 0.62, 20.18, 14.0, ()),
    (f"{CPU}/serves", None, 0.18, 8192, None, None, None, (EAGER, V1)),
]


def lines(name: str) -> list[str]:
    return (LOGS / f"{name}.log").read_text().splitlines()


def read(name: str) -> EngineStartup:
    return reduce(VLLM.read, lines(name), EngineStartup())


def test_every_log_is_in_a_table():
    found = {str(path.relative_to(LOGS).with_suffix("")) for path in LOGS.glob("*/*.log")}
    assert found == {row[0] for row in STARTS} | {row[0] for row in FAILURES}


@pytest.mark.parametrize("row", STARTS, ids=lambda row: row[0])
def test_the_figures_of_a_start(row):
    name, weights, cache, tokens, graphs, compiled, captured, fallbacks = row
    assert read(name) == EngineStartup(
        weights_bytes=None if weights is None else int(weights * GIB),
        kv_cache_bytes=int(cache * GIB),
        kv_cache_tokens=tokens,
        graph_bytes=None if graphs is None else int(graphs * GIB),
        compile_seconds=compiled,
        graph_seconds=captured,
        fallbacks=fallbacks,
        answers=True,  # after all of these
    )


@pytest.mark.parametrize(
    "line",
    [
        "Model loading took 1.1.1 GiB and 1 seconds",
        "Available KV cache memory: . GiB",
        "KV cache size: , tokens",
        f"KV cache size: {'9' * 400} tokens",
        f"torch.compile took {'9' * 400} s in total",
    ],
)
def test_a_figure_that_is_no_number_is_left_out(line):
    """A line may quote a model's author or a client, and an error ends the thread that reads the log: the
    engine's next write then ends the engine."""
    assert VLLM.read(EngineStartup(), line) == EngineStartup()


def test_of_several_workers_the_one_that_said_most_counts():
    said = [
        "(Worker_TP0 pid=1) Model loading took 7.51 GiB memory and 2.5 seconds",
        "(Worker_TP1 pid=2) Model loading took 7.49 GiB memory and 3.5 seconds",
    ]
    figures = reduce(VLLM.read, said, EngineStartup())
    assert figures.weights_bytes == int(7.51 * GIB)


def test_kernels_that_are_compiled_while_requests_run_are_counted():
    """The later log names a kernel each time, the earlier one once."""
    for folder, kernels, graphs in (("pods-longer", 5, 53), ("pods-kernels", 99, 57)):
        log = Path(__file__).parents[3] / f"benchmarks/gpu/h200/{folder}/gpt-oss-20b/engine.log"
        figures = reduce(VLLM.read, log.read_text(encoding="utf-8").splitlines(), EngineStartup())
        assert (figures.late_kernels, figures.graph_seconds) == (kernels, graphs)


@pytest.mark.parametrize(
    ("line", "told"),
    [
        (
            "Your GPU does not have native support for FP8 computation but FP8 quantization is being used. "
            "Weight-only FP8 compression will be used leveraging the Marlin kernel.",
            "FP8 weights only, by Marlin: the GPU does not compute in FP8",
        ),
        (
            "Your device 'Tesla T4' (with compute capability 7.5) doesn't support torch.bfloat16. Falling back "
            "to torch.float16 for compatibility.",
            "float16 instead of bfloat16, which the device lacks",
        ),
        (
            "Using TRITON_ATTN attention backend out of potential backends: ['TRITON_ATTN', 'FLEX_ATTENTION'].",
            "attention by TRITON_ATTN instead of FlashAttention or FlashInfer",
        ),
        (
            "Layer 'x' is not supported by AutoAWQMarlin. Falling back to unoptimized AWQ kernels.",
            "Falling back to unoptimized AWQ kernels",
        ),
        (
            "CUDA graph is not supported on BitsAndBytes 8bit yet, fallback to the eager mode.",
            "fallback to the eager mode",
        ),
    ],
)
def test_a_fallback_is_told_once(line, told):
    figures = reduce(VLLM.read, [line, line], EngineStartup())
    assert figures.fallbacks == (told,)


def test_at_most_eight_fallbacks_are_told():
    figures = reduce(VLLM.read, [f"Falling back to way {n}" for n in range(20)], EngineStartup())
    assert len(figures.fallbacks) == 8


# (file, exit code, class, what the message has, details)
FAILURES = [
    (
        f"{H200}/fail-kv",
        1,
        "KVCacheTooSmall",
        "one request of 131072 tokens needs a KV cache of 16.0 GiB and 3.24 GiB are left; the longest that "
        "fits: 26528 tokens",
        {"fitsMaxModelLen": "26528"},
    ),
    (f"{H200}/fail-weights", 1, "GPUOutOfMemory", "weights and activations leave no", {}),
    (f"{CPU}/argument", 2, "InvalidConfig", "--no-such-flag", {}),
    (
        f"{CPU}/value",
        2,
        "InvalidConfig",
        "vLLM refuses its command line: argument --dtype: invalid choice: 'int3'",
        {},
    ),
    (f"{CPU}/too-long", 1, "InvalidConfig", "User-specified max_model_len (99999) is greater than", {}),
    (
        f"{CPU}/unknown-quantization",
        1,
        "UnsupportedQuantization",
        "neither the quantization nonsense nor a plugin",
        {},
    ),
    (f"{CPU}/awq-without-config", 1, "UnsupportedQuantization", "config file for awq", {}),
    (
        f"{CPU}/no-bnb-plugin",
        1,
        "UnsupportedQuantization",
        "the quantization bitsandbytes nor a plugin",
        {},
    ),
    (f"{CPU}/no-gguf-plugin", 1, "UnsupportedQuantization", "the quantization gguf nor a plugin", {}),
    (f"{CPU}/unknown-architecture", 1, "EngineNotSupported", "NopeForCausalLM", {}),
    (f"{CPU}/remote-code", 1, "InvalidConfig", "the model brings code of its own", {}),
    (f"{CPU}/no-tokenizer", 1, "ModelInvalid", "no tokenizer", {}),
    (f"{CPU}/no-folder", 1, "ModelNotFound", "there is no model that vLLM can load in", {}),
    (f"{CPU}/no-config", 1, "ModelNotFound", "there is no model that vLLM can load in /models/empty", {}),
    (f"{CPU}/truncated", 1, "ModelInvalid", "not whole: Error while deserializing header", {}),
    (
        f"{CPU}/kv-cache-too-small",
        1,
        "KVCacheTooSmall",
        "the longest that fits: 128 tokens",
        {"fitsMaxModelLen": "128"},
    ),
    (
        f"{CPU}/kv-cache-too-large",
        1,
        "HostOutOfMemory",
        "17.3 of 21.09 GiB of memory are free, vLLM needs 175.78 more",
        {},
    ),
    (f"{CPU}/port-taken", 1, "PortInUse", "port is taken", {}),
    (
        f"{CPU}/tensor-parallel-heads",
        1,
        "InvalidConfig",
        "attention heads (9) must be divisible by tensor parallel size (2)",
        {},
    ),
    (f"{CPU}/tensor-parallel-width", 1, "InvalidConfig", "assert all(output_size % self.tp_size == 0", {}),
    (f"{CPU}/no-scheme", 1, "UnsupportedQuantization", "'model.layers.0.self_attn.qkv_proj'", {}),
    (
        f"{CPU}/packed-weights-without-config",
        1,
        "UnsupportedQuantization",
        "no file of the model says how layers.0.mlp.down_proj.qweight is quantized",
        {},
    ),
    (
        f"{CPU}/gptq-config-of-plain-weights",
        1,
        "ModelInvalid",
        "layers.0.mlp.down_proj.weight is in the weights, and not in the model",
        {},
    ),
    (f"{CPU}/config-not-json", 1, "ModelInvalid", "config.json' is not a valid JSON file", {}),
    (f"{CPU}/no-weights", 1, "ModelNotFound", "Cannot find any model weights with `/models/no-weights`", {}),
]


@pytest.mark.parametrize("row", FAILURES, ids=lambda row: row[0])
def test_the_cause_of_a_failure(row):
    name, code, failure_class, says, details = row
    failure = VLLM.classify(Exit(code=code), kept(lines(name)))
    assert (failure.failure_class, failure.details) == (failure_class, details)
    assert says in failure.message
    assert "?" not in failure.message
    assert failure.next_step


def kept(written: list[str]) -> tuple[str, ...]:
    tail = LogTail(VLLM.names_cause)
    for line in written:
        tail.add(line)
    return tail.lines()


@pytest.mark.parametrize("row", FAILURES, ids=lambda row: row[0])
@pytest.mark.parametrize("after", [0, 300, DIAGNOSTIC_AGE_LINES - TAIL_LINES])
def test_the_cause_survives_what_came_of_it(row, after):
    """Three processes' tracebacks after the cause change nothing, as long as they may be."""
    name, code, failure_class, _, details = row
    noise = [f'(APIServer pid=1)   File "/x.py", line {n}, in f' for n in range(after)]
    failure = VLLM.classify(Exit(code=code), kept([*lines(name), *noise]))
    assert (failure.failure_class, failure.details) == (failure_class, details)
    stored = codec.loads(Failure, termination_message(failure))
    assert stored.log_tail[-1] == failure.log_tail[-1], "the line with the cause is kept longest"
    assert not stored.log_tail[-1].endswith("in f"), "it is none of what came after"


def test_what_was_said_long_ago_is_forgotten():
    shown = kept(
        ["CUDA out of memory. Tried to allocate 2.00 GiB", *["x"] * (DIAGNOSTIC_AGE_LINES + TAIL_LINES + 1)]
    )
    assert len(shown) == TAIL_LINES


def test_no_more_than_some_lines_are_kept():
    written = [f"CUDA out of memory {n}" for n in range(1000)]
    assert kept(written)[:2] == ("CUDA out of memory 0", "CUDA out of memory 1")
    assert len(kept(written)) < TAIL_LINES + 50
    assert kept(written)[-1] == written[-1]


@pytest.mark.parametrize("row", STARTS, ids=lambda row: row[0])
def test_a_good_start_that_is_killed_is_called_that(row):
    """Nothing that a good start writes is taken for a cause."""
    failure = VLLM.classify(Exit(signal=9), kept([line for line in lines(row[0]) if "shutdown" not in line]))
    assert failure.failure_class == "HostOutOfMemory"


@pytest.mark.parametrize(
    ("line", "failure_class", "says"),
    [
        (
            "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 448.00 MiB. GPU 0 has a total capacity "
            "of 23.64 GiB of which 117.81 MiB is free. Including non-PyTorch memory",
            "GPUOutOfMemory",
            "the GPU's memory did not suffice",
        ),
        (
            "ValueError: Free memory on device cuda:0 (10.44/22.03 GiB) on startup is less than desired GPU "
            "memory utilization (0.92, 20.27 GiB). Decrease GPU memory utilization or reduce GPU memory used by "
            "other processes.",
            "GPUOutOfMemory",
            "something else uses the GPU: 10.44 of 22.03 GiB are free, 20.27 were planned",
        ),
        (
            "ValueError: The quantization method fbgemm_fp8 is not supported for the current GPU. Minimum "
            "capability: 80. Current capability: 75.",
            "UnsupportedGPU",
            "fbgemm_fp8",
        ),
        (
            "ValueError: Bfloat16 is only supported on GPUs with compute capability of at least 8.0. Your Tesla "
            "T4 GPU has compute capability 7.5.",
            "UnsupportedGPU",
            "Bfloat16",
        ),
        (
            "RuntimeError: The NVIDIA driver on your system is too old (found version 12020).",
            "UnsupportedGPU",
            "driver",
        ),
        ("RuntimeError: No CUDA GPUs are available", "UnsupportedGPU", "cannot use the GPU or its driver"),
        ("RuntimeError: Failed to infer device type", "UnsupportedGPU", "cannot use the GPU or its driver"),
        (
            "safetensors_rust.SafetensorError: Error while deserializing header: incomplete metadata, file not "
            "fully covered",
            "ModelInvalid",
            "not whole",
        ),
        (
            "ValueError: To serve at least one request with the model's max seq len (8192), (1.0 GiB KV cache is "
            "needed, which is larger than the available KV cache memory (0.01 GiB). Try increasing",
            "KVCacheTooSmall",
            "1.0 GiB",
        ),
        (
            "Value error, Model architecture MllamaForConditionalGeneration was supported in vLLM until v0.10.2, "
            "and is not supported anymore. [type=value_error, input_value=ArgsKwargs((), {}), input_type=ArgsKwargs]",
            "EngineNotSupported",
            "MllamaForConditionalGeneration was supported in vLLM until v0.10.2",
        ),
        (
            "RuntimeError: NCCL error: unhandled cuda error. Last error: Cuda failure 2 'out of memory'",
            "GPUOutOfMemory",
            "memory",
        ),
        (
            "ValueError: Weight input_size_per_partition = 5504 is not divisible by min_thread_k = 128. Consider",
            "UnsupportedQuantization",
            "input_size_per_partition = 5504 is not divisible by min_thread_k = 128",
        ),
        ("RuntimeError: Triton Error [CUDA]: out of memory", "GPUOutOfMemory", "memory"),
        (
            "pynvml.NVMLError_LibRmVersionMismatch: RM has detected an NVML/RM version mismatch.",
            "UnsupportedGPU",
            "driver",
        ),
        (
            "RuntimeError: CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
            "GPUOutOfMemory",
            "memory",
        ),
    ],
)
def test_a_cause_that_no_log_here_has(line, failure_class, says):
    """The words are those of vLLM 0.32's and PyTorch 2.13's sources."""
    failure = VLLM.classify(Exit(code=1), (f"(EngineCore pid=1) ERROR {line}",))
    assert failure.failure_class == failure_class
    assert says in failure.message


def config(**more: object) -> RuntimeConfig:
    fields: dict[str, object] = {
        "revision": "r",
        "plan_key": "k",
        "engine": "vllm",
        "entrypoint": ("vllm", "serve"),
        "model_path": "/m",
        "served_name": "m",
        "max_model_len": 2048,
        "concurrency": 4,
    }
    return runtime_config(**{**fields, **more})


def test_the_command_line():
    asked = config(extra_args=("--max-model-len", "2048", "--seed", "1"), engine_port=8123)
    assert VLLM.command(asked, "/m") == (
        *("vllm", "serve", "/m", "--served-model-name", "m", "--host", "0.0.0.0", "--port", "8123"),
        *("--max-model-len", "2048", "--seed", "1"),
    )
    module = config(entrypoint=("python3", "-m", "vllm.entrypoints.openai.api_server"))
    assert VLLM.command(module, "/m")[3:5] == ("--model", "/m")


def test_the_kernel_places_the_threads_on_a_host():
    assert VLLM.environment(config())["VLLM_CPU_OMP_THREADS_BIND"] == "nobind"
    assert VLLM.environment(config())["OMP_WAIT_POLICY"] == "passive"
    assert VLLM.environment(config())["TORCH_COMPILE_DISABLE"] == "1"
    on_gpu = VLLM.environment(config(gpu_count=1))
    assert on_gpu == {"HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1", "VLLM_DO_NOT_TRACK": "1"}


def test_a_tail_keeps_the_order():
    rng = random.Random(1)
    written = [rng.choice(["x", "No space left on device"]) + f" {n}" for n in range(1500)]
    shown = kept(written)
    assert [written.index(line) for line in shown] == sorted(written.index(line) for line in shown)
