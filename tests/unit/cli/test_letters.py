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

from tacho_cli.figures.read import measurement_view
from tacho_cli.main import main
from tacho_cli.output import Format, following, never_fail, print_document, spelled
from tacho_cli.probe.show import show
from tests.unit.cli.commands import manifest
from tests.unit.cli.figures.measurements import SLO, entry
from tests.unit.cli.simulate.test_command import written
from tests.unit.cli.test_status import RESOURCE, cluster
from tests.unit.contract.test_text import hidden
from tools.mock.ggufs import llama

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
    whole = encoding == "utf-8"
    assert ("● measured, ◆ capacity" if whole else "* measured, # capacity, o provisional") in text
    assert ("“kv-cache” on two … 日本" if whole else '"kv-cache" on two ... ??') in " ".join(text.split())


@everywhere
def test_probe_shows_its_figures(encoding: str) -> None:
    with stdout_in(encoding) as taken:
        never_fail()
        show(entry(), measurement_view(entry(), SLO), "model 日本", "table")
    text = taken.getvalue().decode(encoding)
    assert ("model 日本" if encoding == "utf-8" else "model ??") in text
    assert ("1840 +- 30 tok/s" if encoding == "ascii" else "1840 ± 30 tok/s") in text


@everywhere
def test_plan_draws_its_memory_with_what_there_is(encoding: str, tmp_path: Path) -> None:
    llama(tmp_path / "smollm2" / "a.gguf")
    with stdout_in(encoding) as taken:
        assert main(["plan", "-f", manifest(tmp_path), "--pvc", f"models={tmp_path}"]) == 0
    assert ("█" if encoding in ("utf-8", "cp437") else "#") in taken.getvalue().decode(encoding)


@everywhere
def test_a_document_is_escaped_and_not_changed(encoding: str) -> None:
    document = {"message": "≤ 日本"}
    with stdout_in(encoding) as taken:
        never_fail()
        print_document(document, "yaml")
    assert yaml.safe_load(taken.getvalue().decode(encoding)) == document


@pytest.mark.parametrize("output", ["yaml", "json"])
def test_a_document_hides_no_character(output: Format) -> None:
    document = {"message": "a\x1b[2J\x85\u202e\u200bz"}
    with stdout_in("utf-8") as taken:
        print_document(document, output)
    text = taken.getvalue().decode()
    assert yaml.safe_load(text) == document
    assert not hidden(text, "\n")


@everywhere
def test_simulate_shows_its_table(encoding: str, tmp_path: Path) -> None:
    trace = tmp_path / "日本.csv"
    trace.write_text("time_s,input_tokens,output_tokens\n" + "".join(f"{n},400,100\n" for n in range(60)))
    options = ["simulate", "--trace", str(trace), "--measurement", written(tmp_path), "--policy", "static-1"]
    with stdout_in(encoding) as taken:
        assert main([*options, "--slo", "ttft=500ms"]) == 0
    text = taken.getvalue().decode(encoding)
    assert ("TTFT <= 500 ms" if encoding in ("ascii", "iso-8859-1") else "TTFT ≤ 500 ms") in text


def test_progress_spins_with_what_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    taken = io.BytesIO()
    stream = io.TextIOWrapper(taken, encoding="ascii", write_through=True)
    monkeypatch.setattr(stream, "isatty", lambda: True, raising=False)
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setenv("TERM", "xterm")
    with following(10) as progress:
        progress("level 2")
    assert b"level 2" in taken.getvalue()


@pytest.mark.parametrize(
    ("encoding", "text"), [("utf-8", "±≤…日"), ("iso-8859-1", "±<=...?"), ("ascii", "+-<=...?")]
)
def test_only_what_is_lacking_is_spelled(encoding: str, text: str) -> None:
    assert spelled(encoding, "±≤…日") == text
