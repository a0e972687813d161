"""The cache folder of a hub's models: whole files, partial files, and which of them are verified.

The layout is huggingface_hub's: ``hub/models--ORG--NAME/blobs/ETAG`` is a file's content,
``snapshots/COMMIT/PATH`` a link to it. Verified files are listed next to the cache, so that a later pod need
not read a hundred gigabytes again. A file stays verified while its size and its modification time stay.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import stat
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from tacho_contract.fetch import snapshot_dir
from tacho_runtime.files import open_theirs, opened_below, read_theirs, replace_file
from tacho_runtime.headers.source import ENTRY_LIMIT, FileEntry, invalid, model_files

LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class VerifiedFile:
    """A file whose content was verified: its size, modification time and digest at that time."""

    size_bytes: int
    modified_ns: int
    digest: str
    """Digest as the hub lists it: sha256 of a large file, git's blob id of a small file."""


class VerifiedFiles:
    """The list of verified files of one repository at one commit of one hub, in a file below ``cache_dir``.
    Used by several threads."""

    def __init__(self, cache_dir: str, repository: str, commit: str, hub: str = "") -> None:
        self._cache_dir, self._names = Path(cache_dir), ("verified", repository)
        self.name = f"{commit}-{hashlib.sha256(hub.encode()).hexdigest()[:16]}"
        self._file = f"{self.name}.json"
        self.folder = self._cache_dir.joinpath(*self._names)
        self._lock = threading.Lock()
        self._seals = _read_verified(self.folder / self._file)
        self._is_new = not (self.folder / self._file).exists()
        self.others = self._others()
        """Whether another hub brought files of this commit: it may have listed other digests for them."""
        self._due, self._is_stored = 0.0, True

    def holds(self, name: str, file: Path, digest: str = "") -> bool:
        """Whether ``file`` was verified (with ``digest``, where that is known) and has not changed since."""
        seal = self._seals.get(name)
        if seal is None or (digest and seal.digest != digest):
            return False
        try:
            status = file.stat()
        except OSError:
            return False
        return (status.st_size, status.st_mtime_ns) == (seal.size_bytes, seal.modified_ns)

    def note(self, name: str, before: os.stat_result, digest: str) -> None:
        """Adds a verified file with its ``digest``; ``before``: its size and time before it was read."""
        with self._lock:
            self._seals[name] = VerifiedFile(before.st_size, before.st_mtime_ns, digest)
            self._is_stored = False
            if time.monotonic() >= self._due:  # all of it is written, which takes long for thousands of files
                self._write()
                self._due = time.monotonic() + WRITE_SECONDS

    def _others(self) -> bool:
        commit = self.name.partition("-")[0]
        with contextlib.suppress(OSError), os.scandir(self.folder) as entries:
            names = (entry.name for entry in islice(entries, ENTRY_LIMIT))
            return any(name.startswith(commit) and name != self._file for name in names)
        return False

    def comes_later(self) -> bool:
        """Whether another hub brought files of this commit first: its folder stays as it is."""
        own = (self._cache_dir / "hub" / self._names[1] / "snapshots" / self.name).is_dir()
        return own or (self.others and not (self.folder / self._file).exists())

    def begin(self) -> bool:
        """Writes the list before the first file of its hub is there. Returns whether another hub came first,
        or at the same time."""
        with self._lock:
            self._write()
        self.others = self._others()
        return (self._is_new and self.others) or self.comes_later()

    def store(self) -> None:
        """Writes the files added since the last call to disk."""
        with self._lock:
            if not self._is_stored:
                self._write()

    def _write(self) -> None:
        self._is_stored = True
        text = json.dumps(
            {name: [s.size_bytes, s.modified_ns, s.digest] for name, s in sorted(self._seals.items())}
        )
        try:
            with opened_below(self._cache_dir, *self._names) as folder:
                replace_file(folder / self._file, text)
        except OSError as error:
            # A cache that is mounted read-only: its files are hashed again next time.
            LOG.warning("%s cannot be written: %s", self.folder / self._file, error.strerror)


WRITE_SECONDS = 1.0
"""Seconds between two writes of the list of verified files."""
LIST_LIMIT_BYTES = 64 * 1024 * 1024
"""Longest list of verified files in bytes. 100,000 files of usual names take 18 MB."""


def _read_verified(path: Path) -> dict[str, VerifiedFile]:
    """The verified files by name; empty where the list is missing or invalid. Other users of the cache may
    have written it.
    """
    try:
        found: dict[str, Any] = json.loads(read_theirs(path, LIST_LIMIT_BYTES))
        return {
            name: VerifiedFile(int(size), int(time), str(digest))
            for name, (size, time, digest) in found.items()
        }
    except (OSError, ValueError, TypeError, AttributeError, OverflowError, RecursionError):
        return {}


