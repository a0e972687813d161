"""A resource's replicas under a load that follows a plan, looked at every second."""

from __future__ import annotations

import contextlib
import threading
from bisect import bisect_right
from collections.abc import Iterator
from typing import Any

from benchmarks.autoscaling.bounds import Moment, Span, need_of
from tests.e2e.load import Arrivals
from tests.e2e.resource import Llmd, eventually

LOOK_SECONDS = 1.0


class Plan:
    """The rate that is offered over time, in a loaded replica's rate; and so the need at each time."""

    def __init__(self, arrivals: Arrivals, replica_requests_per_second: float, full: float) -> None:
        self._arrivals, self._replica, self._full = arrivals, replica_requests_per_second, full
        self._since, self._rates = [0.0], [0.0]

    def offer(self, replicas: float) -> None:
        """From now on, as much as would fill so many replicas."""
        self._arrivals.rate = rate = replicas * self._replica
        self._since.append(self._arrivals.seconds)
        self._rates.append(rate)

    def rise(self, begin: float, end: float, seconds: float) -> Iterator[None]:
        """Evenly from one to the other: a turn of the caller's loop for each step."""
        started = self._arrivals.seconds
        while (passed := self._arrivals.seconds - started) < seconds:
            self.offer(begin + (end - begin) * passed / seconds)
            yield
        self.offer(end)

    def need(self, time_s: float) -> int:
        """Replicas, each to be as full as the scaler promises."""
        return need_of(self._rate(time_s), self._replica, self._full)

    def exact_need(self, time_s: float) -> int:
        """Replicas that carry what is offered with all of their places taken."""
        return need_of(self._rate(time_s), self._replica, full=1.0)

    def _rate(self, time_s: float) -> float:
        return self._rates[max(0, bisect_right(self._since, time_s) - 1)]


class Watch:
    """Looks from a thread of its own, so that nothing that the test does in between is missed."""

    def __init__(self, llmd: Llmd, arrivals: Arrivals) -> None:
        self.moments: list[Moment] = []
        self.blind: list[Span] = []
        """When the scaler could not see, or not act."""
        self.blind_kinds: list[str] = []
        """What went wrong in each of them: killed, cut or hanging."""
        self.hung: str | None = None
        """The pod that was made to hang."""
        self.measured: list[dict[str, Any]] = []
        """The resource's measurements, whenever they were others: probe pods go on while the first pod
        serves."""
        self._llmd, self._arrivals = llmd, arrivals
        self._sent = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    @property
    def latest(self) -> Moment:
        return self.moments[-1]

    @property
    def about(self) -> dict[str, object]:
        """What a replay has to know beside looks and requests."""
        first, *later = self.measured
        return {
            "measurements": first["measurements"],
            "measured_later": later,
            "blind": self.blind,
            "blind_kinds": self.blind_kinds,
            "hung": self.hung,
        }

    def _run(self) -> None:
        while not self._stop.wait(LOOK_SECONDS):
            self._look()

    def _look(self) -> None:
        selector = f"tacho.dev/deployment={self._llmd.name}"
        command = ("deployments", "-n", self._llmd.namespace, "-l", selector)
        found: list[dict[str, Any]] = self._llmd.cluster.get(*command)["items"]
        self._note(self._llmd.status().get("measurements") or [])
        before, self._sent = self._sent, self._arrivals.sent
        self.moments.append(
            Moment(
                time_s=round(self._arrivals.seconds, 2),
                replicas=sum(item["spec"]["replicas"] for item in found),
                ready=sum(item["status"].get("readyReplicas") or 0 for item in found),
                arrivals=self._sent - before,
                in_flight=self._sent - len(self._arrivals.requests),
            )
        )

    def _note(self, measurements: list[dict[str, Any]]) -> None:
        plain = [{name: item[name] for name in item if name != "history"} for item in measurements]
        if not self.measured or self.measured[-1]["measurements"] != plain:
            self.measured.append({"time_s": round(self._arrivals.seconds, 2), "measurements": plain})

    def until(self, what: str, replicas: int, *, ready: bool = True) -> None:
        """So many are wanted, and ready."""

        def look() -> bool | None:
            now = self.latest
            return (now.replicas == replicas and (not ready or now.ready == replicas)) or None

        eventually(what, look)

    @contextlib.contextmanager
    def blindness(self, kind: str) -> Iterator[None]:
        """The scaler cannot see while the block lasts: killed, cut or hanging."""
        begun = self._arrivals.seconds
        try:
            yield
        finally:
            self.blind.append((begun, self._arrivals.seconds))
            self.blind_kinds.append(kind)

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        self._look()
        self._thread.start()
        try:
            yield
        finally:
            self._stop.set()
            self._thread.join()
