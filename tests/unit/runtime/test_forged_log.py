"""What clients make an engine write to its log is no figure of the engine's."""

from __future__ import annotations

import sys
from functools import reduce
from pathlib import Path

import pytest

from tacho_contract.launch import LiveConfig, ProbeSettings, RuntimeConfig
from tacho_contract.measurement import Workload
from tacho_engines.base import EngineStartup, Exit
from tacho_engines.registry import runtime_adapter
from tests.launching import changed
from tests.unit.runtime.running import custom_config, running
from tests.unit.runtime.test_late_kernels import LINE
from tools.cluster.paths import REPOSITORY

OWN = "INFO [kv_cache_utils.py:1316] GPU KV cache size: 4,096 tokens"
FORGED = (
    "ERROR [serving.py:274] Error with model error=ErrorInfo(message='The model `Xid 79, GPU KV cache size: "
    "999,999,999 tokens. Available KV cache memory: 500.00 GiB. Model loading took 900.0 GiB and 1 seconds. "
    "Falling back to nothing at all` does not exist.')"
)
"""As vLLM 0.32 logs a request for a model that it does not have."""
ENGINE = f"""
import os, sys, threading, time, urllib.request
sys.path.insert(0, {str(REPOSITORY)!r})
from tools.mock import engine_start

def forging():
    while b'"phase":"PHASE"' not in urllib.request.urlopen("http://127.0.0.1:RUNTIME/report").read():
        time.sleep(0.05)
    while True:
        print(LINE, file=sys.stderr, flush=True)
        THEN

print({OWN!r}, file=sys.stderr, flush=True)
threading.Thread(target=forging, daemon=True).start()
given = dict(zip(sys.argv[1::2], sys.argv[2::2]))
sys.argv[1:] = ["--port", given["--port"], "--served-name", given["--served-model-name"]]
engine_start.main()
"""
"""The mock engine behind vLLM's command line; in a phase of the runtime, a client writes to its log."""


def engine_config(folder: Path, *, phase: str, line: str, then: str) -> RuntimeConfig:
    """``then``: what the engine does after each ``line``."""
    config = custom_config(folder)
    program = ENGINE.replace("RUNTIME", str(config.runtime_port)).replace("PHASE", phase)
    program = program.replace("THEN", then).replace("LINE", repr(line))
    return changed(config, engine="vllm", custom=None, entrypoint=(sys.executable, "-c", program))


def test_a_clients_text_in_the_log_is_no_figure_of_a_measurement(tmp_path: Path) -> None:
    config = engine_config(tmp_path, phase="Probing", line=FORGED, then="time.sleep(0.05)")
    live = LiveConfig(
        measure_key="m",
        workload=Workload(input_tokens=8, output_tokens=8),
        probe=ProbeSettings(budget_seconds=2, timeout_seconds=20),
    )
    with running(config, tmp_path, live=live) as runtime:
        runtime.until_ready()
        report = runtime.report()
        assert "999,999,999" in runtime.log()
    memory = report["measurement"]["memory"]
    assert memory["kvCacheTokens"] == 4096
    assert not {"weightsBytes", "kvCacheBytes"} & set(memory)
    assert not report.get("fallbacks")


@pytest.mark.parametrize("starting", [True, False])
def test_late_kernels_are_counted_all_the_time(*, starting: bool) -> None:
    found = EngineStartup(weights_bytes=2, late_kernels=1)
    now = EngineStartup(weights_bytes=1).updated(found, starting=starting)
    assert (now.weights_bytes, now.late_kernels) == (2 if starting else 1, 1)


def test_what_a_client_writes_before_the_first_health_check_is_no_figure() -> None:
    """Half a second may pass until then, and loaded weights that are too large end a start."""
    lines = (OWN, "(APIServer pid=1) INFO:     Application startup complete.", FORGED, LINE)
    startup = reduce(runtime_adapter("vllm").read, lines, EngineStartup())
    assert startup == EngineStartup(kv_cache_tokens=4096, late_kernels=1, answers=True)


@pytest.mark.parametrize(
    ("engine", "own", "authored"),
    [
        (
            "vllm",
            OWN,
            "WARNING 07-01 12:00:00 [modeling_rope_utils.py:946] Unrecognized keys in `rope_parameters` for "
            "'rope_type'='linear': {'GPU KV cache size: 999,999,999 tokens'}",
        ),
        (
            "llamacpp",
            "0.01.002.003 I llama_context: n_ctx         = 4096",
            "0.00.002.003 I llama_model_loader: loaded meta data with 20 key-value pairs from "
            "/models/llama_kv_cache: X KV buffer size = 999999 MiB.gguf, llama_context: n_ctx = 999999999",
        ),
    ],
)
def test_what_a_models_author_chose_is_no_figure(engine: str, own: str, authored: str) -> None:
    """The size of the KV cache is in status, and limits when replicas are added."""
    startup = reduce(runtime_adapter(engine).read, (own, authored), EngineStartup())
    assert startup == EngineStartup(kv_cache_tokens=4096)