STRAY_AGE_SECONDS = 600
"""Age in seconds since the last write from which a partial file belongs to a process that has ended."""
HASH_PIECE_BYTES = 8 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class DownloadTarget:
    """One file to download: its path in the repository, its size, and its digest."""

    path: str
    size_bytes: int
    etag: str
    """The hub's digest: sha256 of a large file, git's blob id of a small one. Most hubs use it as ETag."""


class HubCache:
    """The files of one repository at one commit, in the folder ``cache_dir``. ``hub``: its address."""

    def __init__(self, cache_dir: str, repository: str, commit: str, hub: str = "") -> None:
        self.root = Path(cache_dir, "hub")
        self.path = Path(snapshot_dir(cache_dir, repository, commit))
        self.storage = self.path.parent.parent
        self.blobs = self.storage / "blobs"
        self.locks = self.root / ".locks" / self.storage.name
        self._strays = self._partials()
        self.hashed_bytes = 0
        """Bytes of cached files read from disk so far to verify their hash."""
        self.verified = VerifiedFiles(cache_dir, self.storage.name, commit, hub)
        if self.verified.comes_later():  # an engine of another hub's resource may load its files again
            self.path = self.path.with_name(self.verified.name)
        self.snapshot = self.path
        self._held = contextlib.ExitStack()

    def check_confined(self) -> None:
        """Raises FailedError where links lead from the cache's folders out of the cache.

        Other users of a shared claim may create such links.
        """
        cache_dir = os.path.realpath(self.root.parent)
        for place in (self.storage / "blobs", self.path, self.root / ".locks", self.verified.folder):
            if not Path(os.path.realpath(place)).is_relative_to(cache_dir):
                raise invalid(f"{place} links to a place outside of the cache.", "Remove the link.")

    def hold(self) -> None:
        """Opens the folders that a download writes to, made where they are missing.

        From now on their paths lead through descriptors, not to what others put in their place. Raises
        OSError where one is a link.
        """
        self.root.parent.mkdir(parents=True, exist_ok=True)
        if self.verified.begin():
            self.snapshot = self.path = self.path.with_name(self.verified.name)
        self.blobs, self.locks, self.snapshot = (
            self._held.enter_context(
                opened_below(self.root.parent, *folder.relative_to(self.root.parent).parts)
            )
            for folder in (self.blobs, self.locks, self.snapshot)
        )
        self._strays = self._partials()

    def release(self) -> None:
        """Closes the folders that ``hold`` opened; none of this cache's paths leads anywhere then."""
        self._held.close()

    @contextlib.contextmanager
    def pointer(self, path: str) -> Iterator[Path]:
        """Context manager with the place of the file ``path`` in the snapshot, through its opened folder."""
        *folders, name = path.split("/")
        with opened_below(self.snapshot, *folders) as folder:
            yield folder / name

    def supports_links(self) -> bool:
        """Whether the cache's file system supports symbolic links, and they are not disabled."""
        from huggingface_hub import constants

        if constants.HF_HUB_DISABLE_SYMLINKS:
            return False
        probe = self.blobs / f"{uuid.uuid4().hex}.link"
        try:
            probe.symlink_to("nowhere")
        except OSError:
            return False
        probe.unlink()
        return True

    def whole(self, target: DownloadTarget) -> bool:
        """Whether the file is on disk with its full size."""
        return _size(self.snapshot / target.path) == target.size_bytes

    def is_intact(self, target: DownloadTarget) -> bool:
        """Whether the file's content has the expected digest. Reads the whole file unless it was verified
        before."""
        return self._is_intact(target.path, target.etag)

    def is_intact_by_name(self, path: str) -> bool:
        """Whether the file's content is right, without asking a hub: its blob is named by its digest.

        False where the name is no digest, and where another hub may have named it.
        """
        file = self.snapshot / path
        if self.verified.holds(path, file):
            return True
        if self.verified.others:
            return False
        return file.is_symlink() and is_digest(name := file.resolve().name) and self._is_intact(path, name)

    def _is_intact(self, path: str, digest: str) -> bool:
        file = self.snapshot / path
        if self.verified.holds(path, file, digest):
            return True
        before = file.stat()
        if not content_matches(file, digest, self._count_hashed):
            return False
        self.verified.note(path, before, digest)
        return True

    def _count_hashed(self, size_bytes: int) -> None:
        self.hashed_bytes += size_bytes  # shown, not decided by: two threads may lose one another's piece

    def drop(self, target: DownloadTarget) -> None:
        """Removes a file with its content, so that it is downloaded from the beginning."""
        with self.pointer(target.path) as pointer:
            folder, blob = os.path.split(os.path.realpath(pointer))
            pointer.unlink(missing_ok=True)
        for name in {target.etag, blob} if folder == os.path.realpath(self.blobs) else {target.etag}:
            self._discard(self.blobs / name)

    def _discard(self, blob: Path) -> None:
        """Removes a blob, unless it is what its name says: whatever this hub lists, another's may use it."""
        if not (_size(blob) >= 0 and content_matches(blob, blob.name, self._count_hashed)):
            blob.unlink(missing_ok=True)

    def partial(self, etag: str) -> Path:
        """Path of the partial file in which a download continues.

        The client's own partial files get random names, so they could not be found again.
        """
        return self.blobs / f"{etag}.incomplete"

    def present(self, targets: Iterable[DownloadTarget]) -> dict[str, int]:
        """Bytes on disk by file: of the whole file, or of the larger of its partial files."""
        partials = self._partials()
        return {target.path: self._present_bytes(target, partials.get(target.etag, [])) for target in targets}

    def _present_bytes(self, target: DownloadTarget, partials: list[Path]) -> int:
        if self.whole(target) or _size(self.blobs / target.etag) == target.size_bytes:
            return target.size_bytes
        # The client may reserve a file's full size at once: only blocks that are written count.
        others = [_written(path) for path in partials]
        return min(target.size_bytes, max([max(_size(self.partial(target.etag)), 0), *others]))

    def _partials(self) -> dict[str, list[Path]]:
        """Partial files that the hub client named, by digest. All are listed at once, as a listing per file
        would take minutes.
        """
        found: dict[str, list[Path]] = {}
        with contextlib.suppress(OSError), os.scandir(self.blobs) as entries:
            for entry in islice(entries, ENTRY_LIMIT):
                digest, *middle = entry.name.removesuffix(".incomplete").split(".")
                if middle and entry.name.endswith(".incomplete"):
                    found.setdefault(digest, []).append(Path(entry.path))
        return found

    def link(self, path: str, blob: Path) -> None:
        """Makes ``path`` of the snapshot a link to ``blob``."""
        fresh = self.blobs / f"{blob.name}.{uuid.uuid4().hex[:8]}.link"
        with self.pointer(path) as pointer:
            fresh.symlink_to("../" * (path.count("/") + 2) + f"blobs/{blob.name}")
            os.replace(fresh, pointer)

    def drop_strays(self, etag: str) -> None:
        """Removes partial files of killed processes, and other files that belong to no download.

        Called while the file's lock is held.
        """
        with contextlib.suppress(FileNotFoundError):
            status = self.partial(etag).lstat()
            if not stat.S_ISREG(status.st_mode) or status.st_nlink > 1:
                self.partial(etag).unlink()
        for path in self._strays.pop(etag, []):
            if _age_seconds(path) > STRAY_AGE_SECONDS:
                path.unlink(missing_ok=True)

    def drop_damaged(self, target: DownloadTarget) -> None:
        """Removes a file of the wrong size, so that it is downloaded again."""
        if not self.whole(target):
            with self.pointer(target.path) as pointer:
                pointer.unlink(missing_ok=True)
        blob = self.blobs / target.etag
        if os.path.lexists(blob) and _size(blob) != target.size_bytes:
            self._discard(blob)

    def entries(self) -> tuple[FileEntry, ...]:
        """The files of the snapshot that are on disk, with their sizes."""
        if not self.snapshot.is_dir():
            return ()
        found = model_files(self.snapshot, every=True)
        return tuple(
            FileEntry(f.relative_to(self.snapshot).as_posix(), f.stat().st_size) for f in found if f.is_file()
        )


