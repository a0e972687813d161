"""Failures on their way out: the termination message that the kubelet and the operator read.

A failure is a class, what happened, and what to do next (``contract.Failure``). Here it is cut to
the size a termination message may have and written.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Iterable

from tacho_runtime import codec
from tacho_runtime.contract import TERMINATION_LIMIT_BYTES, Failure

LOG_TAIL_LINES = 10
LINE_LIMIT_CHARS = 400
MESSAGE_LIMIT_CHARS = 800


class FailedError(Exception):
    """Carries a Failure up to where the process ends."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(f"{failure.failure_class}: {failure.message}")
        self.failure = failure


def shorten(text: str, limit_chars: int) -> str:
    """``text``, or its beginning with a mark when it is longer than ``limit_chars``."""
    return text if len(text) <= limit_chars else text[: limit_chars - 1] + "…"


def log_tail(lines: Iterable[str], count: int = LOG_TAIL_LINES) -> tuple[str, ...]:
    """The last ``count`` lines that say something, each cut to LINE_LIMIT_CHARS."""
    kept = [shorten(line.strip(), LINE_LIMIT_CHARS) for line in lines if line.strip()]
    return tuple(kept[-count:])


def termination_message(failure: Failure, limit_bytes: int = TERMINATION_LIMIT_BYTES) -> str:
    """The failure as JSON of at most ``limit_bytes``.

    What is given up first is the log tail, oldest line first, then the details, then the end of the
    texts: class, message and next step are what a person cannot do without.
    """
    text = codec.dumps(failure)
    while len(text.encode()) > limit_bytes and failure.log_tail:
        failure = dataclasses.replace(failure, log_tail=failure.log_tail[1:])
        text = codec.dumps(failure)
    if len(text.encode()) <= limit_bytes:
        return text
    failure = dataclasses.replace(failure, details={})
    for limit_chars in (MESSAGE_LIMIT_CHARS, MESSAGE_LIMIT_CHARS // 2, MESSAGE_LIMIT_CHARS // 8):
        cut = dataclasses.replace(
            failure,
            failure_class=shorten(failure.failure_class, 64),
            message=shorten(failure.message, limit_chars),
            next_step=shorten(failure.next_step, limit_chars),
        )
        text = codec.dumps(cut)
        if len(text.encode()) <= limit_bytes:
            break
    return text


def write_termination(path: str, failure: Failure) -> None:
    """Writes the termination message to ``path``; a path that cannot be written is said on stderr.

    In one write over the old content: the kubelet mounts this very file, so it cannot be replaced.
    """
    text = termination_message(failure)
    try:
        with open(path, "wb", buffering=0) as file:
            file.write(text.encode())
    except OSError as error:
        print(f"tacho: cannot write {path}: {error}; the message was: {text}", file=sys.stderr, flush=True)
