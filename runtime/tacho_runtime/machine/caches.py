"""Folders for code that engines compile and convert, kept for the next start on an equal machine.

There is one folder per key below the cache, owned by this user alone. The key contains everything that
decides whether the code in it is right: the image, the installed packages, GPU, driver and CPU. It is written
into the folder, and a folder with another key, or none, is emptied. A claim belongs to one namespace, and so
does its content.

A pod cannot read its image's digest: the kubelet resolves it after the pod is made, and the downward API does
not contain it. So the key has the image reference, which may be a tag that moves, and a digest over the file
lists of the installed packages (RECORD, with a hash of every file).

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
import shutil
import stat
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from tacho_runtime.files import read_theirs

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
    found = [first for first in named if first.exists()] or [
        first for folder in folders for first in sorted(folder.glob("*/__init__.py"))
    ]
    carried = sum(any((first.parent / "__pycache__").glob("__init__.*.pyc")) for first in found)
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


KEY_FILE = "key.json"
KEY_LIMIT_BYTES = 64 * 1024
KEPT_SECONDS = 30 * 24 * 3600.0
"""Seconds after which an unused folder is removed."""
IN_MAKING_SECONDS = 600.0
"""Age in seconds below which a folder without a key may still be filled by another pod."""
LAYOUT = "1"
"""Version of the folder layout below a key; raised at every change of the layout."""


def cache_key(*, engine: str, image: str, packages: str, gpu: str, driver: str, cpu: str) -> dict[str, str]:
    """Everything that compiled code depends on, by name. On a GPU the CPU counts, too: some of the code runs
    on it."""
    machine = {"gpu": gpu, "driver": driver, "cpu": cpu}
    return {"layout": LAYOUT, "engine": engine, "image": image, "packages": packages, **machine}


def folder_name(key: Mapping[str, str]) -> str:
    """Name of the cache folder for ``key``; different keys have different names."""
    return hashlib.sha256(_text(key).encode()).hexdigest()[:32]


def packages_digest(folders: Iterable[Path]) -> str:
    """sha256 over the file lists of all packages in ``folders``; "" where there are none."""
    total, seen = hashlib.sha256(), False
    for folder in folders:
        for record in sorted(folder.glob("*.dist-info/RECORD")):
            with contextlib.suppress(OSError):
                total.update(record.parent.name.encode() + b"\0" + record.read_bytes() + b"\0")
                seen = True
    return total.hexdigest() if seen else ""


def opened(root: str, key: Mapping[str, str]) -> tuple[str, bool]:
    """(the folder for ``key`` below ``root``, whether it has code of an earlier start).

    Raises OSError where the folder cannot be written, belongs to another user, or is being created by another
    pod.
    """
    base = Path(root)
    base.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder = base / folder_name(key)
    warm = _trusted(folder, key)
    if warm:
        touch(folder)
    else:
        # Checked once more: by now another pod may have put a good one there.
        if os.path.lexists(folder) and not _in_making(folder) and not _trusted(folder, key):
            _remove(folder)
        _make(folder, key)
    _sweep(base, keep=folder)
    return str(folder), warm


def touch(folder: Path) -> None:
    """Marks ``folder`` as in use, so that it is not removed as old. Raises OSError."""
    os.utime(folder / KEY_FILE)


def _make(folder: Path, key: Mapping[str, str]) -> None:
    """Creates the folder with its key in one step. If another pod has created it in between, that one
    stays.
    """
    fresh = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))  # open to this user alone
    try:
        (fresh / KEY_FILE).write_text(_text(key))
        os.rename(fresh, folder)  # takes the place of an empty folder, and of no other
    except OSError:
        shutil.rmtree(fresh, ignore_errors=True)
        if not _trusted(folder, key):
            raise


def _in_making(folder: Path) -> bool:
    status = folder.lstat()
    young = time.time() - status.st_mtime < IN_MAKING_SECONDS
    return stat.S_ISDIR(status.st_mode) and young and not (folder / KEY_FILE).exists()


def _trusted(folder: Path, key: Mapping[str, str]) -> bool:
    """Whether the folder is owned by this user, closed to others, and made for ``key``. Raises
    PermissionError if another user owns it.
    """
    try:
        status = folder.lstat()
    except FileNotFoundError:
        return False
    if not stat.S_ISDIR(status.st_mode):
        return False
    if status.st_uid != os.geteuid():
        raise PermissionError(f"{folder} belongs to user {status.st_uid}")
    folder.chmod(0o700)
    try:
        return bool(json.loads(read_theirs(folder / KEY_FILE, KEY_LIMIT_BYTES)) == dict(key))
    except (OSError, ValueError, RecursionError):
        return False


def _sweep(base: Path, *, keep: Path) -> None:
    """Removes folders below ``base`` that were unused for KEPT_SECONDS; errors are ignored."""
    with contextlib.suppress(OSError):
        for folder in base.iterdir():
            used = folder / KEY_FILE
            if folder != keep and used.is_file() and time.time() - used.stat().st_mtime > KEPT_SECONDS:
                shutil.rmtree(folder, ignore_errors=True)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()


def _text(key: Mapping[str, str]) -> str:
    return json.dumps(dict(key), sort_keys=True)
