"""A container that is at a limit of its pod or node: the hub is not at fault, and a retry may help."""

from __future__ import annotations

import errno
import os

import pytest

from tacho_contract.failure import FailureClass
from tacho_runtime.hub.failures import classify


def broken(number: int) -> OSError:
    return OSError(number, os.strerror(number))


def caused(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "failure_class", "word"),
    [
        (RuntimeError("can't start new thread"), FailureClass.ENGINE_CRASHED, "threads"),
        (broken(errno.EAGAIN), FailureClass.ENGINE_CRASHED, "threads"),
        (broken(errno.EMFILE), FailureClass.ENGINE_CRASHED, "open files"),
        (
            caused(ValueError("not connected"), broken(errno.ENFILE)),
            FailureClass.ENGINE_CRASHED,
            "open files",
        ),
        (broken(errno.ENOMEM), FailureClass.HOST_OUT_OF_MEMORY, "memory"),
        (MemoryError(), FailureClass.HOST_OUT_OF_MEMORY, "memory"),
    ],
)
def test_a_limit_of_the_pod_is_no_answer_of_the_hub(error: Exception, failure_class: str, word: str) -> None:
    """Of threads and memory it was final: Stalled at once, with the network as the cause."""
    found = classify(error, repository="a/b", revision="c", endpoint="https://hub", token="").failure
    assert (found.failure_class, found.retryable) == (failure_class, True)
    assert f"limit of {word}" in found.message
    assert "podPidsLimit" in found.next_step