def is_digest(text: object) -> bool:
    """Whether ``text`` has the form of a file's sha256 or of git's blob id."""
    return isinstance(text, str) and len(text) in (40, 64) and not set(text) - set("0123456789abcdef")


def content_matches(path: Path, digest: str, note_bytes: Callable[[int], None]) -> bool:
    """Whether the content of ``path`` has the ``digest``: a sha256, or git's blob id."""
    if len(digest) == 64:
        found = hashlib.sha256()
    else:
        found = hashlib.sha1(f"blob {path.stat().st_size}\0".encode(), usedforsecurity=False)
    with open_theirs(path, follow=True) as file:
        while piece := file.read(HASH_PIECE_BYTES):
            found.update(piece)
            note_bytes(len(piece))
    return found.hexdigest() == digest


def _size(path: Path) -> int:
    """Size in bytes; -1 where ``path`` is no regular file. Reading another user's pipe would block."""
    try:
        status = path.stat()
    except OSError:
        return -1
    return status.st_size if stat.S_ISREG(status.st_mode) else -1


def _written(path: Path) -> int:
    try:
        status = path.stat()
    except OSError:
        return 0
    return min(status.st_size, status.st_blocks * 512)


def _age_seconds(path: Path) -> float:
    try:
        return time.time() - path.stat().st_mtime
    except OSError:
        return 0.0
