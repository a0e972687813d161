"""What the inspect and fetch containers share: the time limit, and the hub token."""

from __future__ import annotations

import contextlib
import time

import pytest

from tacho_contract.failure import FailedError
from tacho_runtime.hub import container
from tacho_runtime.hub.failures import unreachable


def test_a_time_limit_that_a_library_swallows_comes_again() -> None:
    overdue = unreachable("late")
    container.limit_time(0.05, overdue)
    try:
        with contextlib.suppress(FailedError):
            time.sleep(10)
        with pytest.raises(FailedError) as told:
            time.sleep(10)
    finally:
        container.end_limit()
    assert told.value is overdue


@pytest.mark.parametrize("token", ["hf_secret\nhf_other", "hf_secret\x01", "hf_secr\u00e9t"])
def test_a_token_that_no_header_can_hold_is_not_shown(token: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The client's error had it, and so had status."""
    monkeypatch.setenv("HF_TOKEN", f" {token}\n")
    with pytest.raises(FailedError) as told:
        container.hub_token("https://hub.example.com")
    assert told.value.failure.failure_class == "AuthRequired"
    assert "hf_" not in str(told.value.failure)


def test_a_token_is_read_without_what_surrounds_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", " hf_secret\n")
    assert container.hub_token("https://hub.example.com") == "hf_secret"
