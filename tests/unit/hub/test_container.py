"""The time limit that the inspect and fetch containers share."""

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
