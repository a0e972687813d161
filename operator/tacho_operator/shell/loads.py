"""Reads the load of thousands of pods at the same time, in a thread.

4,000 pods took 1.5 to 1.8 s and 0.25 s of CPU on a busy machine; with one aiohttp session 6.0 to 8.7 s and
2.1 to 2.7 s of CPU. The two latency histograms add 1.1 kB per answer and 0.43 s of CPU.

Pods are untrusted: short responses, no redirects, no decompression, short timeouts. Each connection serves
one request, as thousands of open ones would cost memory on both sides.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import selectors
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

from tacho_contract.codec import DocumentError, loads
from tacho_contract.pod import RUNTIME_PORT
from tacho_contract.report import LOAD_LIMIT_BYTES, Load, believed
from tacho_operator.core.autoscaling.algorithm.types import Sample
from tacho_operator.shell.waiting_pods import SILENT_PODS, WaitingPods, alternating

HEAD_LIMIT_BYTES = 8192
FREE_READS, MEAN_BYTES = 64, 128
"""After 64 reads, an answer must have had 128 bytes a read: coming byte by byte, it keeps a thread busy."""
POLL_SECONDS = 0.5
"""Seconds between two checks whether the answers are still needed."""
UNDER_WAY = frozenset({0, errno.EINPROGRESS})


class PodAnswer(NamedTuple):
    """The HTTP response body of one pod, and when the pod made it, by the monotonic clock."""

    body: bytes
    at_seconds: float
    """The middle between the request and the answer. Where in between a pod reads its counters is not known,
    and so the error is at most half of the delay.
    """


class PodConnection:
    """One HTTP request to one pod, and the part of its answer that has arrived."""

    __slots__ = ("address", "got", "left", "reads", "sent_seconds", "socket", "until")

    def __init__(self, address: str, port: int, request_bytes: bytes, until: float) -> None:
        """Starts to connect without blocking. Raises OSError where no route to the address exists."""
        self.address, self.left, self.until = address, request_bytes, until
        self.got, self.reads = b"", 0
        self.sent_seconds = 0.0
        """When the request was sent, by the monotonic clock."""
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        self.socket = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        try:
            failed = self.socket.connect_ex((address, port))
            if failed not in UNDER_WAY:
                raise OSError(failed, "no connection")
        except OSError:
            self.socket.close()
            raise


def request_bytes(address: str, port: int, path: str) -> bytes:
    """A GET request in bytes."""
    host = f"[{address}]" if ":" in address else address
    lines = (f"GET {path} HTTP/1.1", f"Host: {host}:{port}", "Accept-Encoding: identity", "Connection: close")
    return "\r\n".join((*lines, "", "")).encode()


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadLimits:
    """Limits for reading many pods once: connections, seconds, bytes."""

    at_once: int
    """Most connections at the same time."""
    each_seconds: float
    all_seconds: float
    limit_bytes: int
    """Longest accepted response body in bytes."""


def read_many(
    addresses: Iterable[str],
    port: int,
    path: str,
    *,
    limits: ReadLimits,
    is_needed: Callable[[], bool],
    namespaces: Mapping[str, str] | None = None,
    is_read: Callable[[str, Mapping[str, PodAnswer | None]], None] = lambda _namespace, _found: None,
) -> dict[str, PodAnswer | None]:
    """The answers of many pods, by address. None: no valid answer; absent: not reached in time.

    Pods are read in the order of ``addresses``. With ``namespaces`` (by address) namespaces alternate, so
    that slow pods of one namespace delay no others. ``is_read`` is called with each namespace whose pods are
    all read, and with the answers so far. Returns early when ``is_needed`` is False.
    """
    waiting, end = (
        WaitingPods(addresses, namespaces or {}, limits.at_once),
        time.monotonic() + limits.all_seconds,
    )
    with _OpenConnections(limits.limit_bytes, waiting, is_read) as connections:
        while (waiting.left or connections.count) and is_needed():
            now = time.monotonic()
            connections.time_out(now)
            if now >= end:
                break
            while connections.count < limits.at_once and (address := waiting.take()) is not None:
                connections.begin(
                    address, port, request_bytes(address, port, path), min(end, now + limits.each_seconds)
                )
            connections.go_on(min(POLL_SECONDS, end - now))
        return connections.found


class _OpenConnections:
    """Open connections to pods, and the results of the closed ones."""

    def __init__(
        self,
        limit_bytes: int,
        waiting: WaitingPods,
        is_read: Callable[[str, Mapping[str, PodAnswer | None]], None],
    ) -> None:
        self._limit_bytes, self._waiting, self._is_read = limit_bytes, waiting, is_read
        self._selector = selectors.DefaultSelector()
        self._open: dict[int, PodConnection] = {}
        """Open connections by file descriptor, in the order of their start: the first one times out first."""
        self.found: dict[str, PodAnswer | None] = {}

    def __enter__(self) -> _OpenConnections:
        return self

    def __exit__(self, *_: object) -> None:
        for one in self._open.values():
            one.socket.close()
        self._selector.close()

    @property
    def count(self) -> int:
        return len(self._open)

    def begin(self, address: str, port: int, request: bytes, until: float) -> None:
        try:
            one = PodConnection(address, port, request, until)
        except OSError:
            self._finish_read(address, None)
            return
        self._open[one.socket.fileno()] = one
        self._selector.register(one.socket.fileno(), selectors.EVENT_WRITE)

    def time_out(self, now: float) -> None:
        """Closes connections that have timed out."""
        while self._open and (one := next(iter(self._open.values()))).until <= now:
            self._close(one, None)

    def go_on(self, seconds: float) -> None:
        """Reads and writes on all ready connections; waits at most ``seconds``."""
        for key, events in self._selector.select(seconds):
            one = self._open[key.fd]
            try:
                if events & selectors.EVENT_WRITE:
                    self._send_request(one)
                else:
                    self._receive(one)
            except BlockingIOError:
                continue
            except OSError:
                self._close(one, None)

    def _send_request(self, one: PodConnection) -> None:
        one.sent_seconds = time.monotonic()
        one.left = one.left[one.socket.send(one.left) :]
        if not one.left:
            self._selector.modify(one.socket.fileno(), selectors.EVENT_READ)

    def _receive(self, one: PodConnection) -> None:
        longest = HEAD_LIMIT_BYTES + self._limit_bytes
        more = one.socket.recv(longest)
        one.got += more
        one.reads += 1
        is_dripping = one.reads > FREE_READS + len(one.got) // MEAN_BYTES
        body = None if is_dripping else body_of(one.got, self._limit_bytes)
        if body is not None or is_dripping or not more or len(one.got) > longest:
            middle = (one.sent_seconds + time.monotonic()) / 2
            self._close(one, None if body is None else PodAnswer(body, middle))

    def _close(self, one: PodConnection, answer: PodAnswer | None) -> None:
        number = one.socket.fileno()
        self._selector.unregister(number)
        del self._open[number]
        one.socket.close()
        self._finish_read(one.address, answer)

    def _finish_read(self, address: str, answer: PodAnswer | None) -> None:
        self.found[address] = answer
        if (namespace := self._waiting.give_back(address)) is not None:
            self._is_read(namespace, self.found)


def _length(head: bytes) -> int | None:
    """Length of the body by the head of a successful answer; None where it has no valid Content-Length."""
    lowered = head.lower()
    if not head.startswith((b"HTTP/1.1 200", b"HTTP/1.0 200")) or b"\r\ntransfer-encoding:" in lowered:
        return None
    found = lowered.split(b"\r\ncontent-length:")
    length = found[1].partition(b"\r\n")[0].strip() if len(found) == 2 else b""
    return int(length) if length.isdigit() and len(length) < 10 else None


def body_of(got: bytes, limit_bytes: int) -> bytes | None:
    """The body of a complete answer with a Content-Length; None where it is an error, cut or too long."""
    head, _, body = got.partition(b"\r\n\r\n")
    length = _length(head)
    return None if length is None or length > min(limit_bytes, len(body)) else body[:length]


logger = logging.getLogger(__name__)

TIMEOUT_SECONDS = 5.0
SAMPLE_SECONDS = 10.0
"""Seconds for reading all pods once. Compared samples must be of about the same time, even if a pod hangs."""
AT_ONCE = 64
"""Most requests at the same time, to limit open sockets."""
MAX_SILENT = 10_000
"""Most addresses that are remembered as not answering; deleted pods may be among them."""
HISTOGRAM_BYTES, TIME_CHARS = 4 << 20, 64
"""Most bytes of a namespace's answers that are kept as they are, shared evenly by its pods. Longer ones lose
their histograms, and a part of their time's text: 2,000 of the longest took 185 MiB. True ones have 1.5 KB.
"""


class TimedLoad(NamedTuple):
    """A pod's load, and the time of its counters by the operator's clock.

    Each pod has a time of its own. A rate from a later time that all have in common would be too high or too
    low by as much as that was late: slow pods and a busy event loop change it from sampling to sampling.
    """

    load: Load
    time_seconds: float


IsRead = Callable[[str, dict[str, TimedLoad]], None]
"""Callback with a namespace and the loads of its pods, by address."""


class Loads:
    """Reads the load of many pods at once, and remembers which pods did not answer."""

    def __init__(self, port: int = RUNTIME_PORT, clock: Callable[[], float] = time.time) -> None:
        self._port, self._clock = port, clock
        self._silent: dict[str, None] = {}
        """Addresses of pods that did not answer the last request, the oldest request first."""

    async def read(
        self,
        addresses: Iterable[str],
        namespaces: Mapping[str, str] | None = None,
        is_read: IsRead = lambda _namespace, _answers: None,
    ) -> dict[str, TimedLoad]:
        """The load by address; a pod that did not answer in time is absent: its load is unknown, not zero.

        Pods that did not answer the last time are read last, over few connections: healthy ones keep their
        time. Their namespaces alternate too, as a sample reads about thirty and one namespace may have
        thousands. ``namespaces``: the pods' namespaces, by address. ``is_read`` is called in the event loop
        for each namespace whose pods are read, with their loads; pods that are read last do not count.
        """
        requested = dict.fromkeys(addresses)
        # A sample is of some pods: silent ones of other samples stay remembered.
        self._silent = dict.fromkeys(list(self._silent)[-MAX_SILENT:])
        namespaces = namespaces or {}
        ordered = [
            *(address for address in requested if address not in self._silent),
            *alternating((address for address in self._silent if address in requested), namespaces),
        ]
        shares = {**namespaces, **dict.fromkeys(self._silent, SILENT_PODS)}
        counts = Counter(namespaces.get(address, "") for address in ordered)
        longest = {address: HISTOGRAM_BYTES // counts[namespaces.get(address, "")] for address in ordered}
        found = await self._read_in_thread(longest, shares, is_read) if ordered else {}
        answers = {address: load for address, load in found.items() if load is not None}
        for address in found:
            self._silent.pop(address, None)
            if address not in answers:
                self._silent[address] = None
        if len(found) < len(ordered):
            logger.warning("%d of %d pods reported their load in time", len(answers), len(ordered))
        return answers

    async def _read_in_thread(
        self, addresses: Mapping[str, int], namespaces: Mapping[str, str], is_read: IsRead
    ) -> dict[str, TimedLoad | None]:
        """Load by address. None: the pod gave no valid answer; a pod that was not reached in time is
        absent. ``addresses``: with the most bytes of an answer whose histograms are kept."""
        leaving, loop = threading.Event(), asyncio.get_running_loop()
        parsed: dict[str, TimedLoad | None] = {}
        theirs: dict[str, list[str]] = {}
        for address in addresses:
            theirs.setdefault(namespaces.get(address, ""), []).append(address)

        def timed(address: str, answer: PodAnswer | None, ahead_seconds: float) -> TimedLoad | None:
            if answer is None or (load := load_of(answer.body)) is None:
                return None
            if len(answer.body) > addresses[address]:
                texts = {name: getattr(load, name)[:TIME_CHARS] for name in ("observed_time", "pod_uid")}
                load = replace(load, ttft=None, tpot=None, **texts)
            return TimedLoad(load, answer.at_seconds + ahead_seconds)

        def namespace_read(namespace: str, answers: Mapping[str, PodAnswer | None]) -> None:
            mine, ahead_seconds = theirs[namespace], self._clock() - time.monotonic()
            parsed.update((address, timed(address, answers[address], ahead_seconds)) for address in mine)
            loads = {address: load for address in mine if (load := parsed[address]) is not None}
            with contextlib.suppress(RuntimeError):  # the loop has ended meanwhile
                loop.call_soon_threadsafe(is_read, namespace, loads)

        def read() -> dict[str, TimedLoad | None]:
            answers = read_many(
                addresses,
                self._port,
                "/load",
                limits=ReadLimits(
                    at_once=AT_ONCE,
                    each_seconds=TIMEOUT_SECONDS,
                    all_seconds=SAMPLE_SECONDS,
                    limit_bytes=LOAD_LIMIT_BYTES,
                ),
                is_needed=lambda: not leaving.is_set(),
                namespaces=namespaces,
                is_read=namespace_read,
            )
            ahead_seconds = self._clock() - time.monotonic()
            left = ((address, answer) for address, answer in answers.items() if address not in parsed)
            return parsed | {address: timed(address, answer, ahead_seconds) for address, answer in left}

        try:
            return await asyncio.to_thread(read)
        finally:
            leaving.set()  # a thread cannot be cancelled


def load_of(body: bytes) -> Load | None:
    """The load in a pod's answer; None where the answer is invalid."""
    try:
        return loads(Load, body)
    except DocumentError as error:
        logger.debug("no load: %s", error)
        return None


def sample_of(answer: TimedLoad) -> Sample:
    """A pod's load as a sample for the scaling algorithm. Impossible figures (a negative count) become
    unknown."""
    load = believed(answer.load)
    usage = load.kv_cache_usage
    return Sample(
        time_seconds=answer.time_seconds,
        running=load.running,
        waiting=load.waiting,
        generated_tokens=load.generation_tokens_total,
        computed_prompt_tokens=load.prompt_tokens_total,
        kv_cache_usage=None if usage is None else min(1.0, usage),
        first_tokens=load.first_tokens_total,
        ttft=load.ttft,
        tpot=load.tpot,
    )
