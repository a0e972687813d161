"""What is installed beside an engine, found without importing it."""

from __future__ import annotations

import importlib.metadata
import os
import sys
from pathlib import Path

from tacho_runtime.machine import caches, packages


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


def test_a_folder_that_this_user_may_not_read_ends_no_start(tmp_path: Path) -> None:
    """As in an image that is made for root, with a PYTHONPATH below /root."""
    hidden = tmp_path / "hidden"
    make(hidden, "vllm-0.32.0")
    hidden.chmod(0)
    python = hidden / "bin" / "python3"
    user = os.geteuid()
    if user == 0:
        os.seteuid(65532)
    try:
        folders = list(packages.package_folders(python, {"PYTHONPATH": str(hidden / "lib")}))
        seen = (
            packages.installed(folders),
            caches.packages_digest(folders),
            caches.is_compiled(folders, "x"),
        )
    finally:
        os.seteuid(user)
        hidden.chmod(0o700)
    assert seen == ({}, "", None)
