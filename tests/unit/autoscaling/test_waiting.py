"""What a waiting request is to the load, for a resource that tacho scales and for one that others scale."""

from __future__ import annotations

import pytest

from tests.unit.autoscaling.fleet import PERIOD_SECONDS, RATE, Fleet


class Fixed(Fleet):
    """Whose size nobody changes."""

    def _resize(self, replicas: int) -> None:
        pass


@pytest.mark.parametrize("seconds", [PERIOD_SECONDS, 30.0], ids=["scaled here", "by others"])
def test_it_counts_in_whole_as_it_comes_and_not_again(seconds: float) -> None:
    """A queue that stands is no load: clients that wait for their answers send nothing meanwhile."""
    fleet = Fixed(replicas=2)

    def demand(requests_per_second: float) -> float:
        for _ in range(int(120 / seconds)):
            fleet.serve(requests_per_second, seconds)
            figures = fleet.look().figures
        assert figures.waiting == round(fleet.queue)
        return figures.demand or 0.0

    assert demand(2 * RATE) == pytest.approx(2.0)
    assert demand(3 * RATE) == pytest.approx(3.0), "a third of them begins to wait"
    assert fleet.queue == 240
    assert demand(2 * RATE) == pytest.approx(2.0)
