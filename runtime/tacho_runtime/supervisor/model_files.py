"""The model's files in the pod: waits for them, compares them with the plan, gives the engine their path.

Sizes and headers are compared, and every byte where the plan requires it; fetch has verified a hub's model
already. Paths are checked here because an engine's own message about a missing file is seldom helpful.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from fnmatch import fnmatch, fnmatchcase
from itertools import islice
from pathlib import Path

from tacho_contract.failure import FailedError, Failure, FailureClass
from tacho_contract.fetch import FetchProgress
from tacho_contract.launch import PlannedModel
from tacho_contract.units import listed, part_of
from tacho_engines.run_parts import LoadableFiles
from tacho_runtime.headers.digests import HashProgress, files_digest, full_digest, loaded, model_digest
from tacho_runtime.headers.source import FileEntry, FolderSource, changed, model_files
from tacho_runtime.supervisor import state_files

GGUF_MAGIC = b"GGUF"
LFS_POINTER = b"version https://git-lfs"
SCAN_LIMIT = 10_000
_SHARD = re.compile(r"-\d{5}-of-(?P<count>\d{5})\.gguf$")


def engine_path(model: PlannedModel, desired: LoadableFiles, root: str) -> str:
    """The path of the model for the engine's command line. Raises FailedError(ModelNotFound | ModelInvalid).

    ``root``: the folder or file of the model. ``desired``: which kind of files the engine loads.
    """
    path = Path(root)
    _check_exists(path)
    if not desired.one_file and not model.file:
        if model.globs and path.is_dir():
            _check_matching(path, model.globs)
        return str(path)
    if path.is_dir():
        path = path / model.file
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


def _check_matching(folder: Path, globs: tuple[str, ...]) -> None:
    """Checks that ``globs`` match at least one file below ``folder``, by its relative path or its name."""
    for path in islice(model_files(folder), SCAN_LIMIT):
        names = (path.relative_to(folder).as_posix(), path.name)
        if any(fnmatch(name, glob) for name in names for glob in globs):
            return
    raise FailedError(_not_found(f"no file in {folder} matches {', '.join(globs)}; {_contents(folder)}"))


def _shards(first: Path) -> list[Path]:
    """All parts of a split model; for any other file, the file itself."""
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
    """Checks that the file can be read and begins like a GGUF file."""
    if path.exists() and not path.is_file():  # a pipe would be waited for
        raise FailedError(_not_found(f"{path} is no file"))
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
    raise FailedError.of(
        FailureClass.MODEL_INVALID,
        f"{path} ({size_bytes} bytes) is {what}",
        "copy or download the model again",
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


NAMES_SHOWN = 6


def check_content(model: PlannedModel, root: str, reading: HashProgress | None = None) -> None:
    """Compares the model's files with the plan. Raises FailedError(ModelChanged | ModelNotFound |
    ModelInvalid).

    Without ``model.content_digest`` only headers are read, however large the files are: a file whose weights
    alone were replaced, with the same size and header, passes. A ``reading`` that is stopped passes too.
    """
    if not model.headers_digest and not model.content_digest:
        return
    source = FolderSource(Path(root), name=root)
    chosen = [entry for entry in source.files() if any(fnmatchcase(entry.path, glob) for glob in model.globs)]
    if model.headers_digest:  # without one, all files count
        chosen = list(loaded(chosen))
        _check_headers(model, source, chosen)
    if model.content_digest:
        reading = reading or HashProgress()
        found = full_digest(source, chosen, reading)
        if found != model.content_digest and not reading.stopped.is_set():
            raise changed(
                f"The files in {root} have another content than was planned with; {_newest(source, chosen)}."
            )


def _check_headers(model: PlannedModel, source: FolderSource, chosen: list[FileEntry]) -> None:
    if files_digest(chosen) != model.files_digest:
        names = listed([f"{entry.path} ({entry.size_bytes} bytes)" for entry in chosen], NAMES_SHOWN)
        raise changed(
            f"{source.name} holds other files than were planned with ({model.weights_bytes} bytes in all): "
            f"{names or 'none of them'}."
        )
    if model_digest(source, chosen) != model.headers_digest:
        raise changed(
            f"The files in {source.name} have the planned names and sizes, but other headers; "
            f"{_newest(source, chosen)}."
        )


def _newest(source: FolderSource, chosen: list[FileEntry]) -> str:
    """A clause with the file that was changed last."""
    newest = max(chosen, key=lambda entry: (source.folder / entry.path).stat().st_mtime, default=None)
    return f"the newest is {newest.path}" if newest else "none of them is there"


POLL_SECONDS = 0.5


async def model_root(
    model: PlannedModel,
    fetch_dir: str,
    report: Callable[[FetchProgress | None], None],
    check_budget: Callable[[], None],
) -> str:
    """Waits until the model is complete, and returns its folder or file.

    ``report`` is called again and again with the download's progress. Raises FailedError, and what
    ``check_budget`` raises.
    """
    path = model.path
    if fetch_dir:
        fetched = await _fetched(fetch_dir, report, check_budget)
        path = path or fetched
    if not path:
        raise FailedError.of(
            FailureClass.INVALID_CONFIG,
            f"fetch is complete but names no folder in {fetch_dir}",
            "use a runtime and a fetch image of the same release: delete the pod",
        )
    return path


async def _fetched(
    fetch_dir: str, report: Callable[[FetchProgress | None], None], check_budget: Callable[[], None]
) -> str:
    while True:
        path = state_files.fetched_path(fetch_dir)
        report(state_files.read_progress(fetch_dir))
        if path is not None:
            return path
        check_budget()
        await asyncio.sleep(POLL_SECONDS)


async def compare_with_plan(
    model: PlannedModel, path: str, say: Callable[[str], None], check_budget: Callable[[], None]
) -> None:
    """Compares the files at ``path`` with the plan. Raises FailedError, and what ``check_budget`` raises."""
    reading = HashProgress()
    comparing = asyncio.ensure_future(asyncio.to_thread(check_content, model, path, reading))
    try:
        while not comparing.done():
            await asyncio.wait({comparing}, timeout=POLL_SECONDS)
            if reading.total_bytes and not comparing.done():
                done = part_of(reading.done_bytes, reading.total_bytes)
                say(f"verifying the model's content: {done}")
                check_budget()
        comparing.result()
    finally:
        reading.stopped.set()  # a thread cannot be cancelled
