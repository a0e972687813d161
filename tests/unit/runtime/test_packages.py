"""What is installed beside an engine, found without importing it."""

from __future__ import annotations

import importlib.metadata
import sys
from pathlib import Path

from tacho_runtime.machine import packages


def make(folder: Path, *infos: str) -> Path:
    site = folder / "lib" / "python3.12" / "site-packages"
    for info in infos:
        (site / f"{info}.dist-info").mkdir(parents=True)
    return site


def test_this_very_interpreter_is_read_as_its_own_metadata_says() -> None:
    python = packages.interpreter(sys.executable, {})
    assert python is not None
    found = packages.installed(list(packages.package_folders(python, {})))
    for name in ("pytest", "hypothesis", "nvidia-ml-py", "pydantic-core"):
        assert found[packages.normalised(name)] == importlib.metadata.version(name)


def test_a_script_names_its_python(tmp_path: Path) -> None:
    site = make(tmp_path, "vllm-0.32.0", "Vllm_BNB.Plugin-0.0.3", "vllm-0.31.0")
    scripts = tmp_path / "bin"
    scripts.mkdir()
    (scripts / "python3").touch(mode=0o755)
    for name, line in (
        ("vllm", f"#!{scripts}/python3 -I"),
        ("env", "#!/usr/bin/env python3"),
        ("shell", "#!/bin/sh"),
        ("binary", "\x7fELF"),
        ("empty", ""),
    ):
        (scripts / name).write_text(line + "\nrest")
        (scripts / name).chmod(0o755)
    path = {"PATH": str(scripts)}
    for name in ("vllm", "env", "python3"):
        assert packages.interpreter(name, path) == scripts / "python3"
    for name in ("shell", "binary", "empty", "absent"):
        assert packages.interpreter(name, path) is None
    folders = list(packages.package_folders(scripts / "python3", {"PYTHONPATH": ":/extra"}))
    assert folders[0] == site
    assert folders[-1] == Path("/extra")
    assert packages.installed(folders) == {"vllm": "0.31.0", "vllm-bnb-plugin": "0.0.3"}
