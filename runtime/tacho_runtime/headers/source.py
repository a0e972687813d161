"""Access to a model's files in a folder or on a hub: lists them, reads parts, and defines the errors."""

from __future__ import annotations

import contextlib
import os
import re
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import BinaryIO, Protocol

from tacho_contract.failure import FailedError, FailureClass
from tacho_contract.pod import CACHE_FOLDER
from tacho_contract.units import listed
from tacho_runtime.files import open_theirs


def invalid(message: str, next_step: str = "") -> FailedError:
    """The error ModelInvalid, for files that are damaged or have another format than their name says."""
    return FailedError.of(
        FailureClass.MODEL_INVALID,
        message,
        next_step or "Download or convert the model again, or point spec.model at an intact copy.",
    )


def changed(message: str) -> FailedError:
    """The error ModelChanged, for intact files that differ from those in the plan."""
    return FailedError.of(FailureClass.MODEL_CHANGED, message)


def not_found(message: str, next_step: str) -> FailedError:
    return FailedError.of(FailureClass.MODEL_NOT_FOUND, message, next_step)


STORAGE = "Check the claim's storage, and that nothing changes the folder while it is read."
READABLE = "Make folders and files readable for any user id (chmod -R a+rX)."
FILE_LIMIT = 100_000
"""Most files a repository or folder may hold, as the Hugging Face Hub recommends for a repository."""
LOST_AND_FOUND = "lost+found"
"""Name of a folder at the top of a file system, into which its repair puts files that have lost theirs."""
ENTRY_LIMIT = 10 * FILE_LIMIT
"""Most entries of a folder that are looked at, hidden ones too: a neighbour may put millions there."""

_WEIGHTS = re.compile(r"\.(safetensors|gguf|bin|pt|pth|npz)$")
_READ_BY_ENGINES = re.compile(
    r"^[^/]*(config|token|vocab|merges|chat_template|params|tekken)[^/]*$"
    r"|^[^/]*\.(index\.json|model|tiktoken|jinja|py)$"
)


def is_read(path: str) -> bool:
    """Whether an engine reads the file of that name: weights, and known files of the top folder."""
    return bool(_WEIGHTS.search(path) or _READ_BY_ENGINES.match(path))


CHUNK_BYTES = 4 * 1024**2
"""Bytes per read of a file that is read whole, and of what is read in pieces."""

Read = Callable[[int, int], bytes]
"""``read(start, length)``: at most ``length`` bytes of one file; fewer only at its end."""


def pieces(read: Read, start: int, end: int) -> Iterator[bytes]:
    """The bytes of a file from ``start`` to ``end``, in pieces. Raises FailedError where it ends before."""
    for at in range(start, end, CHUNK_BYTES):
        piece = read(at, min(CHUNK_BYTES, end - at))
        if len(piece) < min(CHUNK_BYTES, end - at):
            raise invalid(f"the file ended at byte {at + len(piece)} of {end}: it is cut short.")
        yield piece


@dataclass(frozen=True, slots=True)
class FileEntry:
    """One file of a model: its path relative to the model's folder, with ``/``, and its size."""

    path: str
    size_bytes: int


class ModelSource(Protocol):
    """A place with a model's files, which can be listed and read in parts. Its methods raise FailedError
    only."""

    commit: str
    """Commit that the revision resolved to; "" for folders."""

    def files(self) -> tuple[FileEntry, ...]:
        """All files, sorted by path."""

    def read(self, path: str, start: int, length: int) -> bytes:
        """Reads at most ``length`` bytes from ``start``; fewer only at the file's end."""


def model_files(
    folder: Path, *, every: bool = False, closed: Callable[[str], None] = lambda _: None
) -> Iterator[Path]:
    """Every file below ``folder`` that may belong to a model, in no order. Raises FailedError above
    ENTRY_LIMIT entries, and OSError, as where ``folder`` may not be read. Also pipes, sockets and devices.

    Left out, unless ``every`` file is wanted: hidden files (a repository's own, NFS's .nfs* of removed files
    that are still open), and files that engines compile and convert beside the model. Both come and go while
    the model stays the same. ``closed`` is called with each folder below that may not be read, except
    ``lost+found`` at the top. Folders that vanish or fail otherwise are passed over.
    """
    pending, seen = [str(folder)], 0
    while pending:
        at = pending.pop()
        try:
            found = os.scandir(at)
        except OSError as error:
            if at == str(folder):
                raise
            # A volume's own lost+found is root's, and holds no model.
            if isinstance(error, PermissionError) and at != os.path.join(folder, LOST_AND_FOUND):
                closed(at)
            continue
        with found as entries:
            for entry in entries:
                seen += 1
                if seen > ENTRY_LIMIT:
                    raise invalid(
                        f"{folder} holds more than {ENTRY_LIMIT:,} entries, the most that tacho reads.",
                        "Point spec.model.uri at the model's own folder, or empty the cache.",
                    )
                if entry.name.startswith(".") and not every:
                    continue
                if entry.is_dir(follow_symlinks=False):
                    pending += [entry.path] if every or entry.name != CACHE_FOLDER else []
                elif not (path := Path(entry.path)).is_dir() and path.exists():
                    yield path


