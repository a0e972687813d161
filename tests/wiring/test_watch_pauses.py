"""How long a watch that failed waits."""

from __future__ import annotations

import pytest

from tacho_operator.shell.api_errors import LONGEST_RETRY_AFTER_SECONDS
from tacho_operator.shell.store.reflector import pause_seconds


@pytest.mark.parametrize("requested", [0.0, 1.0, 40.0, 70.0, LONGEST_RETRY_AFTER_SECONDS])
def test_a_pause_is_as_long_as_asked_and_no_longer_than_promised(requested: float) -> None:
    """A Retry-After of two minutes stopped a watch for up to four."""
    for failures in (1, 4, 99):
        pauses = [pause_seconds(failures, requested) for _ in range(200)]
        assert requested <= min(pauses)
        assert max(pauses) <= LONGEST_RETRY_AFTER_SECONDS
        assert len(set(pauses)) > 1 or requested == LONGEST_RETRY_AFTER_SECONDS, "they spread"
