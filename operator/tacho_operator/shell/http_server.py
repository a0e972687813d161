"""The operator's HTTP server: /metrics for Prometheus, /scaling for JSON scalers, /readyz and /healthz.

GET /scaling/NAMESPACE/NAME {"desiredReplicas": 3, "demandReplicas": 2.4, …}

Unknown values are left out; if all are unknown, the answer is 404. A scaler keeps its replicas without a
number, and would remove all at 0. A standby forwards /scaling to the leader.
"""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import logging
import ssl
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import httpx
from aiohttp import web
from aiohttp.typedefs import Handler
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder, gzip_accepted

from tacho_operator.core.autoscaling.algorithm.types import Decision
from tacho_operator.shell.workqueue import Key

logger = logging.getLogger(__name__)
DISCARDED = logging.Logger("discarded", logging.CRITICAL + 1)
"""Discards what the HTTP library logs: a traceback of 12 KB for each request that it cannot parse, in 3 ms of
the event loop.
"""
OWN_PREFIX = "tacho_operator_"
GZIP_LEVEL = 1
"""Compression level of gzip. Series are so repetitive that a higher level costs more time than it saves."""
RENDERS_AT_ONCE = 1
"""Most scrapes that are rendered at the same time: that of 10,000 resources has 64 MiB, and takes 155 MiB."""
MAX_HELD_BYTES = 64 << 20
"""Most bytes of the answers that are being sent. A single answer may be longer."""
SCRAPES_LIMIT, SCRAPES_PER_ADDRESS = 8, 3
"""Most scrapes at a time, in all and per client address: each may hold megabytes while its client reads."""
SCRAPE_SECONDS = 15.0
"""Seconds within which a scrape is rendered and sent, or aborted."""
CHUNK_BYTES = 65536
CONNECTIONS_LIMIT, CONNECTIONS_PER_ADDRESS = 256, 32
"""Most open connections of a port, in all and per client address, so that pods cannot shut out Prometheus or
the kubelet.
"""
CONNECTION_SECONDS = 30.0
"""Seconds after which a connection is closed. Each connection serves one request."""
SHUTDOWN_SECONDS = 1.0
FORWARDED_HEADER = "Tacho-Forwarded"
LEADER_SECONDS, LEADER_BYTES = 5.0, 4096
"""Longest time, and most bytes, of the leader's answer: another pod may have its address by now."""
NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""A TLS context without certificate authorities, as the leader is asked over HTTP. By default each client
loads the CA file, which blocks the event loop for 19 ms.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """The data and callbacks from which the HTTP server answers."""

    registry: CollectorRegistry
    latest: Callable[[Key], tuple[Decision, int] | None]
    """The last scaling decision of a resource, and how many pods serve."""
    scraped: Callable[[], None]
    """Called at each scrape that reads resource metrics, so that the scaler samples all loads."""
    hanging: Callable[[], str]
    """Returns why the work queue makes no progress, as a clause; "": it makes progress."""
    stale: Callable[[], Sequence[str]]
    """Returns the interrupted watches, and a refused token, a line each."""
    leader_address: Callable[[], str]
    """Returns the leader's address in a standby; "" in the leader, or where no leader is known."""


Opened = dict[asyncio.Transport, asyncio.TimerHandle]
"""Open connections of a port, oldest first, each with the timer that ends it."""


class _Entrance(asyncio.Protocol):
    """Accepts a connection for aiohttp. Where there are too many, it ends the oldest of a client with most.

    Not the new one: silent connections from a node's address would else shut out its kubelet.
    """

    def __init__(self, handlers: web.Server, opened: Opened) -> None:
        self._handlers, self._opened = handlers, opened

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        for closed in [item for item in self._opened if not _is_open(item)]:
            self._opened.pop(closed).cancel()
        counts, address = Counter(map(_client, self._opened)), _client(transport)
        if counts[address] >= CONNECTIONS_PER_ADDRESS:
            self._end_oldest(address)
        elif len(self._opened) >= CONNECTIONS_LIMIT:
            self._end_oldest(counts.most_common(1)[0][0])
        connection = self._handlers()
        transport.set_protocol(connection)
        connection.connection_made(transport)
        loop = asyncio.get_running_loop()
        self._opened[transport] = loop.call_later(CONNECTION_SECONDS, _close_transport, transport)

    def _end_oldest(self, address: str) -> None:
        oldest = next(item for item in self._opened if _client(item) == address)
        self._opened.pop(oldest).cancel()
        oldest.abort()


