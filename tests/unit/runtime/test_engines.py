"""Command lines, load figures, and why an engine died, from what it really writes."""

from __future__ import annotations

import dataclasses
import itertools
import signal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, strategies as st

import tacho_engines
from tacho_contract.failure import FailedError, Failure
from tacho_contract.launch import CustomEngine, RuntimeConfig
from tacho_contract.report import LatencyHistogram, Load
from tacho_engines import registry, run_parts
from tacho_engines.base import LONGEST_VERSION, Exit
from tacho_engines.custom.run import Custom, expand
from tacho_engines.llamacpp.run import LlamaCpp
from tacho_engines.registry import ENGINES, runtime_adapter
from tacho_runtime.probe.load.engine_counters import LINE_LIMIT, parse_counters
from tacho_runtime.supervisor.endpoints import make_load
from tests.launching import changed, runtime_config

TWO_FRONT_ENDS = Path(__file__).parents[2] / "fixtures" / "vllm" / "cpu-0.32" / "two-front-ends.prom"
RUNS = tuple(runtime_adapter(name) for name in ENGINES)
CONFIG = runtime_config(
    revision="r",
    plan_key="p",
    engine="llamacpp",
    entrypoint=("llama-server",),
    model_path="/models",
    served_name="smol",
    max_model_len=2048,
    concurrency=4,
    extra_args=("--cache-ram", "64"),
)


def custom(*command: str, **changes: Any) -> RuntimeConfig:
    return changed(CONFIG, engine="custom", custom=CustomEngine(command=command), **changes)


def test_llama_server_gets_a_context_for_all_slots_and_the_users_arguments_last() -> None:
    command = LlamaCpp().command(CONFIG, "/models/m.gguf")
    assert command[:3] == ("llama-server", "--model", "/models/m.gguf")
    flags = dict(itertools.pairwise(command))
    assert flags["--ctx-size"] == "8192"
    assert flags["--parallel"] == "4"
    assert flags["--alias"] == "smol"
    assert (flags["--host"], flags["--port"]) == ("0.0.0.0", "8000")
    assert "--metrics" in command
    assert command[-2:] == ("--cache-ram", "64")


def test_a_kv_cache_type_is_asked_of_both_adapters_with_what_it_needs() -> None:
    command = LlamaCpp().command(dataclasses.replace(CONFIG, kv_cache_dtype="q8_0"), "/models/m.gguf")
    asked = " ".join(command)
    assert "--cache-type-k q8_0 --cache-type-v q8_0 --flash-attn on" in asked
    assert "cache-type" not in " ".join(LlamaCpp().command(CONFIG, "/models/m.gguf"))


def test_custom_command_is_expanded() -> None:
    config = custom(
        "serve",
        "--model=$(TACHO_MODEL_PATH)",
        "$(TACHO_SERVED_NAME):$(TACHO_PORT)",
        "$(TACHO_MAX_MODEL_LEN)x$(TACHO_CONCURRENCY)",
        "$$(TACHO_PORT) costs 5$$ $(HOME) $5",
        extra_args=("-v",),
        entrypoint=("wrap",),
    )
    assert Custom().command(config, "/m") == (
        "wrap",
        "serve",
        "--model=/m",
        "smol:8000",
        "2048x4",
        "$(TACHO_PORT) costs 5$ $(HOME) $5",
        "-v",
    )


@given(st.text())
def test_escaped_text_comes_out_as_it_was(text: str) -> None:
    assert expand(text.replace("$", "$$"), {"TACHO_PORT": "1"}) == text


def test_a_misspelt_variable_is_a_failure_that_names_the_right_ones() -> None:
    with pytest.raises(FailedError) as raised:
        Custom().command(custom("serve", "$(TACHO_MODEL)"), "/m")
    assert raised.value.failure.failure_class == "InvalidConfig"
    assert "$(TACHO_MODEL)" in raised.value.failure.message
    assert "$(TACHO_MODEL_PATH)" in raised.value.failure.next_step


def test_custom_without_a_command() -> None:
    with pytest.raises(FailedError, match="InvalidConfig"):
        Custom().command(dataclasses.replace(custom(), entrypoint=()), "/m")


def test_health_path_is_the_users() -> None:
    engine = CustomEngine(command=("x",), health_path="/up")
    assert Custom().health_path(dataclasses.replace(CONFIG, custom=engine)) == "/up"
    assert LlamaCpp().health_path(CONFIG) == "/health"


def test_each_engine_is_known_by_its_name() -> None:
    assert tuple(adapter.name for adapter in RUNS) == ENGINES
    assert {"llamacpp", "custom"} <= set(ENGINES)
    with pytest.raises(FailedError) as raised:
        runtime_adapter("nobody")
    assert raised.value.failure.failure_class == "EngineNotSupported"
    assert "llamacpp" in raised.value.failure.next_step


