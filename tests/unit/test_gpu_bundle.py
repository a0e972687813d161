"""What is carried to a GPU host: enough for `tacho run`, and nothing that is not locked."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

from tools import gpu_bundle

NAME = re.compile(r"[\w-]+")
PROGRAM = """
import importlib, json, pkgutil, sys
packages = ["tacho_operator.api", "tacho_operator.core", "tacho_simulate", "tacho_cli"]
for name in (*packages, "tacho_runtime", "tacho_engines"):
    package = importlib.import_module(name)
    for found in pkgutil.walk_packages(package.__path__, name + "."):
        if "__main__" not in found.name:
            importlib.import_module(found.name)
print(json.dumps(sorted({name.partition(".")[0] for name in sys.modules})))
"""


def locked(lock: str) -> set[str]:
    lines = (gpu_bundle.LOCKS / lock).read_text().splitlines()
    return {line.partition("==")[0] for line in lines if "==" in line and not line.startswith(" ")}


def normal(name: str) -> str:
    return name.lower().replace("_", "-")


def needs(names: tuple[str, ...]) -> set[str]:
    """Those distributions and what they need, of those installed here."""
    found, todo = set(), [normal(name) for name in names]
    while todo:
        if (name := todo.pop()) in found:
            continue
        found.add(name)
        try:
            wanted = metadata.requires(name) or []
        except metadata.PackageNotFoundError:
            continue  # behind a marker that is not true here
        names_only = (line.partition(";")[0] for line in wanted if "extra ==" not in line)
        todo += [normal(NAME.match(line)[0]) for line in names_only]  # type: ignore[index]  # a name comes first
    return found


def test_all_that_run_imports_is_carried() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    owners = metadata.packages_distributions()
    imported = {normal(owner) for name in json.loads(done.stdout) for owner in owners.get(name, ())}
    imported -= {"setuptools", "tacho-operator"}  # a .pth of the environment, and ourselves
    imported -= {"click"}  # httpx takes it for its own command where it is there
    assert imported
    assert imported <= needs(gpu_bundle.TACHO)


@pytest.mark.parametrize("archive", gpu_bundle.CARRIED)
def test_every_package_carried_is_locked(archive: str) -> None:
    for lock, names in gpu_bundle.CARRIED[archive]:
        assert set(names) <= locked(lock)


def test_an_archive_unpacks_under_its_own_name(tmp_path: Path) -> None:
    folder = tmp_path / "tacho-cp312"
    (folder / "site").mkdir(parents=True)
    (folder / "env.sh").write_text(gpu_bundle.ENVIRONMENT)
    place = tmp_path / "bundle.tar.xz"
    gpu_bundle.archive(folder, place)
    target = tmp_path / "host"
    target.mkdir()
    subprocess.run(["tar", "-C", target, "-xf", place], check=True)
    shell = f". {target}/tacho-cp312/env.sh && printf %s $PYTHONPATH"
    environment = {"PATH": "/usr/bin:/bin"}
    told = subprocess.run(["bash", "-c", shell], capture_output=True, text=True, check=True, env=environment)
    assert told.stdout == f"{target}/tacho-cp312/site"