def _is_open(transport: asyncio.Transport) -> bool:
    """Whether the connection is open. One that was closed still is until the client has read what was
    written, which may be never.
    """
    return not transport.is_closing() or transport.get_write_buffer_size() > 0


def _close_transport(transport: asyncio.Transport) -> None:
    if _is_open(transport):  # asyncio's abort fails where a closed one has sent its rest
        transport.abort()


def _client(transport: asyncio.BaseTransport) -> str:
    """The client's address."""
    peer = transport.get_extra_info("peername")
    return str(peer[0]) if peer else ""


@contextlib.asynccontextmanager
async def http_server(answers: Answers, ports: Sequence[int]) -> AsyncIterator[list[int]]:
    """Serves every path on each of ``ports`` within the ``async with`` block; yields the ports in use.

    What is made for a client ends with its connection, so that the limit of connections bounds it too.
    """
    application = _application(answers)
    runner = web.AppRunner(
        application,
        access_log=None,
        logger=DISCARDED,
        shutdown_timeout=SHUTDOWN_SECONDS,
        handler_cancellation=True,
    )
    await runner.setup()
    assert runner.server is not None
    handlers, loop = runner.server, asyncio.get_running_loop()

    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(runner.cleanup)
        found = []
        for port in ports:
            server = await loop.create_server(partial(_Entrance, handlers, {}), port=port)
            stack.callback(server.close)
            ipv4_first = sorted(server.sockets, key=lambda item: item.family)
            found.append(ipv4_first[0].getsockname()[1])
        yield found


class _Scrapes:
    """Answers scrapes, of which a few at a time are rendered and sent."""

    def __init__(self, registry: CollectorRegistry, scraped: Callable[[], None]) -> None:
        self._registry, self._scraped = registry, scraped
        self._renders = asyncio.Semaphore(RENDERS_AT_ONCE)
        self._held = 0
        """Number of bytes of the answers that are being sent."""
        self._addresses: list[str] = []
        """Client address of each scrape in progress."""

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """The scrape's answer: 429 where too many are in progress."""
        address = request.remote or ""
        if len(self._addresses) >= SCRAPES_LIMIT or self._addresses.count(address) >= SCRAPES_PER_ADDRESS:
            return web.Response(status=429, text="too many scrapes at once\n")
        self._addresses.append(address)
        try:
            async with asyncio.timeout(SCRAPE_SECONDS):
                return await self._rendered(request)
        finally:
            self._addresses.remove(address)

    async def _rendered(self, request: web.Request) -> web.StreamResponse:
        names = request.query.getall("name[]", [])
        if not only_operator_metrics(names):
            self._scraped()
        encode, content_type = _encoder(request.headers.get("Accept", ""))
        zipped = gzip_accepted(request.headers.get("Accept-Encoding", ""))

        def render() -> bytes:
            body = encode(self._registry.restricted_registry(names) if names else self._registry)
            return gzip.compress(body, GZIP_LEVEL) if zipped else body

        await self._renders.acquire()
        rendering = asyncio.create_task(asyncio.to_thread(render))
        # A thread cannot be cancelled: after SCRAPE_SECONDS, too, the next one waits for its end.
        rendering.add_done_callback(lambda _: self._renders.release())
        body = await asyncio.shield(rendering)
        if self._held and self._held + len(body) > MAX_HELD_BYTES:
            return web.Response(status=429, text="too many bytes of scrapes at once\n")
        headers = {"Content-Type": content_type, **({"Content-Encoding": "gzip"} if zipped else {})}
        self._held += len(body)
        try:
            return await _sent(request, body, headers)
        finally:
            self._held -= len(body)


def _encoder(accept: str) -> tuple[Callable[[Any], bytes], str]:
    """The text format that the client prefers. The library fails at versions that are no numbers: such a
    request would hide a failure of the operator's own, as one of each kind is logged.
    """
    try:
        return choose_encoder(accept)
    except (TypeError, ValueError):
        return choose_encoder("")


