"""What the runtime reads in llama.cpp's log: real lines, and the real server's."""

from __future__ import annotations

import functools
from pathlib import Path

import pytest

from tacho_contract.units import MIB
from tacho_engines.base import EngineStartup, Exit
from tacho_engines.registry import runtime_adapter
from tests.unit.images.test_llamacpp_server import server


def read(text: str) -> EngineStartup:
    return functools.reduce(runtime_adapter("llamacpp").read, text.splitlines(), EngineStartup())


TWO_GPUS = """\
0.00.898.100 I load_tensors: offloading output layer to GPU
0.00.898.200 I load_tensors: offloaded 33/33 layers to GPU
0.00.899.231 I load_tensors:   CPU_Mapped model buffer size =   281.81 MiB
0.00.899.232 I load_tensors:        CUDA0 model buffer size =  2190.50 MiB
0.00.899.233 I load_tensors:        CUDA1 model buffer size =  2012.12 MiB
0.00.927.317 I llama_context: n_ctx                 = 4096
0.00.927.622 I llama_kv_cache:      CUDA0 KV buffer size =   272.00 MiB
0.00.927.623 I llama_kv_cache:      CUDA1 KV buffer size =   240.00 MiB
"""
"""The form of the lines is that of llama.cpp's sources; the devices' names are ggml-cuda's."""


def test_of_several_gpus_the_figure_is_that_of_the_fullest() -> None:
    figures = read(TWO_GPUS)
    assert figures.weights_bytes == int(2190.5 * MIB)
    assert figures.kv_cache_bytes == 272 * MIB
    assert figures.kv_cache_tokens == 4096
    assert figures.fallbacks == ()


def test_layers_that_stayed_on_the_host_are_named() -> None:
    assert read("load_tensors: offloaded 20/33 layers to GPU").fallbacks == (
        "20 of 33 layers are on GPUs, the others stay on the host",
    )


def test_the_real_server_tells_its_buffers_and_then_keeps_quiet(tmp_path: Path) -> None:
    with server(tmp_path / "log", "--ctx-size", "4096", "--parallel", "2") as running:
        body = {"prompt": "Once", "max_tokens": 4}
        running.client.post("/v1/completions", json=body).raise_for_status()
        loaded = running.log.read_text()
        running.client.post("/v1/completions", json=body).raise_for_status()
        request = running.log.read_text()[len(loaded) :]
    figures = read(loaded)
    # SmolLM2-135M: 92.10 MiB of tensors; K and V of 30 layers, 3 heads of 64, in 16 bits.
    assert figures.weights_bytes is not None
    assert abs(figures.weights_bytes - 92.1 * MIB) < 0.01 * MIB
    assert figures.kv_cache_bytes == 4096 * 30 * 2 * 3 * 64 * 2
    assert figures.kv_cache_tokens == 4096
    assert "sampler chain" not in request


def test_the_users_level_stands(tmp_path: Path) -> None:
    with server(tmp_path / "log", "--log-verbosity", "3") as running:
        assert "buffer size" not in running.log.read_text()


@pytest.mark.parametrize(
    ("line", "failure_class", "words"),
    [
        (
            "0.01.2 E ggml_backend_cuda_buffer_type_alloc_buffer: allocating 4403.49 MiB on device 0: "
            "cudaMalloc failed: out of memory",
            "GPUOutOfMemory",
            "memory did not suffice",
        ),
        ("1.20.1 E CUDA error: out of memory", "GPUOutOfMemory", "memory did not suffice"),
        (
            "CUDA error: no kernel image is available for execution on the device",
            "UnsupportedGPU",
            "no kernel image is available",
        ),
        (
            "ggml_cuda_init: failed to initialize CUDA: CUDA driver version is insufficient for CUDA runtime "
            "version",
            "UnsupportedGPU",
            "CUDA driver version is insufficient",
        ),
        (
            "ggml_cuda_init: failed to initialize CUDA: no CUDA-capable device is detected",
            "UnsupportedGPU",
            "no CUDA-capable device",
        ),
        ("CUDA error: an illegal memory access was encountered", "GPUFault", "an illegal memory access"),
        (
            "llama_model_load: error loading model: device CUDA0 does not support split buffers",
            "InvalidConfig",
            "device CUDA0 does not support split buffers",
        ),
        (
            "error loading model: LLAMA_SPLIT_MODE_TENSOR not implemented for architecture 'jamba'",
            "InvalidConfig",
            "'jamba'",
        ),
    ],
)
def test_why_it_cannot_go_on_with_gpus(line: str, failure_class: str, words: str) -> None:
    found = runtime_adapter("llamacpp").classify(
        Exit(code=1), [line, "llama_model_load_from_file: failed to load model"]
    )
    assert found.failure_class == failure_class
    assert words in found.message
    assert found.next_step


def test_a_server_that_ignores_its_gpus_is_named() -> None:
    line = "warning: no usable GPU found, --gpu-layers option will be ignored"
    assert read(line).fallbacks == ("no GPU is used: everything is on the host",)


def test_of_several_contexts_the_last_counts() -> None:
    assert read(f"{TWO_GPUS}llama_context: n_ctx                 = 2048\n").kv_cache_tokens == 2048
