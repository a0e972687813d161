"""Reads and writes small files: kernel files, documents that are replaced atomically, the termination
message. And waits for what may never answer.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import stat
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from threading import Thread
from typing import BinaryIO, TypeVar, cast

from tacho_contract import codec
from tacho_contract.failure import FailedError, FailureClass

T = TypeVar("T")


def read_text(path: Path) -> str:
    """Text of a file; "" where it cannot be read. Invalid bytes are replaced, e.g. in a process name."""
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""


def read_theirs(path: Path, limit_bytes: int) -> bytes:
    """Content of a file that another process may have put at ``path``. Links are not followed, pipes not
    waited for. Raises OSError, also above ``limit_bytes``.
    """
    with open_theirs(path) as file:
        content = file.read(limit_bytes + 1)
    if len(content) > limit_bytes:
        raise OSError(errno.EFBIG, os.strerror(errno.EFBIG), str(path))
    return content


def open_theirs(path: Path, mode: str = "rb", *, follow: bool = False) -> BinaryIO:
    """The file at ``path``, where another process may put anything at any time.

    Pipes are not waited for. Links are followed with ``follow`` only. Raises OSError for what is no file, and
    for a file that is to be written and has a second name.
    """

    def opener(name: str, flags: int) -> int:
        return os.open(name, flags | os.O_NONBLOCK | (0 if follow else os.O_NOFOLLOW), 0o666)

    file = cast("BinaryIO", open(path, mode, opener=opener))  # noqa: SIM115 - the caller closes it
    status = os.fstat(file.fileno())
    if not stat.S_ISREG(status.st_mode) or (file.writable() and status.st_nlink > 1):
        file.close()
        raise OSError(errno.EINVAL, "is no file", str(path))
    return file


@contextlib.contextmanager
def opened_below(root: Path, *names: str) -> Iterator[Path]:
    """Context manager with the folder ``names`` below ``root``, made where it is missing.

    Its path leads through a descriptor: to that very folder, whatever others put in its place meanwhile.
    Raises OSError where one of ``names`` is a link.
    """
    opened, path = os.open(root, os.O_DIRECTORY), root
    try:
        for name in names:
            path = path / name
            try:
                with contextlib.suppress(FileExistsError):
                    os.mkdir(name, dir_fd=opened)
                below = os.open(name, os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=opened)
            except NotADirectoryError:
                raise NotADirectoryError(errno.ENOTDIR, "is a link, or no folder", str(path)) from None
            except OSError as error:
                error.filename = str(path)  # from a descriptor on, it is a name alone
                raise
            os.close(opened)
            opened = below
        yield Path(f"/proc/self/fd/{opened}")
    finally:
        os.close(opened)


def replace_file(path: Path, text: str) -> None:
    """Writes ``path`` so that a reader sees the old content or the new, never a part. Raises OSError."""
    fresh = path.with_name(f".{path.name}.{os.getpid()}.new")
    fresh.unlink(missing_ok=True)
    with fresh.open("x", encoding="utf-8") as file:  # never through a link that somebody put there
        file.write(text)
    os.replace(fresh, path)


def configuration(cls: type[T], text: str, name: str) -> T:
    """The document in ``text``. ``name``: its name in messages. Raises FailedError(InvalidConfig)."""
    try:
        return codec.loads(cls, text)
    except codec.DocumentError as error:
        raise FailedError.of(
            FailureClass.INVALID_CONFIG,
            f"{name} cannot be read: {error}",
            "use an operator and images of the same release",
        ) from None


def write_termination(path: str, text: str) -> bool:
    """Writes the termination message to ``path``, and returns whether it could; else prints it on stderr.

    In one write over the old content: the kubelet mounts this very file, so it cannot be replaced. Nothing of
    a message that does not fit is left, as the kubelet then takes the end of the log.
    """
    try:
        with open(path, "wb", buffering=0) as file:
            if file.write(text.encode()) == len(text.encode()):
                return True
            file.truncate(0)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    except OSError as error:
        # The kubelet shows the end of the log, so the cause is last.
        print(f"{text}\ntacho: cannot write {path}: {error}", file=sys.stderr, flush=True)
        return False


POLL_SECONDS = 0.5


async def while_reading(read: Callable[[], T], progress: Callable[[], None] = lambda: None) -> T:
    """The result of ``read``, which runs in a thread. ``progress`` is called meanwhile and may raise, as a
    disk or a driver may never answer.
    """
    found: Future[T] = Future()

    def work() -> None:
        found.set_running_or_notify_cancel()
        try:
            found.set_result(read())
        except BaseException as error:  # noqa: BLE001 - the caller raises it
            found.set_exception(error)

    # Not in the loop's own threads: the end of this process would wait for them.
    Thread(target=work, daemon=True).start()
    reading = asyncio.wrap_future(found)
    try:
        while not (await asyncio.wait({reading}, timeout=POLL_SECONDS))[0]:
            progress()
        return reading.result()
    finally:
        reading.cancel()
