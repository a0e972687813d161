"""Requests against a Service from this machine, each on a new connection, and what became of them."""

from __future__ import annotations

import contextlib
import http.client
import json
import threading
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from benchmarks.autoscaling.bounds import Sent
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
class Streamed:
    """One streamed answer, from when it was asked for."""

    first_seconds: float
    whole_seconds: float
    pod: str | None
    """The mock engine's."""


def ask_streamed(url: str, body: dict[str, Any], timeout_seconds: float) -> Streamed:
    """One streamed request. Raises as ``ask`` does, for half an answer too."""
    data = json.dumps({**body, "stream": True}).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
    sent, first, last = time.monotonic(), None, b""
    with urllib.request.urlopen(request, timeout=timeout_seconds) as answer:
        for line in answer:
            if line.startswith(b"data: "):
                first, last = first or time.monotonic(), line.strip()
        pod = answer.headers.get("Served-By")
    if first is None or last != b"data: [DONE]":
        raise ValueError(f"the answer ends with {last!r}")
    return Streamed(round(first - sent, 4), round(time.monotonic() - sent, 4), pod)


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


class Arrivals:
    """Requests that come at a rate, whatever becomes of those before: evenly spaced and streamed."""

    MOST_AT_ONCE = 200
    TIMEOUT_SECONDS = 120.0

    def __init__(self, url: str, body: dict[str, Any], *, input_tokens: int, output_tokens: int) -> None:
        self.began = time.monotonic()
        self.requests: list[Sent] = []
        self.lost: list[str] = []
        self.rate = 0.0
        """Requests per second, from now on."""
        self._url, self._body = url, body
        self._tokens = {"input_tokens": input_tokens, "output_tokens": output_tokens}
        self._count = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    @property
    def seconds(self) -> float:
        """Since the beginning."""
        return time.monotonic() - self.began

    @property
    def sent(self) -> int:
        return self._count

    def _run(self) -> None:
        due, looked = 0.0, self.seconds
        with ThreadPoolExecutor(self.MOST_AT_ONCE) as pool:
            answers: list[Future[None]] = []
            while not self._stop.wait(0.02):
                looked, before = self.seconds, looked
                due += self.rate * (looked - before)
                while due >= 1:
                    due -= 1
                    self._count += 1
                    answers.append(pool.submit(self._ask, looked))
        for answer in answers:
            answer.result()

    def _ask(self, time_s: float) -> None:
        began = self.seconds
        try:
            found = ask_streamed(self._url, self._body, self.TIMEOUT_SECONDS)
        except (OSError, ValueError, http.client.HTTPException) as error:
            self.lost.append(f"{time_s:.1f} s: {error}")
            self.requests.append(Sent(time_s=time_s, ttft_s=None, **self._tokens))
            return
        self.requests.append(
            Sent(
                time_s=time_s,
                sent_s=round(began, 4),
                ttft_s=found.first_seconds,
                whole_s=found.whole_seconds,
                pod=found.pod,
                **self._tokens,
            )
        )

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        self._thread.start()
        try:
            yield
        finally:
            self._stop.set()
            self._thread.join()