class FolderSource:
    """A folder, or a single file, on this machine: pvc:// as mounted, and file://."""

    commit = ""

    def __init__(self, path: Path, *, name: str, confined_to: Path | None = None) -> None:
        """``name``: the folder's name in messages. ``confined_to``: the claim, which links must not leave."""
        self.name = name
        self._closed: list[str] = []
        """Folders below that may not be read, so that no file of theirs is listed."""
        self._confined_to = confined_to.resolve() if confined_to else None
        try:
            mode = path.stat().st_mode
        except OSError as error:
            raise self._absent(path, error) from None
        self.single_file = stat.S_ISREG(mode)
        if not self.single_file and not stat.S_ISDIR(mode):
            raise invalid(f"{name} is neither a file nor a folder.")
        self.folder = path.parent if self.single_file else path
        self._only = path.name if self.single_file else ""

    def _absent(self, path: Path, error: OSError) -> FailedError:
        if isinstance(error, PermissionError):
            return self._unreadable("found", error)
        try:
            with os.scandir(path.parent) as entries:
                there = sorted(entry.name for entry in islice(entries, ENTRY_LIMIT))
        except OSError:
            there = []
        around = f" There is: {listed(there)}." if there else " The folder above it is missing or empty."
        return not_found(
            f"{self.name} does not exist ({error.strerror}).{around}",
            "Correct spec.model.uri, or put the model there.",
        )

    def files(self) -> tuple[FileEntry, ...]:
        try:
            return self._files()
        except OSError as error:  # such as a file that a neighbour removed meanwhile
            raise self._unreadable("listed", error) from None

    def _files(self) -> tuple[FileEntry, ...]:
        if self._only:
            return (self._entry(self.folder / self._only, self._only),)
        found: list[FileEntry] = []
        self._closed.clear()
        for path in model_files(self.folder, closed=self._closed.append):
            relative = path.relative_to(self.folder).as_posix()
            if path.is_file():
                found.append(self._entry(path, relative))
            elif is_read(relative):
                raise invalid(
                    f"{self.name}/{relative} is a pipe, socket or device; an engine would wait for it.",
                    "Remove it, or put the model's file in its place.",
                )
            if len(found) > FILE_LIMIT:
                raise invalid(
                    f"{self.name} holds more than {FILE_LIMIT:,} files, the most that tacho reads.",
                    "Point spec.model.uri at the model's own folder.",
                )
        return tuple(sorted(found, key=lambda entry: entry.path))

    def _entry(self, path: Path, relative: str) -> FileEntry:
        if self._confined_to and not path.resolve().is_relative_to(self._confined_to):
            raise invalid(
                f"{self.name}/{relative} links to a place outside of the claim.", "Remove the link."
            )
        return FileEntry(relative, path.stat().st_size)

    def with_closed(self, error: FailedError) -> FailedError:
        """``error`` of files that are missing, with the folders below that may not be read.

        Which of them the model needs is not known.
        """
        if not self._closed:
            return error
        names = listed(sorted(os.path.relpath(at, self.folder) for at in self._closed), 4)
        step = error.failure.next_step
        return FailedError(
            replace(
                error.failure,
                message=f"{error.failure.message} Folders that cannot be read: {names}.",
                next_step=f"{READABLE} If the model is not in them: {step[:1].lower()}{step[1:]}",
            )
        )

    def read(self, path: str, start: int, length: int) -> bytes:
        with self._readable(path) as file:
            file.seek(start)
            return file.read(length)

    def chunks(self, path: str) -> Iterator[bytes]:
        """The bytes of a whole file, in chunks that are small enough for any container."""
        with self._readable(path) as file:
            while chunk := file.read(CHUNK_BYTES):
                yield chunk

    @contextlib.contextmanager
    def _readable(self, path: str) -> Iterator[BinaryIO]:
        try:
            with open_theirs(self.folder / path, follow=True) as file:
                yield file
        except OSError as error:
            raise self._unreadable("read", error, f"/{path}") from None

    def _unreadable(self, how: str, error: OSError, path: str = "") -> FailedError:
        step = READABLE if isinstance(error, PermissionError) else STORAGE
        return invalid(f"{self.name}{path} cannot be {how}: {error.strerror or error}.", step)
