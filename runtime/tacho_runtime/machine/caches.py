"""Folders for code that engines compile and convert, kept for the next start on an equal machine.

There is one folder per key below the cache, owned by this user alone, whose name is the key's hash. The key
contains everything that decides whether the code in it is right: the image, the installed packages, GPU,
driver and CPU. A claim belongs to one namespace, and so does its content.

A pod cannot read its image's digest: the kubelet resolves it after the pod is made, and the downward API does
not contain it. So the key has the image reference, which may be a tag that moves. It also has a digest of
the installed packages' RECORD files, which list a hash of every file.

Bytecode of an engine whose image has none is kept there too. vLLM starts with three imports of itself, one
after the other in three processes. Where every module is compiled anew, 0.26 takes 18 s for each on a host
with an H200. That is so in a read-only container whose image was built without bytecode, as vLLM's own are:
uv compiles nothing by default.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
import stat
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from tacho_runtime.machine.packages import matching

BYTECODE_PREFIX = "PYTHONPYCACHEPREFIX"
"""Environment variable with the only folder in which Python reads and writes bytecode."""
NEVER_WRITTEN = "PYTHONDONTWRITEBYTECODE"
BYTECODE_FOLDER = "bytecode"
COMPILED_SHARE = 0.5
"""Share of packages with bytecode from which an image counts as compiled."""


def is_compiled(folders: Sequence[Path], package: str) -> bool | None:
    """Whether the engine's ``package`` is installed with bytecode; where it is missing, whether most packages
    are.

    None where no package is found.
    """
    named = (folder / package / "__init__.py" for folder in folders)
    found = [first for first in named if os.path.exists(first)] or [
        first for folder in folders for first in matching(folder, "*/__init__.py")
    ]
    carried = sum(bool(matching(first.parent / "__pycache__", "__init__.*.pyc")) for first in found)
    return carried >= COMPILED_SHARE * len(found) if found else None


def bytecode_variables(
    environment: Mapping[str, str], *, compiled: bool | None, cache_dir: str
) -> dict[str, str]:
    """``environment`` with a folder for Python bytecode added, where the engine's image has no bytecode.

    An image that carries its own bytecode, or sets ``BYTECODE_PREFIX``, is left as it is.
    """
    if compiled is not False or not cache_dir or BYTECODE_PREFIX in environment:
        return dict(environment)
    kept = {name: value for name, value in environment.items() if name != NEVER_WRITTEN}
    return {**kept, BYTECODE_PREFIX: f"{cache_dir}/{BYTECODE_FOLDER}"}


KEPT_SECONDS = 30 * 24 * 3600.0
"""Seconds after which an unused folder is removed."""
_FOLDER_NAME = re.compile("[0-9a-f]{32}")
LAYOUT = "1"
"""Version of the folder layout below a key; raised at every change of the layout."""


def cache_key(*, engine: str, image: str, packages: str, gpu: str, driver: str, cpu: str) -> dict[str, str]:
    """Everything that compiled code depends on, by name. On a GPU the CPU counts, too: some of the code runs
    on it."""
    machine = {"gpu": gpu, "driver": driver, "cpu": cpu}
    return {"layout": LAYOUT, "engine": engine, "image": image, "packages": packages, **machine}


def folder_name(key: Mapping[str, str]) -> str:
    """Name of the cache folder for ``key``; different keys have different names."""
    return hashlib.sha256(json.dumps(dict(key), sort_keys=True).encode()).hexdigest()[:32]


def packages_digest(folders: Iterable[Path]) -> str:
    """sha256 over the file lists of all packages in ``folders``; "" where there are none."""
    total, seen = hashlib.sha256(), False
    for folder in folders:
        for record in matching(folder, "*.dist-info/RECORD"):
            with contextlib.suppress(OSError):
                total.update(record.parent.name.encode() + b"\0" + record.read_bytes() + b"\0")
                seen = True
    return total.hexdigest() if seen else ""


def opened(root: str, key: Mapping[str, str]) -> tuple[str, bool]:
    """(the folder for ``key`` below ``root``, whether it has code of an earlier start).

    Raises OSError where the folder cannot be written, belongs to another user, or is no folder.
    """
    base = Path(root)
    base.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder = base / folder_name(key)
    with contextlib.suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    status = folder.lstat()
    if not stat.S_ISDIR(status.st_mode):  # a link may lead anywhere
        raise NotADirectoryError(f"{folder} is no folder")
    if status.st_uid != os.geteuid():
        raise PermissionError(f"{folder} belongs to user {status.st_uid}")
    folder.chmod(0o700)
    touch(folder)
    _sweep(base, keep=folder)
    return str(folder), any(folder.iterdir())


def touch(folder: Path) -> None:
    """Marks ``folder`` as in use, so that it is not removed as old. Raises OSError."""
    os.utime(folder)


def _sweep(base: Path, *, keep: Path) -> None:
    """Removes folders of other keys that were unused for KEPT_SECONDS; errors are ignored."""
    with contextlib.suppress(OSError):
        for folder in base.iterdir():
            old = time.time() - folder.lstat().st_mtime > KEPT_SECONDS
            if old and folder != keep and _FOLDER_NAME.fullmatch(folder.name):
                shutil.rmtree(folder, ignore_errors=True)
