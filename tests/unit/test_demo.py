"""What `make demo` prints at its end, and what README.md shows of a run."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tools import demo

ROOT = Path(__file__).parents[2]
TRANSCRIPT = ROOT / "benchmarks/demo/llamacpp.txt"
"""`make demo TRANSCRIPT=benchmarks/demo/llamacpp.txt`, with everything built before."""


def words(line: str) -> str:
    return " ".join(line.split())


def shown() -> list[str]:
    """Lines of README.md's block; one that was wrapped is whole again."""
    (block,) = re.findall(
        r"^```\n(==> kubectl apply .*?)^```$", (ROOT / "README.md").read_text(), re.M | re.S
    )
    return [words(line) for line in re.sub(r"\n {13}", " ", block).splitlines() if line]


def test_the_readme_shows_a_run_that_is_kept() -> None:
    """In its order, and not all of it; what is cut off ends with an ellipsis."""
    kept = (words(line) for line in TRANSCRIPT.read_text().splitlines())
    for line in shown():
        start, cut, _ = line.partition("…")
        assert any(each.startswith(start) if cut else each == line for each in kept), line


def test_a_later_run_takes_as_long_as_the_readme_says() -> None:
    (seconds,) = re.findall(r"^That took (\d+) s", TRANSCRIPT.read_text(), re.M)
    assert "later runs under two" in (ROOT / "README.md").read_text()
    assert int(seconds) < 120


def test_a_transcript_has_what_was_printed_and_on_what(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    played = tmp_path / "played"
    played.write_text("#!/bin/sh\necho one; echo two >&2; exit 3\n")
    played.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(played))
    assert demo.kept(tmp_path / "new/transcript.txt", ["--engine=llamacpp"]) == 3
    first, *others = (tmp_path / "new/transcript.txt").read_text().splitlines()
    commit = subprocess.run(["git", "describe", "--always"], cwd=ROOT, capture_output=True, text=True).stdout
    assert re.match(rf"# began 20\S+, commit {commit.strip()}\S*, cpus \d+, loadavg ", first)
    assert others == capfd.readouterr().out.splitlines() == ["one", "two"]


def test_the_next_commands_find_kubectl_and_helm() -> None:
    shown = demo.to_go_on("c", "smollm2", (Path("/with/kubectl"), Path("/with/helm")))
    assert "PATH=/with/kubectl:/with/helm:$PWD/.venv/bin:$PATH" in shown
