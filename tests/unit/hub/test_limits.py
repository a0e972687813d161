"""A container that is at a limit of its pod or node: the hub is not at fault, and a retry may help."""

from __future__ import annotations

import errno
import os

import httpx2
import pytest
from huggingface_hub.errors import HfHubHTTPError
from huggingface_hub.utils._http import hf_raise_for_status

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


@pytest.mark.parametrize(
    ("status", "failure_class"),
    [
        (401, FailureClass.AUTH_REQUIRED),
        (404, FailureClass.MODEL_NOT_FOUND),
        (500, FailureClass.HUB_UNREACHABLE),
    ],
)
def test_the_words_of_a_hub_are_no_limit_of_the_pod(status: int, failure_class: str) -> None:
    answer = httpx2.Response(
        status,
        headers={"X-Error-Message": "can't start new thread"},
        request=httpx2.Request("GET", "https://hub/a/b"),
    )
    with pytest.raises(HfHubHTTPError) as error:
        hf_raise_for_status(answer)
    found = classify(error.value, repository="a/b", revision="c", endpoint="https://hub", token="").failure
    assert found.failure_class == failure_class


def test_the_words_of_a_model_are_no_limit_of_the_pod() -> None:
    error = ValueError("HTTP 205 to a request for can't start new thread.json")
    found = classify(error, repository="a/b", revision="c", endpoint="https://hub", token="").failure
    assert found.failure_class == FailureClass.HUB_UNREACHABLE
