"""A start that fails names its cause, whatever the engine's other processes and libraries write after it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tacho_contract import codec
from tacho_contract.failure import FAILURE_KINDS, Failure, FailureClass, termination_message
from tacho_engines.base import Exit
from tacho_engines.registry import runtime_adapter
from tacho_operator.core.problems import from_failure
from tacho_operator.core.status.condition_value import ConditionValue
from tacho_runtime.supervisor.process import LogTail

# ruff: noqa: E501 - lines of logs are quoted as they came
STARTS = Path(__file__).parents[2] / "fixtures" / "starts"
LOGGED = "(EngineCore pid=77) ERROR 11-30 10:00:00 [core.py:1346] "
WORKER = "(Worker_TP0 pid=78) ERROR 11-30 10:00:00 [multiproc_executor.py:953] "
TRACEBACK = "Traceback (most recent call last):"
WARNED = (
    "/usr/lib/python3.12/multiprocessing/resource_tracker.py:279: UserWarning: resource_tracker: There appear to be "
    "1 leaked shared_memory objects to clean up at shutdown",
    "  warnings.warn('resource_tracker: There appear to be %d '",
)


def frames(prefix: str, count: int) -> list[str]:
    """A traceback's lines; the second shows the program's line."""
    each = (
        '  File "/usr/lib/python3/dist-packages/vllm/v1/step.py", line 7, in step',
        "    return await step()",
    )
    return [prefix + TRACEBACK, *(prefix + line for line in each * count)]


def failed(cause: str, prefix: str = LOGGED, after: int = 40) -> list[str]:
    """How vLLM ends after an error of its core or of a worker: each process above it reports another one."""
    log = ["(APIServer pid=1) INFO 11-30 09:59:00 [utils.py:1] version 0.32.0", *frames(prefix, 8)]
    log += [prefix + line for line in cause.split("\n")]
    if prefix == WORKER:
        log += [
            WORKER.replace("TP0", "TP1") + "ConnectionResetError: [Errno 104] Connection reset by peer",
            *frames(LOGGED, after),
            LOGGED
            + "Exception: WorkerProc initialization failed due to an exception in a background process. "
            "See stack trace for root cause.",
            "[rank0]:[W1130 10:00:01.1 ProcessGroupNCCL.cpp:1553] Warning: WARNING: destroy_process_group() was not called",
        ]
    log += [*frames("(APIServer pid=1) ", after)]
    log += [
        "(APIServer pid=1) RuntimeError: Engine core initialization failed. See root cause above. Failed core "
        "proc(s): {'EngineCore': 1}",
        *WARNED,
    ]
    return log


def classified(engine: str, lines: list[str], end: Exit) -> Failure:
    """What the termination message says of a run with this output."""
    adapter = runtime_adapter(engine)
    tail = LogTail(adapter.names_cause)
    for line in lines:
        tail.add(line)
    return codec.loads(Failure, termination_message(adapter.classify(end, tail.lines())))


@pytest.mark.parametrize("after", [1, 40, 400])
@pytest.mark.parametrize("prefix", [LOGGED, WORKER, "(Worker pid=9) ", "", "[rank1]: "])
def test_the_last_exception_that_is_no_consequence_is_the_message(prefix: str, after: int) -> None:
    failure = classified("vllm", failed("ValueError: nobody knows this one yet", prefix, after), Exit(code=1))
    assert failure.failure_class == "EngineCrashed"
    assert failure.message == "vLLM ended with exit code 1: ValueError: nobody knows this one yet"
    assert failure.log_tail[-1].endswith("ValueError: nobody knows this one yet")
    shown = ConditionValue.of("True", from_failure(failure)).message
    assert shown.count("ValueError: nobody knows this one yet") == 2, "said and quoted"


def test_a_long_text_is_in_the_tail_all_the_same() -> None:
    """Lines of the tail are left out, the oldest first, until a message fits what the kubelet keeps."""
    cause = "ValueError: " + "x" * 900
    failure = classified("vllm", failed(cause), Exit(code=1))
    assert failure.log_tail[-1].startswith(LOGGED + "ValueError: xx")


@pytest.mark.parametrize(
    ("link", "told"),
    [
        ("During handling of the above exception, another exception occurred:", "OSError: no vocabulary"),
        (
            "The above exception was the direct cause of the following exception:",
            "OSError: no vocabulary (caused by KeyError: 'vocab')",
        ),
    ],
)
def test_of_two_chained_exceptions(link: str, told: str) -> None:
    log = [
        *frames("", 2),
        "KeyError: 'vocab'",
        "",
        link,
        "",
        *frames("", 2),
        "OSError: no vocabulary",
        *WARNED,
    ]
    for engine in ("vllm", "transformers", "ctranslate2"):
        assert classified(engine, log, Exit(code=1)).message.endswith(f"code 1: {told}")


TEXTS = [
    (
        "ValueError: max_num_seqs (1024) exceeds available Mamba cache blocks (856). Each decode sequence requires one Mamba cache block, so CUDA graph capture cannot proceed. Please lower max_num_seqs to at most 856 or increase gpu_memory_utilization.",
        "DoesNotFit",
        "the cache holds the state of 856 requests, and --max-num-seqs is 1024",
        "--max-num-seqs in spec.engine.extraArgs",
    ),
    (
        "RuntimeError: Quantization scheme is not supported for the current GPU. Min capability: 80. Current capability: 75.",
        "UnsupportedGPU",
        "the quantization scheme needs compute capability 8.0 or higher, and this GPU has 7.5",
        "spec.gpu.products",
    ),
    (
        "RuntimeError: Quantization scheme is not supported for the current GPU. Required capability: 90. Current capability: 120.",
        "UnsupportedGPU",
        "the quantization scheme needs compute capability 9.0 exactly, and this GPU has 12.0",
        "spec.gpu.products",
    ),
    (
        "ValueError: The quantization method fp8 is not supported for the current GPU. Minimum capability: 75. Current capability: 70.",
        "UnsupportedGPU",
        "the quantization method fp8 needs compute capability 7.5 or higher, and this GPU has 7.0",
        "spec.gpu.products",
    ),
    (
        "NotImplementedError: No compressed-tensors compatible scheme was found for layer_name='model.layers.0.self_attn.qkv_proj', weight_quant=..., format='pack-quantized'",
        "UnsupportedQuantization",
        "scheme was found for layer_name='model.layers.0.self_attn.qkv_proj'",
        "another quantization",
    ),
    (
        "RuntimeError: Unsupported FusedMoe scheme: num_bits=3, None",
        "UnsupportedQuantization",
        "Unsupported FusedMoe scheme: num_bits=3, None",
        "another quantization",
    ),
    (
        "ValueError: There is no module or parameter named 'model.layers.0.mlp.down_proj.qweight' in LlamaForCausalLM. The available parameters belonging to model.layers.0.mlp.down_proj (RowParallelLinear) are: {'model.layers.0.mlp.down_proj.weight'}",
        "UnsupportedQuantization",
        "says how model.layers.0.mlp.down_proj.qweight is quantized",
        "quantize_config.json",
    ),
    (
        "KeyError: 'layers.0.mlp.gate_up_proj.weight_packed'",
        "UnsupportedQuantization",
        "says how layers.0.mlp.gate_up_proj.weight_packed is quantized",
        "quantize_config.json",
    ),
    (
        "ValueError: There is no module or parameter named 'mtp.fc' in Qwen3ForCausalLM. The available parameters belonging to model (Qwen3Model) are: {'norm.weight'}",
        "ModelInvalid",
        "mtp.fc is in the weights, and not in",
        "from one revision",
    ),
    (
        "ValueError: Failed to find a kernel that can implement the WNA16 linear layer. Reasons: \n MarlinLinearKernel cannot implement due to: in_features per partition 4752 is not divisible by group_size = 128.",
        "UnsupportedQuantization",
        "Reasons:  MarlinLinearKernel cannot implement due to: in_features per partition 4752 is not",
        "another quantization",
    ),
    (
        "ValueError: The input size is not aligned with the quantized weight shape. This can be caused by too large tensor parallel size.",
        "UnsupportedQuantization",
        "tensor parallelism cuts these weights",
        "lower spec.parallelism.tensor",
    ),
    (
        "ValueError: Weight input_size_per_partition=14784 is not divisible by group_size=128. This happens when tensor_parallel_size splits the layer input into shards that are not a whole number of quant groups. Consider reducing tensor_parallel_size.",
        "UnsupportedQuantization",
        "input_size_per_partition=14784 is not divisible by group_size=128",
        "lower spec.parallelism.tensor",
    ),
    (
        "ValueError: Weight input_size_per_partition=4752 for layer 'model.layers.3.mlp.down_proj' is not divisible by group_size=32. This happens when",
        "UnsupportedQuantization",
        "input_size_per_partition=4752 for layer 'model.layers.3.mlp.down_proj' is not divisible by group_size=32",
        "lower spec.parallelism.tensor",
    ),
    (
        "RuntimeError: moe_wna16_marlin_gemm, size_k = 256, is not divisible by b_scales.size(1) = 15",
        "UnsupportedQuantization",
        "size_k = 256, is not divisible by b_scales.size(1) = 15",
        "lower spec.parallelism.tensor",
    ),
    (
        "ValueError: Prequant BitsAndBytes models with tensor parallelism is not supported. Please try with pipeline parallelism.",
        "UnsupportedQuantization",
        "Prequant BitsAndBytes models with tensor parallelism",
        "spec.parallelism.pipeline",
    ),
    (
        "ValueError: No available memory for the cache blocks. Try increasing `gpu_memory_utilization` when initializing the engine.",
        "GPUOutOfMemory",
        "leave no memory for a KV cache",
        "quantize further",
    ),
    (
        "ValueError: Could not detect config format for no config file found. With config_format 'auto', ensure your model has either config.json (HF format) or params.json (Mistral format).",
        "ModelNotFound",
        "vLLM finds no model: no config file found",
        "spec.model.uri",
    ),
    (
        "RuntimeError: Cannot find any model weights with `/models/x`",
        "ModelNotFound",
        "Cannot find any model weights with `/models/x`",
        "spec.model.files",
    ),
    (
        "FileNotFoundError: Weight files referenced in index but missing: {'/models/x/model-00002-of-00002.safetensors'}",
        "ModelInvalid",
        "model-00002-of-00002.safetensors",
        "all files of the weights",
    ),
    (
        "AssertionError: Attempted to load weight (torch.Size([1536, 576])) into parameter (torch.Size([1024, 576]))",
        "ModelInvalid",
        "the weights are not those of config.json: Attempted to load weight (torch.Size([1536, 576])) into",
        "from one revision",
    ),
    (
        "ValueError: Total number of attention heads (64) must be divisible by tensor parallel size (3).",
        "InvalidConfig",
        "attention heads (64) must be divisible by tensor parallel size (3)",
        "spec.parallelism.tensor",
    ),
    (
        "AssertionError: 151936 is not divisible by 3",
        "InvalidConfig",
        "151936 is not divisible by 3",
        "spec.parallelism.tensor",
    ),
    (
        "pydantic_core._pydantic_core.ValidationError: 1 validation error for CacheConfig\nblock_size\n  Input should be greater than 0 [type=greater_than, input_value=0, input_type=int]",
        "InvalidConfig",
        "vLLM refuses its settings: block_size Input should be greater than 0",
        "spec.engine.extraArgs",
    ),
    (
        "NotImplementedError: For NVFP4 weights, input quantization must also be NVFP4 format, None for NVFP4A16",
        "UnsupportedQuantization",
        "input quantization must also be NVFP4 format",
        "another quantization",
    ),
    (
        "ValueError: No valid attention backend found for cuda with AttentionSelectorConfig(head_size=80). Reasons: {FLASH_ATTN: [head_size not supported]}.",
        "UnsupportedGPU",
        "No valid attention backend found for cuda",
        "spec.gpu.products",
    ),
]


@pytest.mark.parametrize("prefix", [LOGGED, WORKER])
@pytest.mark.parametrize(("text", "failure_class", "says", "next_step"), TEXTS)
def test_what_vllm_refuses_has_its_class_and_next_step(
    text: str, failure_class: str, says: str, next_step: str, prefix: str
) -> None:
    failure = classified("vllm", failed(text, prefix), Exit(code=1))
    assert failure.failure_class == failure_class
    assert says in failure.message
    assert "?" not in failure.message
    assert next_step in failure.next_step
    assert text.split("\n")[0].strip()[:100] in failure.log_tail[-1]
    assert FAILURE_KINDS[FailureClass(failure_class)].needs_user_action, "Stalled at once"
    assert not failure.retryable


def test_a_line_of_the_program_is_no_cause() -> None:
    """A traceback quotes it, with names of variables where the text has values."""
    source = LOGGED + "    raise ValueError(f\"There is no module or parameter named '{prefix}.qweight'\")"
    log = [
        *frames(LOGGED, 1),
        source,
        LOGGED + "ValueError: There is no module or parameter named 'b.qweight' in X",
    ]
    assert classified("vllm", log, Exit(code=1)).message.endswith("how b.qweight is quantized")


def test_a_launcher_without_a_cause_gives_way_to_the_engines_own_error() -> None:
    """llama.cpp's own library only says that it did not start."""
    reported = Failure(
        failure_class="EngineCrashed", message="llama.cpp did not start (x)", next_step="see above"
    )
    log = [
        "0.01.1 E ggml_new_kind: no such thing as 7",
        "0.01.2 E cmn  common_init_: failed to load model '/m.gguf'",
        "0.01.3 E srv          init: exiting due to model loading error",
        "llama-server: error [EngineCrashed]: llama.cpp did not start (x): see above",
    ]
    failure = classified("llamacpp", log, Exit(code=1, reported=reported))
    assert failure.message.endswith("ended with exit code 1: ggml_new_kind: no such thing as 7")
    assert failure.log_tail == (log[0],)
    assert classified("llamacpp", log[3:], Exit(code=1, reported=reported)).message == reported.message


