"""What no verb expects: a code of its own, which no answer has, and one line."""

from __future__ import annotations

import errno
import functools
import os
import subprocess
import sys
from typing import Any

import pytest

from tacho_cli import main
from tacho_cli.main import app
from tacho_cli.problems import ExitCode
from tests.unit.cli.commands import Told, call
from tests.unit.cli.test_grammar import REQUIRED
from tools.cli_page import VERBS


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every verb raises what nobody caught."""

    def wrong(verb: Any) -> Any:
        @functools.wraps(verb)
        def raises(**_: Any) -> int:
            raise KeyError("plan\x1b[2J\nReady=True")

        return raises

    for command in app.registered_commands:
        monkeypatch.setattr(command, "callback", wrong(command.callback))


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.usefixtures("broken")
def test_an_error_that_no_verb_expects_is_one_line_and_no_answer(
    capsys: pytest.CaptureFixture[str], verb: str
) -> None:
    told = call(capsys, verb, *REQUIRED.get(verb, ()))
    words = r"tacho: internal error: KeyError: 'plan\x1b[2J\nReady=True'; TACHO_DEBUG=1 prints the traceback"
    assert told == Told(ExitCode.INTERNAL_ERROR, "", f"{words}\n")


@pytest.mark.usefixtures("broken")
def test_the_traceback_is_printed_on_request(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TACHO_DEBUG", "1")
    told = call(capsys, "status")
    assert told.code == ExitCode.INTERNAL_ERROR
    assert told.err.startswith("Traceback (most recent call last):\n")
    assert "tacho: internal error: KeyError: " in told.err.splitlines()[-1]


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_full_disk_is_no_answer(unbuffered: str) -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "tacho_cli.main", "probe", "--help"],
            stdout=full,
            stderr=subprocess.PIPE,
            env={**os.environ, "PYTHONUNBUFFERED": unbuffered},
            text=True,
            check=False,
        )
    words = "the output cannot be written: No space left on device. Free space there, or write elsewhere"
    assert (done.returncode, done.stderr) == (ExitCode.FAILED, f"tacho: {words}\n")


def test_a_full_disk_of_another_file_is_not_that_of_the_output(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As of the folder for temporary files, in which ``tacho run`` puts a pod's documents."""

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/tmp/tacho-x/live.json")

    monkeypatch.setattr(main, "_called", full)
    told = call(capsys, "status")
    assert told.code == ExitCode.FAILED
    assert told.err.startswith(
        "tacho: /tmp/tacho-x/live.json cannot be written: No space left on device. Free"
    )


def test_python_ends_a_crash_with_that_code() -> None:
    """As where an import fails, before any verb."""
    done = subprocess.run([sys.executable, "-c", "raise KeyError"], stderr=subprocess.DEVNULL, check=False)
    assert done.returncode == ExitCode.INTERNAL_ERROR
