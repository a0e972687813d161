"""Which path the engine is given: one file for a GGUF model, else the folder.

Paths are checked here because an engine's own words about a missing file are seldom helpful.
"""

from __future__ import annotations

import re
from fnmatch import fnmatch
from itertools import islice
from pathlib import Path

from tacho_contract.failure import FailedError, Failure, FailureClass
from tacho_contract.launch import RuntimeConfig
from tacho_contract.units import listed
from tacho_engines.shared.files import FilesWanted
from tacho_runtime.headers.source import model_files

GGUF_MAGIC = b"GGUF"
LFS_POINTER = b"version https://git-lfs"
SCAN_LIMIT = 10_000
_SHARD = re.compile(r"-(?P<index>\d{5})-of-(?P<count>\d{5})\.gguf$")


def engine_path(config: RuntimeConfig, wanted: FilesWanted, root: str) -> str:
    """What stands for the model on the engine's command line.

    ``root`` is the folder or file the model is in; ``wanted`` what the engine loads of it.
    Raises FailedError(ModelNotFound | ModelInvalid).
    """
    path = Path(root)
    _check_exists(path)
    if not wanted.one_file and not config.model_file:
        if config.files and path.is_dir():
            _matching(path, config.files)
        return str(path)
    if path.is_dir():
        globs = config.files or ("*.gguf",)
        path = path / config.model_file if config.model_file else _only_gguf(path, globs)
    _check_exists(path)
    for shard in _shards(path):
        _check_gguf(shard)
    return str(path)


def _check_exists(path: Path) -> None:
    try:
        if path.exists():
            return
        why = "does not exist"
    except OSError as error:
        why = f"cannot be seen: {error.strerror or error}"
    raise FailedError(_not_found(f"{path} {why}; {_contents(path.parent)}"))


def _matching(folder: Path, globs: tuple[str, ...]) -> list[Path]:
    """The files below ``folder`` that a glob selects, by the path relative to it or by the name."""
    found = []
    for path in sorted(islice(model_files(folder), SCAN_LIMIT)):
        relative = path.relative_to(folder).as_posix()
        if any(fnmatch(relative, glob) or fnmatch(path.name, glob) for glob in globs):
            found.append(path)
    if not found:
        wanted = ", ".join(globs)
        raise FailedError(_not_found(f"no file in {folder} matches {wanted}; {_contents(folder)}"))
    return found


def _only_gguf(folder: Path, globs: tuple[str, ...]) -> Path:
    """The one GGUF model in ``folder``; of a split one the first part."""
    found = [path for path in _matching(folder, globs) if path.suffix == ".gguf"]
    models = [path for path in found if (part := _SHARD.search(path.name)) is None or int(part["index"]) == 1]
    if len(models) == 1:
        return models[0]
    if not models:
        names = listed([path.name for path in found])
        raise FailedError(_not_found(f"{folder} has no GGUF file, or not the first part of one: {names}"))
    names = listed([path.relative_to(folder).as_posix() for path in models])
    raise FailedError(
        Failure(
            failure_class=FailureClass.MODEL_INVALID,
            message=f"{len(models)} GGUF files match, one is wanted: {names}",
            next_step="name one in spec.model.files, for instance a glob such as *Q4_K_M.gguf",
        )
    )


def _shards(first: Path) -> list[Path]:
    """All parts of a split model, or the file itself."""
    part = _SHARD.search(first.name)
    if part is None:
        return [first]
    stem, count = first.name[: part.start()], int(part["count"])
    shards = [first.with_name(f"{stem}-{index:05d}-of-{count:05d}.gguf") for index in range(1, count + 1)]
    missing = [shard.name for shard in shards if not shard.exists()]
    if missing:
        there = count - len(missing)
        raise FailedError(
            _not_found(f"{first.parent} has {there} of {count} parts; missing: {listed(missing)}")
        )
    return shards


def _check_gguf(path: Path) -> None:
    """The file can be read and begins as a GGUF file does."""
    try:
        with path.open("rb") as file:
            head = file.read(len(LFS_POINTER))
        size_bytes = path.stat().st_size
    except OSError as error:
        raise FailedError(_not_found(f"{path} cannot be read: {error.strerror or error}")) from None
    if head.startswith(GGUF_MAGIC):
        return
    what = f"not a GGUF file (it begins with {head[:8]!r})"
    if head == LFS_POINTER:
        what = "a Git LFS pointer, not the file itself"
    raise FailedError(
        Failure(
            failure_class=FailureClass.MODEL_INVALID,
            message=f"{path} ({size_bytes} bytes) is {what}",
            next_step="copy or download the model again",
        )
    )


def _not_found(message: str) -> Failure:
    return Failure(
        failure_class=FailureClass.MODEL_NOT_FOUND,
        message=message,
        next_step="correct spec.model.uri or the globs in spec.model.files, or put the file there",
    )


def _contents(folder: Path) -> str:
    try:
        names = sorted(path.name for path in folder.iterdir())
    except OSError:
        return f"{folder} cannot be listed"
    return f"{folder} holds {listed(names)}" if names else f"{folder} is empty"
