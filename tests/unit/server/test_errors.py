"""The last words of a start that fails."""

from __future__ import annotations

import io
import sys

import pytest

from tacho_server.errors import LoadError, fail


class Pipe(io.RawIOBase):
    """Keeps each write, as others may write to the same pipe between two."""

    def __init__(self) -> None:
        self.writes: list[bytes] = []

    def writable(self) -> bool:
        return True

    def write(self, data: object) -> int:
        self.writes.append(bytes(data))  # type: ignore[call-overload]
        return len(self.writes[-1])


def test_an_engine_that_writes_too_cannot_tear_the_line(monkeypatch: pytest.MonkeyPatch) -> None:
    pipe = Pipe()
    monkeypatch.setattr(sys, "stderr", io.TextIOWrapper(pipe, write_through=True))
    assert fail("engine", LoadError("EngineCrashed", "it did not start", "see above")) == 1
    assert pipe.writes == [b"engine: error [EngineCrashed]: it did not start: see above\n"]
