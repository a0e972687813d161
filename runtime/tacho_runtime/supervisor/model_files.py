"""The model's files in the pod: waits for them, compares them with the plan, gives the engine their path.

Sizes and headers are compared, and every byte where the plan requires it; fetch has verified a hub's model
already.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path

from tacho_contract.failure import FailedError, FailureClass
from tacho_contract.fetch import FetchProgress
from tacho_contract.launch import PlannedModel
from tacho_contract.units import listed, part_of
from tacho_runtime.files import while_reading
from tacho_runtime.headers.digests import HashProgress, files_digest, full_digest, loaded, model_digest
from tacho_runtime.headers.source import FileEntry, FolderSource, changed, not_found
from tacho_runtime.supervisor import state_files

EMPTIED = "Something removed it after its download: delete the pod, so that it is downloaded again."


def engine_path(model: PlannedModel, root: str, *, fetched: bool = False) -> str:
    """The path of the model for the engine's command line. Raises FailedError(ModelNotFound).

    ``root``: the folder or file of the model. ``fetched``: whether this pod's fetch container brought it,
    which does so once.
    """
    path = Path(root)
    try:
        if path.is_dir():
            path = path / model.file
        why = "" if path.exists() else "does not exist"
    except OSError as error:
        why = f"cannot be seen: {error.strerror or error}"
    if why:
        correct = "Correct spec.model.uri or spec.model.files, or put the file there."
        raise not_found(f"{path} {why}.", EMPTIED if fetched else correct)
    return str(path)


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
            raise source.with_closed(
                changed(
                    f"The files in {root} have another content than was planned with; "
                    f"{_newest(source, chosen)}."
                )
            )


def _check_headers(model: PlannedModel, source: FolderSource, chosen: list[FileEntry]) -> None:
    if files_digest(chosen) != model.files_digest:
        names = listed([f"{entry.path} ({entry.size_bytes} bytes)" for entry in chosen], NAMES_SHOWN)
        raise source.with_closed(
            changed(
                f"{source.name} has other files than the {model.weights_bytes} bytes of the plan. Found: "
                f"{names or 'none of them'}."
            )
        )
    if model_digest(source, chosen) != model.headers_digest:
        raise changed(
            f"The files in {source.name} have the planned names and sizes, but other headers; "
            f"{_newest(source, chosen)}."
        )


def _newest(source: FolderSource, chosen: list[FileEntry]) -> str:
    """A clause with the file that was changed last."""
    try:
        newest = max(chosen, key=lambda entry: (source.folder / entry.path).stat().st_mtime, default=None)
    except OSError:
        return "they are being changed"
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

    def progress() -> None:
        if reading.total_bytes:
            say(f"verifying the model's content: {part_of(reading.done_bytes, reading.total_bytes)}")
        check_budget()

    try:
        await while_reading(partial(check_content, model, path, reading), progress)
    finally:
        reading.stopped.set()  # a thread cannot be cancelled
