"""Termination messages: always whole JSON, never too long, the important parts last to go."""

from __future__ import annotations

import resource
from pathlib import Path

import pytest
from hypothesis import given, strategies as st

from tacho_contract import codec
from tacho_contract.failure import TERMINATION_LIMIT_BYTES, Failure, log_tail, termination_message
from tacho_runtime.files import write_termination

FAILURES = st.builds(
    Failure,
    failure_class=st.text(max_size=100),
    message=st.text(max_size=3000),
    next_step=st.text(max_size=3000),
    retryable=st.booleans(),
    details=st.dictionaries(st.text(max_size=50), st.text(max_size=500), max_size=5),
    log_tail=st.lists(st.text(max_size=500), max_size=12).map(tuple),
)


@given(FAILURES)
def test_every_failure_fits_and_can_be_read_back(failure: Failure) -> None:
    text = termination_message(failure)
    assert len(text.encode()) <= TERMINATION_LIMIT_BYTES
    read = codec.loads(Failure, text)
    assert read.retryable == failure.retryable
    assert read.failure_class[:60] == failure.failure_class[:60]


def test_the_oldest_lines_go_first() -> None:
    lines = tuple(f"{index} {'x' * 390}" for index in range(10))
    failure = Failure(failure_class="C", message="m", next_step="n", details={"k": "v"}, log_tail=lines)
    read = codec.loads(Failure, termination_message(failure))
    assert 0 < len(read.log_tail) < 10
    assert read.log_tail == lines[-len(read.log_tail) :]
    assert (read.message, read.next_step, read.details) == ("m", "n", {"k": "v"})


def test_a_short_failure_is_told_in_full() -> None:
    failure = Failure(failure_class="C", message="m", next_step="n", log_tail=("a", "b"))
    assert codec.loads(Failure, termination_message(failure)) == failure


def test_log_tail_keeps_what_says_something() -> None:
    assert log_tail(["", *(f" {index} " for index in range(20)), "  "]) == tuple(map(str, range(10, 20)))
    assert len(log_tail(["x" * 5000])[0]) == 400


def test_an_older_longer_message_is_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "termination"
    path.write_text("x" * 5000)
    failure = Failure(failure_class="C", message="m", next_step="n")
    write_termination(str(path), termination_message(failure))
    assert codec.loads(Failure, path.read_bytes()) == failure


def test_of_a_message_that_does_not_fit_nothing_is_left(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A part of it is no document, and keeps the kubelet from the log."""
    path = tmp_path / "termination"
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, limits[1]))
    try:
        assert not write_termination(str(path), "a long message")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert path.read_text() == ""
    assert "a long message" in capsys.readouterr().err


def test_a_message_that_cannot_be_written_goes_to_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    write_termination("/nowhere/termination", "lost?")
    assert "lost?" in capsys.readouterr().err
