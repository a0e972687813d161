"""rollout.maxSurge as a number of pods."""

from __future__ import annotations

import pytest

from tacho_operator.core.rollout.surge import surge


@pytest.mark.parametrize(
    ("most", "replicas", "pods"),
    [
        *((None, 10, 3), (None, 4, 1), (None, 5, 2), (None, 1, 1), (None, 0, 1)),
        *((1, 10, 1), (20, 10, 20), ("1%", 100, 1), ("1%", 101, 2), ("100%", 7, 7)),
    ],
)
def test_a_share_is_rounded_up_and_at_least_one(most: int | str | None, replicas: int, pods: int) -> None:
    assert surge(most, replicas) == pods
