"""Which engines `tacho run` finds in this Python, and which version it plans for."""

from __future__ import annotations

import importlib.metadata
import sys
from pathlib import Path

import pytest

from tacho_cli.run.setup import installed_version, local_entrypoint, local_images
from tacho_engines.registry import engine_profile
from tacho_engines.shared.images import image_version


def test_the_installed_version_is_planned_for() -> None:
    images = local_images("local")
    installed = importlib.metadata.version("xllamacpp")
    assert images["llamacpp"] == f"local:{installed}"
    assert image_version(engine_profile("llamacpp"), images["llamacpp"]) == installed


def test_a_package_may_come_from_a_distribution_of_another_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """vLLM's CPU build is a distribution of its own that brings the package vllm."""
    (tmp_path / "swift").mkdir()
    (tmp_path / "swift" / "__init__.py").touch()
    information = tmp_path / "swift_cpu-1.2.3.dist-info"
    information.mkdir()
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: swift-cpu\nVersion: 1.2.3\n")
    (information / "top_level.txt").write_text("swift\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert installed_version("swift") == "1.2.3"


def test_what_is_not_installed_has_no_version() -> None:
    assert installed_version("no_such_engine") == ""
    assert installed_version("") == ""


def test_vllm_starts_by_its_command_which_takes_as_many_front_ends_as_a_pods() -> None:
    found = local_entrypoint("vllm", engine_profile("vllm").image.entrypoint)
    assert found == (sys.executable, "-m", "vllm.entrypoints.cli.main", "serve")


def test_vllms_build_for_cpus_starts_by_the_module_that_its_image_starts() -> None:
    build = engine_profile("vllm").cpu_image
    assert build is not None
    found = local_entrypoint("vllm", build.entrypoint)
    assert found == (sys.executable, "-m", "vllm.entrypoints.openai.api_server")


def test_an_engine_of_one_library_starts_alike_whichever_build_a_pod_would_have() -> None:
    row = engine_profile("llamacpp")
    assert row.cpu_image is not None
    for image in (row.image.entrypoint, row.cpu_image.entrypoint):
        assert local_entrypoint("llamacpp", image) == (sys.executable, "-m", "tacho_llamacpp")


def test_an_engine_that_brings_its_own_command_is_started_by_it() -> None:
    assert local_entrypoint("custom", ("swift", "serve")) == ("swift", "serve")
