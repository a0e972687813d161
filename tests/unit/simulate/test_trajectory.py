"""What the end-to-end tests of scaling record, for a replay."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

from tests.e2e.load import Arrivals
from tests.e2e.resource import Llmd
from tests.e2e.trajectory import Watch


def test_measurements_are_recorded_whenever_they_are_others() -> None:
    """What the history adds to them changes no capacity."""
    looks = iter([[{"state": "Partial"}], [{"state": "Partial", "history": {}}], [{"state": "Complete"}]])
    times = iter([0.0, 0.5, 5.0, 30.0, 30.5])

    class Fake:
        name, namespace = "one", "somewhere"
        cluster = SimpleNamespace(get=lambda *_: {"items": []})

        def status(self) -> dict[str, Any]:
            return {"measurements": next(looks)}

    class FakeArrivals:
        sent, requests = 0, ()

        @property
        def seconds(self) -> float:
            return next(times)

    watch = Watch(cast(Llmd, Fake()), cast(Arrivals, FakeArrivals()))
    for _ in range(3):
        watch._look()
    assert watch.about["measurements"] == [{"state": "Partial"}]
    assert watch.about["measured_later"] == [{"time_s": 30.0, "measurements": [{"state": "Complete"}]}]
