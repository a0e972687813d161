"""Outputs that cannot take every character: a log, an old locale, another code page."""

from __future__ import annotations

import contextlib
import io
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tacho_cli.main import main
from tacho_cli.output import Format, following, never_fail, print_document
from tests.unit.cli.test_status import RESOURCE, cluster
from tests.unit.contract.test_text import hidden

__all__ = ["cluster"]
everywhere = pytest.mark.parametrize("encoding", ["ascii", "iso-8859-1", "cp437", "utf-8"])


@contextlib.contextmanager
def stdout_in(encoding: str) -> Iterator[io.BytesIO]:
    """What is written to an stdout of that encoding."""
    taken = io.BytesIO()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "stdout", io.TextIOWrapper(taken, encoding=encoding, write_through=True))
        yield taken
        sys.stdout.flush()
        # Nobody closes what was written with the stream.
        sys.stdout.detach()  # type: ignore[union-attr]  # a wrapper was put there above


@everywhere
def test_status_draws_with_what_there_is(encoding: str, cluster: Path) -> None:
    said = {"type": "Ready", "status": "False", "reason": "X", "message": "“kv-cache” on two … 日本"}
    changed = json.loads(json.dumps(RESOURCE))
    changed["status"]["conditions"].append(said)
    (cluster / "resource").write_text(json.dumps(changed))
    with stdout_in(encoding) as taken:
        assert main(["status", "mistral", "--plot"]) == 0
    text = taken.getvalue().decode(encoding)
    assert text.count("(tok/s)") == 2
    assert ("on two … 日本" if encoding == "utf-8" else "on two ? ??") in " ".join(text.split())


@everywhere
def test_a_document_is_the_same_everywhere(encoding: str) -> None:
    document = {"message": "≤ 日本"}
    with stdout_in(encoding) as taken:
        never_fail()
        print_document(document, "yaml")
    assert yaml.safe_load(taken.getvalue()) == document


@pytest.mark.parametrize("output", ["yaml", "json"])
def test_a_document_hides_no_character(output: Format) -> None:
    document = {"message": "a\x1b[2J\x85\u202e\u200bz"}
    with stdout_in("utf-8") as taken:
        print_document(document, output)
    text = taken.getvalue().decode()
    assert yaml.safe_load(text) == document
    assert not hidden(text, "\n")


def test_progress_spins_with_what_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    taken = io.BytesIO()
    stream = io.TextIOWrapper(taken, encoding="ascii", write_through=True)
    monkeypatch.setattr(stream, "isatty", lambda: True, raising=False)
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setenv("TERM", "xterm")
    with following() as progress:
        progress("level 2")
    assert b"level 2" in taken.getvalue()
