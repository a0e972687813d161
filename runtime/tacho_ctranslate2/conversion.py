"""The folder that CTranslate2 loads: the model as it is, a cached conversion, or a new one.

A conversion is complete or absent, also where two pods convert at a time.

    CACHE/ctranslate2/KEY            the model, with conversion.json that lists its files
    CACHE/ctranslate2/KEY.lock       held while it is made
    CACHE/ctranslate2/KEY.part-XXXX  being made; renamed when every byte is on the disk
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tacho_ctranslate2.convert import convert
from tacho_ctranslate2.model_folder import CONVERTED, converted_bytes, is_converted, source_key
from tacho_server.errors import LoadError

PROGRAM = "tacho-ctranslate2"
FOLDER = "ctranslate2"
MARKER = "conversion.json"
MARKER_LIMIT_BYTES = 1024**2
"""Bytes that are read of it: others who use the cache may have written it."""

Make = Callable[[Path], None]
"""Function that converts the model into the given folder, which does not exist yet. Raises LoadError."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConversionPlan:
    """The model to serve, and how it is converted."""

    source: Path
    quantization: str
    """CTranslate2's name of the compute type; "": the model is already converted."""
    cache: Path
    """Folder of converted models."""
    trust_remote_code: bool = False


def check(plan: ConversionPlan) -> None:
    """Raises LoadError for a model that is not converted where no type is named to convert it to."""
    if not plan.quantization and not is_converted(plan.source):
        message = f"{plan.source} has no {CONVERTED} and no --quantization to convert it to"
        raise LoadError("InvalidConfig", message, "set quantization.method to none, ct2-int8 or another")


def prepared(plan: ConversionPlan, version: str) -> Path:
    """The folder with the model in CTranslate2's format. Blocks while it is converted. Raises LoadError."""
    if is_converted(plan.source):
        print(f"{PROGRAM}: the model is converted already", flush=True)
        return plan.source
    begin = time.monotonic()

    def make(target: Path) -> None:
        print(f"{PROGRAM}: converting to {plan.quantization}", flush=True)
        convert(plan.source, target, plan.quantization, trust_remote_code=plan.trust_remote_code)

    found = ensure(plan.source, plan.cache, plan.quantization, version, make)
    how = "found converted in the cache" if found.cached else "converted"
    print(f"{PROGRAM}: {how} after {time.monotonic() - begin:.3f} s", flush=True)
    return found.folder


@dataclass(frozen=True, slots=True, kw_only=True)
class Converted:
    """A model that CTranslate2 can load: its folder, complete, and whether it was converted before."""

    folder: Path
    cached: bool
    """Whether the converted model was already in the cache."""


def ensure(source: Path, cache: Path, quantization: str, version: str, make: Make) -> Converted:
    """The conversion of ``source`` in the cache; where there is none, ``make`` converts it. Raises
    LoadError."""
    root, key = cache / FOLDER, source_key(source, quantization, version)
    try:
        with _opened(cache) as held_cache, _opened(held_cache / FOLDER) as held_root:
            place = held_root / key
            if is_whole(place):
                return Converted(folder=root / key, cached=True)
            with _lock(place.with_suffix(".lock")) as held:
                if is_whole(place):  # made by another while this one waited
                    return Converted(folder=root / key, cached=True)
                if held:
                    _remove_leftovers(place)
                _require_space(held_root, converted_bytes(source, quantization))
                _make_model(place, make)
    except NotADirectoryError:
        message = f"{cache}, or {FOLDER} in it, is a link, or no folder"
        raise LoadError("InvalidConfig", message, "remove it") from None
    except OSError as error:
        raise _disk_problem(cache, error) from None
    return Converted(folder=root / key, cached=False)


@contextlib.contextmanager
def _opened(folder: Path) -> Iterator[Path]:
    """Context manager with a path to this very folder, made where it is missing, whatever others put in its
    place meanwhile. Raises OSError for a link.
    """
    with contextlib.suppress(FileExistsError):
        folder.mkdir(parents=True)
    handle = os.open(folder, os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        yield Path(f"/proc/{os.getpid()}/fd/{handle}")  # not self: the converter, a child, writes there too
    finally:
        os.close(handle)


def is_whole(place: Path) -> bool:
    """Whether every file that the conversion wrote is in ``place`` with its size."""
    try:
        with open(place / MARKER, "rb", opener=_open_theirs) as file:
            files = json.loads(file.read(MARKER_LIMIT_BYTES))["files"]
        return bool(files) and all((place / name).stat().st_size == size for name, size in files.items())
    except (OSError, ValueError, KeyError, AttributeError, TypeError, RecursionError):
        return False


def _open_theirs(name: str, flags: int) -> int:
    """Opens without following a link, and without waiting for a pipe."""
    return os.open(name, flags | os.O_NOFOLLOW | os.O_NONBLOCK, 0o666)


def _make_model(place: Path, make: Make) -> None:
    scratch = Path(tempfile.mkdtemp(prefix=f"{place.name}.part-", dir=place.parent))
    try:
        with _opened(scratch) as folder:
            made = folder / "model"
            make(made)
            files = {path.name: path.stat().st_size for path in sorted(made.iterdir())}
            with open(made / MARKER, "x", encoding="utf-8") as file:
                json.dump({"files": files}, file)
            for path in (*made.iterdir(), made):
                _to_disk(path)
            _put_model(made, place)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _put_model(made: Path, place: Path) -> None:
    """Moves the new folder to ``place`` in one step. If another process was faster, its model stays."""
    made.chmod(0o755)
    if place.exists() and not is_whole(place):
        shutil.rmtree(place)
    try:
        made.rename(place)
    except OSError:
        if not is_whole(place):
            raise
    _to_disk(place.parent)


def _to_disk(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextlib.contextmanager
def _lock(path: Path) -> Iterator[bool]:
    """Context manager that waits until no other process converts the same model; yields whether the file
    system has locks.

    Without locks the final rename still keeps the result complete. The kernel releases the lock of a killed
    process.
    """
    handle = _open_theirs(str(path), os.O_RDWR | os.O_CREAT)
    held = True
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"{PROGRAM}: another process converts this model; waiting for it", flush=True)
            fcntl.flock(handle, fcntl.LOCK_EX)
    except OSError:  # the file system has none, or lost them meanwhile
        held = False
    try:
        yield held
    finally:
        os.close(handle)


def _remove_leftovers(place: Path) -> None:
    """Removes partial results of conversions that were killed. The caller holds the lock, so no other
    conversion runs."""
    for left in place.parent.glob(f"{place.name}.part-*"):
        shutil.rmtree(left, ignore_errors=True)


def _require_space(folder: Path, needed_bytes: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < needed_bytes:
        message = f"the converted model needs about {_mib(needed_bytes)} in {folder}, {_mib(free)} are free"
        raise LoadError(
            "DiskFull", message, "give the cache volume or the pod's ephemeral storage more space"
        )


def _disk_problem(cache: Path, error: OSError) -> LoadError:
    message = f"the converted model cannot be written to {cache}: {error.strerror or error}"
    kind = "DiskFull" if error.errno in _FULL else "InvalidConfig"
    step = "give it more space" if kind == "DiskFull" else "make the cache writable for the pod's user"
    return LoadError(kind, message, step)


_FULL = (28, 122)
"""Error numbers of a full disk: ENOSPC, EDQUOT."""


def _mib(count: int) -> str:
    return f"{count / 1024**2:.0f} MiB"