REAL = [
    (
        "llamacpp/truncated",
        "ModelInvalid",
        "'blk.15.attn_output.weight' data is not within",
        "copy the file again",
    ),
    ("llamacpp/cut-header", "ModelInvalid", "failed to read key-value pairs", "copy the file again"),
    ("llamacpp/unknown-architecture", "EngineNotSupported", "architecture lxama", "a newer engine image"),
    ("llamacpp/no-tokenizer", "ModelInvalid", "no tokenizer: key not found", "converted with its tokenizer"),
    (
        "llamacpp/wrong-shape",
        "EngineNotSupported",
        "invalid n_rot: 64, expected 82",
        "converted for this one",
    ),
    ("llamacpp/memory", "HostOutOfMemory", "memory did not suffice", "raise the memory"),
    ("llamacpp/port-taken", "PortInUse", "port is taken", "stop the process"),
    ("llamacpp/bad-template", "InvalidConfig", "chat template: Unexpected token: %}", "--chat-template"),
    ("llamacpp/cache-type", "InvalidConfig", "quantized V cache requires flash_attn", "remove --flash-attn"),
    ("llamacpp/argument", "InvalidConfig", "--no-such-switch", "spec.engine.extraArgs"),
    ("llamacpp/no-file", "ModelNotFound", "cannot open /models/nothing.gguf", "spec.model.files"),
    (
        "transformers/truncated",
        "ModelInvalid",
        "metadata, file not fully covered",
        "compare its files' sizes",
    ),
    ("transformers/wrong-heads", "ModelInvalid", "size (576) is not a multiple", "fetch or copy the file"),
    ("transformers/wrong-shape", "ModelInvalid", "MISMATCH", "from one revision"),
    ("transformers/no-config", "ModelInvalid", "no config.json in /models/no-config", "spec.model.files"),
    ("transformers/config-not-json", "ModelInvalid", "is not a valid JSON file", "fetch or copy the file"),
    ("transformers/memory", "HostOutOfMemory", "memory did not suffice", "raise the memory"),
    (
        "transformers/unknown-architecture",
        "EngineNotSupported",
        "architecture nonesuch",
        "newer engine image",
    ),
    ("transformers/no-tokenizer", "ModelInvalid", "the tokenizer in /models/no-tokenizer", "tokenizer files"),
    ("transformers/port-taken", "PortInUse", "port is taken", "stop the process"),
    ("transformers/argument", "InvalidConfig", "--no-such-switch", "spec.engine.extraArgs"),
    ("ctranslate2/truncated", "ModelInvalid", "metadata, file not fully covered", "compare its files' sizes"),
    ("ctranslate2/cut-converted", "ModelInvalid", "has an invalid payload size", "convert the model again"),
    ("ctranslate2/newer-format", "ModelInvalid", "binary version v99", "convert the model again"),
    ("ctranslate2/wrong-shape", "ModelInvalid", "MISMATCH", "from one revision"),
    ("ctranslate2/no-config", "ModelInvalid", "no config.json in /models/no-config", "spec.model.files"),
    ("ctranslate2/config-not-json", "ModelInvalid", "is not a valid JSON file", "fetch or copy the file"),
    ("ctranslate2/memory", "HostOutOfMemory", "failed to allocate memory", "more memory"),
    ("ctranslate2/unknown-architecture", "EngineNotSupported", "architecture nonesuch", "newer engine image"),
    ("ctranslate2/no-tokenizer", "ModelInvalid", "the tokenizer in /models/no-tokenizer", "tokenizer files"),
    ("ctranslate2/port-taken", "PortInUse", "port is taken", "stop the process"),
    ("ctranslate2/quantization", "InvalidConfig", "--quantization: invalid choice: 'int3'", "extraArgs"),
    ("ctranslate2/argument", "InvalidConfig", "--no-such-switch", "spec.engine.extraArgs"),
]
"""Starts that failed here: the log, the class, and words of message and next step."""


def test_every_log_is_in_the_table() -> None:
    found = {str(path.relative_to(STARTS).with_suffix("")) for path in STARTS.glob("*/*.log")}
    assert found == {row[0] for row in REAL} == set(json.loads((STARTS / "ends.json").read_text()))


@pytest.mark.parametrize(("name", "failure_class", "says", "next_step"), REAL, ids=[row[0] for row in REAL])
def test_a_real_start_that_failed(name: str, failure_class: str, says: str, next_step: str) -> None:
    end = json.loads((STARTS / "ends.json").read_text())[name]
    reported = codec.loads(Failure, json.dumps(end["reported"])) if end["reported"] else None
    lines = (STARTS / f"{name}.log").read_text().splitlines()
    failure = classified(name.partition("/")[0], lines, Exit(code=end["code"], reported=reported))
    assert failure.failure_class == failure_class
    assert says in failure.message
    assert next_step in failure.next_step
    assert "see the lines above" not in failure.next_step