def _application(answers: Answers) -> web.Application:
    async def scaling(request: web.Request) -> web.Response:
        address = answers.leader_address()
        if address and FORWARDED_HEADER not in request.headers:
            return await _forwarded(address, request)
        key = Key(request.match_info["namespace"], request.match_info["name"])
        found = scaling_document(answers.latest(key))
        return web.json_response(
            found or {"error": "its load is unknown"},
            status=200 if found else 404,
            headers={"Cache-Control": "no-store"},
        )

    async def ready(_: web.Request) -> web.Response:
        why = "\n".join([*filter(None, [answers.hanging()]), *answers.stale()])
        return web.Response(status=503 if why else 200, text=f"{why or 'ok'}\n")

    async def live(_: web.Request) -> web.Response:
        if why := answers.hanging():
            return web.Response(status=500, text=f"{why}\n")
        return web.json_response({"workers": "ok"})

    failures: set[str] = set()

    @web.middleware
    async def one_request(request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            response = await handler(request)
        except web.HTTPException as answer:  # the client's doing, as what follows
            answer.force_close()
            raise
        except (TimeoutError, ConnectionError):
            raise
        except Exception as error:
            if (kind := type(error).__name__) not in failures:
                logger.exception("%s cannot be answered; such errors are not logged again", request.path)
            failures.add(kind)
            raise
        response.force_close()
        return response

    application = web.Application(middlewares=[one_request])
    application.add_routes(
        [
            web.get("/metrics", _Scrapes(answers.registry, answers.scraped).answer),
            web.get("/scaling/{namespace}/{name}", scaling),
            web.get("/readyz", ready),
            web.get("/healthz", live),
        ]
    )
    return application


async def _sent(request: web.Request, body: bytes, headers: Mapping[str, str]) -> web.StreamResponse:
    """Sends ``body`` in pieces. Written at once, it would be copied whole into each connection's buffer."""
    response = web.StreamResponse(headers={**headers, "Content-Length": str(len(body))})
    response.force_close()
    with contextlib.suppress(ConnectionResetError):  # a client that hung up is no error to log
        await response.prepare(request)
        if request.method != "HEAD":
            for start in range(0, len(body), CHUNK_BYTES):
                await response.write(body[start : start + CHUNK_BYTES])
        await response.write_eof()
    return response


async def _forwarded(address: str, request: web.Request) -> web.Response:
    """The leader's answer to the request; 503 where it does not answer. A standby does not forward a request
    that was forwarded to it. Proxies in the operator's environment are ignored.
    """
    headers, body = {FORWARDED_HEADER: "1", "Accept-Encoding": "identity"}, b""
    url = f"http://{address}{request.rel_url.raw_path}"
    # A client for each request, which ends after the time limit: where the limit cancels httpx while it
    # closes an answer, the connection stays open until its client ends.
    async with httpx.AsyncClient(
        timeout=LEADER_SECONDS, follow_redirects=False, trust_env=False, verify=NO_TLS
    ) as client:
        try:
            async with asyncio.timeout(LEADER_SECONDS), client.stream("GET", url, headers=headers) as found:
                async for part in found.aiter_raw():
                    body += part
                    if len(body) > LEADER_BYTES:
                        raise httpx.DecodingError("the answer is too long")
        except (httpx.HTTPError, httpx.InvalidURL, TimeoutError):
            return web.json_response({"error": "the leader does not answer"}, status=503)
    return web.Response(
        body=body,
        status=found.status_code,
        content_type="application/json",
        headers={"Cache-Control": "no-store"},
    )


def only_operator_metrics(names: Sequence[str]) -> bool:
    """Whether a scrape requests only metrics of the operator itself, so that no pod's load is needed."""
    return bool(names) and all(name.startswith(OWN_PREFIX) for name in names)


def scaling_document(latest: tuple[Decision, int] | None) -> Mapping[str, float]:
    """The JSON document of /scaling; {} where the load is not known."""
    if latest is None or latest[0].figures.demand is None:
        return {}
    decision, serving = latest
    figures = decision.figures
    known = {
        "desiredReplicas": figures.need,
        "servingReplicas": serving,
        "demandReplicas": figures.demand,
        "utilizationRatio": figures.utilization,
        "requestsRunning": figures.running,
        "requestsWaiting": figures.waiting,
        "requestsPerSecondPerReplica": figures.trusted_requests_per_second,
        "prefillTokensPerSecondPerReplica": figures.trusted_prefill_tokens_per_second,
        "outputTokensPerSecondPerReplica": figures.trusted_output_tokens_per_second,
    }
    return {name: value for name, value in known.items() if value is not None}
