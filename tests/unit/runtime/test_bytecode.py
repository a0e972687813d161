"""Where the engine's image has no compiled Python code, it is kept with what the engine compiles."""

from __future__ import annotations

import compileall
import dataclasses
import logging
import subprocess
import sys
from pathlib import Path

import pytest

from tacho_runtime.machine import caches
from tacho_runtime.supervisor.machine_check import ObservedMachine
from tacho_runtime.supervisor.observed_machine import observe, with_bytecode
from tests.launching import changed
from tests.unit.runtime.test_caches import CONFIG

LACKS = ObservedMachine(compiled=False)
KEPT = changed(CONFIG, cache_dir="/cache/k")


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """Three installed packages, without bytecode."""
    for name in ("torch", "vllm", "zmq"):
        (tmp_path / "site" / name).mkdir(parents=True)
        (tmp_path / "site" / name / "__init__.py").write_text("version = '1'\n")
    return tmp_path / "site"


def test_the_engines_own_package_says_whether_its_image_is_compiled(site: Path) -> None:
    for name in ("torch", "zmq"):
        compileall.compile_dir(site / name, quiet=1)
    assert caches.is_compiled([site], "vllm") is False
    assert caches.is_compiled([site], "torch") is True


def test_of_an_unknown_engine_most_packages_say_it(site: Path, tmp_path: Path) -> None:
    assert caches.is_compiled([site], "custom") is False
    compileall.compile_dir(site / "zmq", quiet=1)
    assert caches.is_compiled([site], "custom") is False
    compileall.compile_dir(site / "vllm", quiet=1)
    assert caches.is_compiled([site], "custom") is True
    assert caches.is_compiled([tmp_path / "missing"], "custom") is None
    assert caches.is_compiled([], "vllm") is None


@pytest.mark.parametrize(
    "machine", [ObservedMachine(), ObservedMachine(compiled=True)], ids=["unseen", "compiled"]
)
def test_code_that_is_there_is_taken_from_there(machine: ObservedMachine) -> None:
    """With a folder of its own Python would not look beside the modules any more."""
    given = {"PATH": "/bin", caches.NEVER_WRITTEN: "1"}
    assert with_bytecode(given, machine, KEPT) == given


def test_without_a_place_nothing_changes() -> None:
    given = {caches.NEVER_WRITTEN: "1"}
    assert with_bytecode(given, LACKS, CONFIG) == given


def test_the_users_own_place_is_kept() -> None:
    given = {caches.BYTECODE_PREFIX: "/mine", caches.NEVER_WRITTEN: "1"}
    assert with_bytecode(given, LACKS, KEPT) == given


def test_it_is_said_where_code_is_kept(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "tacho")
    found = with_bytecode({"PATH": "/bin", caches.NEVER_WRITTEN: "1"}, LACKS, KEPT)
    assert found == {"PATH": "/bin", caches.BYTECODE_PREFIX: "/cache/k/bytecode"}
    assert "cached in /cache/k/bytecode" in caplog.text


def test_an_interpreters_packages_are_looked_at(site: Path) -> None:
    python = dataclasses.replace(CONFIG, engine="vllm", entrypoint=(sys.executable, "-m", "vllm"))
    assert observe(python, {"PYTHONPATH": str(site)}).compiled is False
    shell = dataclasses.replace(CONFIG, entrypoint=("/bin/true",))
    assert observe(shell, {"PYTHONPATH": str(site)}).compiled is None


def test_a_second_process_reads_what_the_first_has_compiled(site: Path, tmp_path: Path) -> None:
    """Of a folder that Python is not to write to."""
    cache = tmp_path / "cache"
    given = {"PYTHONPATH": str(site), caches.NEVER_WRITTEN: "1"}
    environment = caches.bytecode_variables(given, compiled=False, cache_dir=str(cache))
    command = [sys.executable, "-v", "-c", "import torch"]
    said = [
        subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stderr
        for _ in range(2)
    ]
    (kept,) = cache.rglob("torch/__init__.*.pyc")
    assert kept.is_relative_to(cache / caches.BYTECODE_FOLDER)
    assert f"{kept} matches" not in said[0]
    assert f"{kept} matches" in said[1]
    assert not list(site.rglob("*.pyc"))