def test_a_text_of_two_lines_in_a_models_configuration_is_no_size_of_the_cache() -> None:
    """As Transformers 5.19 logs an ``attention_factor`` that is a text."""
    logged = "[transformers] `rope_parameters`'s attention_factor field must be a float greater than 0, got 1"
    forged = "INFO [kv_cache_utils.py:1316] GPU KV cache size: 999,999,999 tokens"
    assert (
        reduce(runtime_adapter("vllm").read, (logged, forged, OWN), EngineStartup()).kv_cache_tokens == 4096
    )


def test_a_chat_template_that_is_logged_as_it_is_holds_no_figure() -> None:
    """As llama.cpp logs an example of one, at the level at which it logs its buffers."""
    lines = (
        "0.00.475.333 I llama_context: n_ctx                 = 4096",
        "0.00.570.494 I srv    load_model: initializing, n_slots = 1, n_ctx_slot = 4096",
        "0.00.571.921 I srv          init: init: chat template, example_format: '",
        "llama_context: n_ctx = 999999999",
        "0.00.475.435 I llama_kv_cache: X KV buffer size = 999999 MiB",
    )
    startup = reduce(runtime_adapter("llamacpp").read, lines, EngineStartup())
    assert startup == EngineStartup(kv_cache_tokens=4096, answers=True)


REQUEST = 'INFO:     10.0.0.9:41404 - "GET /Xid HTTP/1.1" 404 Not Found'
"""As vLLM logs a request for a path that it does not have."""


def test_a_clients_text_in_the_log_is_no_cause_of_a_failure(tmp_path: Path) -> None:
    """It called a crash a fault of the GPU, for which new pods avoid the node."""
    config = engine_config(tmp_path, phase="Serving", line=REQUEST, then="os._exit(3)")
    with running(config, tmp_path) as runtime:
        assert runtime.ended() == 1
        assert runtime.failure().failure_class == "EngineCrashed", runtime.log()


VLLM_ERROR = "(EngineCore pid=9) ERROR 07-01 12:00:00 [core.py:650] "


@pytest.mark.parametrize(
    ("engine", "line", "serving", "starting"),
    [
        ("vllm", REQUEST, "EngineCrashed", "GPUFault"),
        ("vllm", FORGED, "EngineCrashed", "GPUFault"),
        ("vllm", FORGED.replace("Xid 79,", "] MemoryError"), "EngineCrashed", "HostOutOfMemory"),
        ("vllm", VLLM_ERROR + "1 validation error: Value error, n is 0", "EngineCrashed", "InvalidConfig"),
        ("vllm", "ModuleNotFoundError: No module named 'x'", "EngineCrashed", "ImportFailed"),
        (
            "llamacpp",
            "srv  log_server_r: done request: GET /CUDA error: out of memory 10.0.0.9 404",
            "EngineCrashed",
            "GPUOutOfMemory",
        ),
        *(
            (engine, line, failure_class, failure_class)
            for engine, line, failure_class in (
                ("vllm", VLLM_ERROR + "torch.OutOfMemoryError: CUDA out of memory. Tried", "GPUOutOfMemory"),
                ("vllm", VLLM_ERROR + "MemoryError", "HostOutOfMemory"),
                ("vllm", VLLM_ERROR + "RuntimeError: CUDA error: an illegal memory access", "GPUFault"),
                ("vllm", "[rank0]: RuntimeError: Triton Error [CUDA]: out of memory", "GPUOutOfMemory"),
                (
                    "transformers",
                    "RuntimeError: [enforce fail at alloc_cpu.cpp:118] err == 0. DefaultCPUAllocator: can't "
                    "allocate memory: you tried to allocate 9 bytes.",
                    "HostOutOfMemory",
                ),
                ("transformers", "  what():  std::bad_alloc", "HostOutOfMemory"),
                ("vllm", "OSError: [Errno 28] No space left on device", "DiskFull"),
                ("llamacpp", "1.20.1 E CUDA error: out of memory", "GPUOutOfMemory"),
                (
                    "llamacpp",
                    "0.01.2 E ggml_backend_cuda_buffer_type_alloc_buffer: allocating 44.49 MiB on device 0: "
                    "cudaMalloc failed: out of memory",
                    "GPUOutOfMemory",
                ),
            )
        ),
    ],
)
def test_the_cause_of_a_failure_of_what_served_is_in_the_engines_own_words(
    engine: str, line: str, serving: str, starting: str
) -> None:
    for served, failure_class in ((True, serving), (False, starting)):
        end = Exit(code=1, served=served)
        assert runtime_adapter(engine).classify(end, ["before", line, "after"]).failure_class == failure_class
