"""Where vLLM keeps what it compiles."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from tacho_engines.registry import runtime_adapter
from tacho_engines.shared.default_run import vllm_caches
from tacho_runtime.supervisor.machine_check import ObservedMachine
from tacho_runtime.supervisor.observed_machine import with_cache
from tests.launching import changed
from tests.unit.runtime.running import custom_config


@pytest.mark.parametrize("gpu_count", [0, 1])
def test_what_is_compiled_is_kept_in_the_folder_of_this_machine_and_image(
    tmp_path: Path, gpu_count: int
) -> None:
    plan = changed(
        custom_config(tmp_path),
        engine="vllm",
        custom=None,
        cache_dir=str(tmp_path / "c"),
        gpu_count=gpu_count,
    )
    first = with_cache(plan, ObservedMachine())
    second = with_cache(dataclasses.replace(plan, image="registry.example/vllm:2"), ObservedMachine())
    told = [runtime_adapter("vllm").environment(config) for config in (first, second)]
    for config, environment in zip((first, second), told, strict=True):
        kept = vllm_caches(config.paths.cache_dir)
        assert set(kept) >= {"VLLM_CACHE_ROOT", "TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR"}
        assert {name: environment[name] for name in kept} == kept
        assert environment["HF_HUB_OFFLINE"] == "1"
        assert ("VLLM_CPU_OMP_THREADS_BIND" in environment) == (gpu_count == 0)
    assert told[0]["VLLM_CACHE_ROOT"] != told[1]["VLLM_CACHE_ROOT"]
    assert not set(vllm_caches(first.paths.cache_dir)) & set(
        runtime_adapter("vllm").environment(changed(plan, cache_dir=""))
    )
