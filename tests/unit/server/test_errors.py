"""The last words of a start that fails."""

from __future__ import annotations

import io
import json
import sys
from types import SimpleNamespace
from typing import Any

import pytest

from tacho_server import launch
from tacho_server.app import ServerState
from tacho_server.errors import PARAM_CHARACTERS, LoadError, bad, fail
from tests.unit.server.scripted import Scripted


class Pipe(io.RawIOBase):
    """Keeps each write, as others may write to the same pipe between two."""

    def __init__(self) -> None:
        self.writes: list[bytes] = []

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self.writes.append(bytes(data))
        return len(self.writes[-1])


def test_an_engine_that_writes_too_cannot_tear_the_line(monkeypatch: pytest.MonkeyPatch) -> None:
    pipe = Pipe()
    monkeypatch.setattr(sys, "stderr", io.TextIOWrapper(pipe, write_through=True))
    assert fail("engine", LoadError("EngineCrashed", "it did not start", "see above")) == 1
    assert pipe.writes == [b"engine: error [EngineCrashed]: it did not start: see above\n"]


@pytest.mark.parametrize("raised", [SystemExit(1), KeyboardInterrupt(), RuntimeError("no")])
def test_whatever_a_library_raises_while_it_loads_ends_the_start(
    monkeypatch: pytest.MonkeyPatch, raised: BaseException
) -> None:
    """A panic of a tokenizer is no Exception: the server would say for ever that it loads."""
    backend, failed = Scripted("a"), list[LoadError]()

    def load() -> None:
        raise raised

    monkeypatch.setattr(backend, "load", load)
    server: Any = SimpleNamespace(should_exit=False)
    settings: Any = None
    launch._load(backend, settings, ServerState(), server, failed, "it")
    assert (server.should_exit, failed[0].failure_class) == (True, "EngineCrashed")


def test_an_error_of_megabytes_is_cut() -> None:
    assert len(json.dumps(bad("x" * 1_000_000).body())) < 3000


def test_a_field_whose_name_has_megabytes_is_not_repeated() -> None:
    """The answer lies in memory until its client reads it."""
    assert len(json.dumps(bad("x" * 10**6, "\x01" * 10**6).body())) < 2_200 + 6 * PARAM_CHARACTERS
    assert bad("x", "n").body()["error"]["param"] == "n"
