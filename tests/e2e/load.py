"""Steady requests against a Service from this machine, each on a new connection, and what became of them."""

from __future__ import annotations

import contextlib
import http.client
import json
import threading
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tests.e2e.resource import Llmd

TIMEOUT_SECONDS = 60.0


def service_url(llmd: Llmd, path: str) -> str:
    """The Service's cluster address: this machine has a route to it."""
    address = llmd.cluster.get("service", llmd.name, "-n", llmd.namespace)["spec"]["clusterIP"]
    return f"http://{address}:8000{path}"


def ask(url: str, body: dict[str, Any]) -> dict[str, Any]:
    """One request. Raises OSError, ValueError or HTTPException where there is no whole answer."""
    request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as answer:
        found: dict[str, Any] = json.load(answer)
        return found


@dataclass(frozen=True)
class Lost:
    """A request without an answer."""

    sent: float
    """Seconds of time.monotonic()."""
    error: str


class Load:
    """``clients`` that ask one after the other, each ``pause_seconds`` after its last answer."""

    def __init__(self, url: str, body: dict[str, Any], *, clients: int = 1, pause_seconds: float = 0.2):
        self.lost: list[Lost] = []
        self._answered = [0] * clients
        self._url, self._body, self._pause_seconds = url, body, pause_seconds
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(number,)) for number in range(clients)]

    @property
    def answered(self) -> int:
        return sum(self._answered)

    def _run(self, number: int) -> None:
        while not self._stop.is_set():
            sent = time.monotonic()
            try:
                ask(self._url, self._body)
                self._answered[number] += 1
            except (OSError, ValueError, http.client.HTTPException) as error:
                self.lost.append(Lost(sent, f"{time.strftime('%H:%M:%S')} {error}"))
            self._stop.wait(self._pause_seconds)

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        for thread in self._threads:
            thread.start()
        try:
            yield
        finally:
            self._stop.set()
            for thread in self._threads:
                thread.join()