def test_an_engine_is_a_folder_and_a_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put beside the others and named, it is found with all that the runtime needs of it."""
    folder = tmp_path / "fresh"
    folder.mkdir()
    (folder / "__init__.py").touch()
    (folder / "run.py").write_text(
        "from tacho_engines.custom.run import Custom\n"
        "from tacho_engines.run_parts import PYTORCH, LoadableFiles\n\n"
        "FILES = LoadableFiles(formats=(PYTORCH,))\n\n\n"
        "class Fresh(Custom):\n    name = 'fresh'\n\n\nRUN = Fresh()\n"
    )
    monkeypatch.setattr(tacho_engines, "__path__", [*tacho_engines.__path__, str(tmp_path)])
    monkeypatch.setattr(registry, "ENGINES", (*registry.ENGINES, "fresh"))
    monkeypatch.setattr(run_parts, "_parts", run_parts._parts.__wrapped__)
    assert runtime_adapter("fresh").name == "fresh"
    assert run_parts.loadable_files("fresh").formats == ("pytorch",)


def load_of(**metrics: float) -> Load:
    text = "".join(f"{name.replace('__', ':')} {value}\n" for name, value in metrics.items())
    return make_load(parse_counters(text, run_parts.metric_names()), observed_time="t")


def test_load_of_llamacpp() -> None:
    assert load_of(
        llamacpp__requests_processing=2,
        llamacpp__requests_deferred=3,
        llamacpp__tokens_predicted_total=100,
        llamacpp__prompt_tokens_total=50,
        llamacpp__prompt_tokens_cached_total=30,
    ) == Load(
        running=2, waiting=3, generation_tokens_total=100.0, prompt_tokens_total=50.0, observed_time="t"
    )


def test_load_of_the_vllm_family_with_old_and_new_names() -> None:
    found = load_of(vllm__num_requests_running=1, vllm__kv_cache_usage_perc=0.25)
    assert found == Load(running=1, kv_cache_usage=0.25, observed_time="t")
    assert load_of(vllm__gpu_cache_usage_perc=0.5).kv_cache_usage == 0.5


@pytest.mark.parametrize("value", ["-5", "NaN", "-Inf", "1e300"])
def test_a_sum_of_ranks_is_unknown_where_one_has_a_sample_that_no_count_can_have(value: str) -> None:
    text = f'vllm:num_requests_running{{engine="0"}} 2\nvllm:num_requests_running{{engine="1"}} {value}\n'
    found = make_load(parse_counters(text, run_parts.metric_names()), observed_time="t")
    assert found.running is None


def test_prompt_tokens_that_a_cache_saved_are_no_work() -> None:
    found = load_of(vllm__prompt_tokens_total=100, vllm__prefix_cache_hits_total=64)
    assert found.prompt_tokens_total == 36.0


def test_the_fullest_rank_counts_and_requests_are_added_up() -> None:
    lines = [
        line
        for rank, used in enumerate((0.6, 0.7))
        for line in (
            f'vllm:kv_cache_usage_perc{{engine="{rank}"}} {used}',
            f'vllm:num_requests_running{{engine="{rank}"}} 2',
        )
    ]
    text = "\n".join(lines)
    found = make_load(parse_counters(text, run_parts.metric_names()), observed_time="t")
    assert (found.running, found.kv_cache_usage) == (4, 0.7)


@pytest.mark.parametrize("sign", ["\x0b", "\x0c", "\x1c", "\x85", "\u2028", "\u2029", "\r"])
def test_a_label_is_no_line_of_its_own(sign: str) -> None:
    """Some servers make labels of what a client sends."""
    text = f'x{{user="{sign}vllm:num_requests_waiting 99999{sign}"}} 1\nvllm:num_requests_waiting 2\n'
    found = make_load(parse_counters(text, run_parts.metric_names()), observed_time="t")
    assert found.waiting == 2


def test_times_to_first_tokens_come_with_their_number() -> None:
    found = load_of(
        vllm__time_to_first_token_seconds_sum=3.5,
        vllm__time_to_first_token_seconds_count=7,
    )
    assert (found.first_token_seconds_total, found.first_tokens_total) == (3.5, 7.0)


BUCKETS = """
vllm:time_to_first_token_seconds_bucket{engine="0",le="0.02"} 0.0
vllm:time_to_first_token_seconds_bucket{engine="0",le="0.04"} 0.0
vllm:time_to_first_token_seconds_bucket{engine="0",le="0.06"} 3.0
vllm:time_to_first_token_seconds_bucket{engine="0",le="+Inf"} 4.0
vllm:time_to_first_token_seconds_bucket{engine="1",le="0.02"} 0.0
vllm:time_to_first_token_seconds_bucket{engine="1",le="0.04"} 0.0
vllm:time_to_first_token_seconds_bucket{engine="1",le="0.06"} 1.0
vllm:time_to_first_token_seconds_bucket{engine="1",le="+Inf"} 1.0
vllm:request_time_per_output_token_seconds_bucket{engine="0",le="0.01"} 2.0
vllm:request_time_per_output_token_seconds_bucket{engine="0",le="+Inf"} 2.0
vllm:inter_token_latency_seconds_bucket{engine="0",le="0.01"} 50.0
vllm:inter_token_latency_seconds_bucket{engine="0",le="+Inf"} 50.0
"""


def test_histograms_of_all_ranks_without_edges_that_tell_nothing() -> None:
    found = make_load(parse_counters(BUCKETS, run_parts.metric_names()), observed_time="t")
    assert found.ttft == LatencyHistogram(edges_seconds=(0.04, 0.06), counts=(0, 4), total=5)
    assert found.tpot == LatencyHistogram(edges_seconds=(0.01,), counts=(2,), total=2), "of requests"


@pytest.mark.parametrize(
    "changed", [('le="0.06"} 3.0', 'le="0.06"} 9.0'), ('le="+Inf"', 'le="99"'), ('le="0.06"', 'le="-4"')]
)
def test_a_broken_histogram_is_unknown_and_spoils_nothing_else(changed: tuple[str, str]) -> None:
    text = "vllm:num_requests_running 1\n" + BUCKETS.replace(*changed)
    found = make_load(parse_counters(text, run_parts.metric_names()), observed_time="t")
    assert (found.running, found.ttft) == (1, None)


@pytest.mark.parametrize("text", ["", "<html>not metrics</html> {", "vllm:num_requests_running NaN"])
def test_unknown_load_is_not_zero(text: str) -> None:
    assert make_load(parse_counters(text, run_parts.metric_names()), observed_time="t") == Load(
        observed_time="t"
    )


def test_a_sample_of_megabytes_is_not_read() -> None:
    """Its labels took seconds of the event loop, and 700 MB."""
    label = "a" * (LINE_LIMIT + 1)
    text = f'vllm:num_requests_waiting{{a="{label}"}} 7\nvllm:num_requests_running 1\n'
    found = make_load(parse_counters(text, run_parts.metric_names()), observed_time="t")
    assert (found.running, found.waiting) == (1, None)


def test_version_of_an_engine() -> None:
    assert LlamaCpp().version({"build_info": "b7000-abc"}) == "b7000-abc"
    assert LlamaCpp().version({"build_info": "b0-unknown"}) == ""
    assert Custom().version({"version": "0.32.0"}) == "0.32.0"
    assert Custom().version({}) == ""
    for engine, member in ((Custom(), "version"), (LlamaCpp(), "build_info")):
        assert len(engine.version({member: "9" * 70_000})) == LONGEST_VERSION, (
            "the report stays within its limit"
        )


LLAMA_ENDINGS = {
    "missing file": (
        "0.00.004 E gguf_init_from_file: failed to open GGUF file '/x.gguf' (No such file or directory)",
        "ModelNotFound",
        "/x.gguf: No such file or directory",
    ),
    "not a GGUF": (
        "0.00.004 E gguf_init_from_reader: invalid magic characters: 'root', expected 'GGUF'",
        "ModelInvalid",
        "invalid magic",
    ),
    "cut off": (
        "0.00.006 E llama_model_load: error loading model: tensor 'blk.0.attn_k.weight' data is not within "
        "the file bounds, model is corrupted or incomplete",
        "ModelInvalid",
        "not within the file bounds",
    ),
    "unknown architecture": (
        "0.00.006 E llama_model_load: error loading model: unknown model architecture: 'xyz'",
        "EngineNotSupported",
        "xyz",
    ),
    "missing tensor": (
        "0.00.006 E llama_model_load: error loading model: missing tensor 'blk.0.ssm_dt.bias'",
        "EngineNotSupported",
        "blk.0.ssm_dt.bias",
    ),
    "another converter": (
        "0.00.006 E llama_model_load: error loading model: error loading model hyperparameters: key not "
        "found in model: gemma3.attention.layer_norm_rms_epsilon",
        "EngineNotSupported",
        "key not found",
    ),
    "newer types": (
        "0.00.004 E gguf_init_from_reader: tensor 'blk.0.ffn_down.weight' has invalid ggml type 41. should "
        "be in [0, 40)",
        "EngineNotSupported",
        "type 41",
    ),
    "port taken": (
        "0.00.100 E srv start: couldn't bind HTTP server socket, hostname: 127.0.0.1, port: 18080",
        "PortInUse",
        "port is taken",
    ),
    "no memory": (
        "0.00.100 E ggml_backend_cpu_buffer_type_alloc_buffer: failed to allocate buffer of size 99999999999",
        "HostOutOfMemory",
        "memory",
    ),
    "no GPU memory": (
        "0.1 E ggml_backend_cuda_buffer_type_alloc_buffer: allocating 9 MiB on device 0: cudaMalloc failed: "
        "out of memory",
        "GPUOutOfMemory",
        "GPU",
    ),
    "no memory for a mapping": ("mmap failed: Cannot allocate memory", "HostOutOfMemory", "memory"),
    "disk": ("OSError: [Errno 28] No space left on device", "DiskFull", "disk"),
}


@pytest.mark.parametrize("name", LLAMA_ENDINGS)
def test_why_llama_server_ended(name: str) -> None:
    line, failure_class, words = LLAMA_ENDINGS[name]
    noise = [f"0.00.00{index} I srv load_model: loading" for index in range(5)]
    last = ["0.00.200 E srv init: exiting due to model loading error"]
    told = Failure(failure_class="EngineCrashed", message="llama.cpp did not start", next_step="see above")
    failure = LlamaCpp().classify(Exit(code=1, reported=told), [*noise, line, *last])
    assert failure.failure_class == failure_class
    assert words in failure.message
    assert failure.next_step
    assert line[:100] in " ".join(failure.log_tail)


def test_weights_that_are_not_locked_in_memory_do_not_end_llama_server() -> None:
    line = "warning: failed to mlock 9-byte buffer (after previously locking 0 bytes): Cannot allocate memory"
    assert LlamaCpp().classify(Exit(code=1), [line, "another end"]).failure_class == "EngineCrashed"


TOLD = Failure(
    failure_class="PortInUse", message="port 8000 is in use", next_step="stop its owner", retryable=True
)


def test_what_the_launcher_left_behind_counts_where_no_line_names_a_cause() -> None:
    failure = LlamaCpp().classify(Exit(code=1, reported=TOLD), ["llama-server: error", ""])
    assert failure == dataclasses.replace(TOLD, log_tail=("llama-server: error",))
    repeated = ["loading", f"llama-server: error [PortInUse]: {TOLD.message}: {TOLD.next_step}"]
    failure = LlamaCpp().classify(Exit(code=1, reported=TOLD), repeated)
    assert failure.log_tail == ("loading",), "message and next step are shown once"
    for end in (
        Exit(signal=signal.SIGSEGV, reported=TOLD),
        Exit(code=1, out_of_memory_kills=1, reported=TOLD),
    ):
        assert LlamaCpp().classify(end, []).failure_class != "PortInUse"


@pytest.mark.parametrize(
    ("end", "failure_class", "words"),
    [
        (Exit(code=0), "EngineCrashed", "exit code 0"),
        (Exit(code=7), "EngineCrashed", "exit code 7: the last word"),
        (Exit(signal=signal.SIGSEGV), "EngineCrashed", "SIGSEGV"),
        (Exit(signal=99), "EngineCrashed", "signal 99"),
        (Exit(signal=signal.SIGILL), "EngineNotSupported", "CPU"),
        (Exit(signal=signal.SIGKILL), "HostOutOfMemory", "most often"),
        (Exit(signal=signal.SIGKILL, out_of_memory_kills=1), "HostOutOfMemory", "the kernel killed"),
        (Exit(code=137), "HostOutOfMemory", "most often"),
        (Exit(code=1, out_of_memory_kills=1), "HostOutOfMemory", "the kernel killed"),
        (Exit(code=1, out_of_memory_kills=0), "EngineCrashed", "exit code 1"),
    ],
)
def test_an_end_without_a_known_cause(end: Exit, failure_class: str, words: str) -> None:
    failure = Custom().classify(end, ["first", "the last word", ""])
    assert failure.failure_class == failure_class
    assert words in failure.message
    assert failure.log_tail == ("first", "the last word")


@given(lines=st.lists(st.text(max_size=200), max_size=30), code=st.integers(0, 255))
def test_any_last_words_give_a_failure(lines: list[str], code: int) -> None:
    for engine in RUNS:
        failure = engine.classify(Exit(code=code), lines)
        assert isinstance(failure, Failure)
        assert failure.next_step
        assert len(failure.log_tail) <= 10


def test_counters_of_two_front_ends_are_those_of_the_server():
    """vLLM adds them up over its processes; six requests of 40 tokens were answered with 20 each."""
    found = parse_counters(TWO_FRONT_ENDS.read_text(), run_parts.metric_names())
    assert (found.generated_tokens, found.computed_prompt_tokens, found.ttft_seconds_count) == (120, 240, 6)
    assert (found.running, found.waiting, found.kv_cache_tokens) == (0, 0, 8576)
