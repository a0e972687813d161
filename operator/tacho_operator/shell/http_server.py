"""The operator's HTTP server: /metrics for Prometheus, /scaling for JSON scalers, /readyz for the kubelet.

    GET /scaling/NAMESPACE/NAME   {"desiredReplicas": 3, "demandReplicas": 2.4, …}

What is not known is left out, and the answer is 404 where nothing is: a scaler without a number holds, and
one that reads 0 removes every replica. A standby passes /scaling on to the leader.
"""

from __future__ import annotations

import asyncio
import contextlib
import gzip
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import httpx
from aiohttp import web
from aiohttp.typedefs import Handler
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder, gzip_accepted

from tacho_operator.core.autoscaling.algorithm.types import Decision
from tacho_operator.shell.workqueue import Key

OWN_PREFIX = "tacho_operator_"
GZIP_LEVEL = 1
"""Series are nearly all alike: more takes longer than it saves."""
RENDERS_AT_ONCE = 2
SCRAPES_LIMIT, SCRAPES_PER_ADDRESS = 8, 3
"""Scrapes at once: a client that reads slowly holds a body of megabytes."""
SCRAPE_SECONDS = 15.0
"""A scrape is rendered and sent within this time, or ended."""
CHUNK_BYTES = 65536
CONNECTIONS_LIMIT, CONNECTIONS_PER_ADDRESS = 256, 32
"""Open connections of a port, and of one client there: one pod cannot shut out Prometheus or the kubelet."""
CONNECTION_SECONDS = 30.0
"""Each connection serves one request and ends after this time at the latest, whatever its client does."""
SHUTDOWN_SECONDS = 1.0
FORWARDED_HEADER = "Tacho-Forwarded"
LEADER_SECONDS = 5.0
"""Timeout of the leader's answer, in seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """The data and callbacks from which the HTTP server answers."""

    registry: CollectorRegistry
    latest: Callable[[Key], tuple[Decision, int] | None]
    """The last scaling decision of a resource, and how many pods serve."""
    scraped: Callable[[], None]
    """Called when the figures of resources are read."""
    hanging: Callable[[], str]
    """Why the workers hang; "" while the workers make progress."""
    stale: Callable[[], Sequence[str]]
    """The watches that are interrupted, a line each."""
    leader_address: Callable[[], str]
    """Where the leader answers, in a standby; "" where this process leads, or no leader is known."""
    client: httpx.AsyncClient
    """Sends the requests to the leader."""


class _Entrance(asyncio.Protocol):
    """Hands a connection over to aiohttp, or ends it where there are too many."""

    def __init__(self, handlers: web.Server) -> None:
        self._handlers = handlers

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        port, address = _ends(transport)
        opened = [_ends(item.transport) for item in self._handlers.connections if item.transport is not None]
        addresses = [other for to, other in opened if to == port]
        if len(addresses) >= CONNECTIONS_LIMIT or addresses.count(address) >= CONNECTIONS_PER_ADDRESS:
            transport.abort()
            return
        connection = self._handlers()
        transport.set_protocol(connection)
        connection.connection_made(transport)
        asyncio.get_running_loop().call_later(CONNECTION_SECONDS, connection.force_close)


def _ends(transport: asyncio.BaseTransport) -> tuple[int, str]:
    """The server's port and the client's address."""
    server, client = transport.get_extra_info("sockname"), transport.get_extra_info("peername")
    return (server[1] if server else 0), (client[0] if client else "")


@contextlib.asynccontextmanager
async def http_server(answers: Answers, ports: Sequence[int]) -> AsyncIterator[list[int]]:
    """Every path on each of ``ports``, for as long as the block lasts; yields the ports that were taken."""
    runner = web.AppRunner(_application(answers), access_log=None, shutdown_timeout=SHUTDOWN_SECONDS)
    await runner.setup()
    assert runner.server is not None
    handlers, loop = runner.server, asyncio.get_running_loop()

    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(runner.cleanup)
        found = []
        for port in ports:
            server = await loop.create_server(partial(_Entrance, handlers), port=port)
            stack.callback(server.close)
            ipv4_first = sorted(server.sockets, key=lambda item: item.family)
            found.append(ipv4_first[0].getsockname()[1])
        yield found


def _application(answers: Answers) -> web.Application:
    renders = asyncio.Semaphore(RENDERS_AT_ONCE)
    scrapes: list[str] = []

    async def metrics(request: web.Request) -> web.StreamResponse:
        address = request.remote or ""
        if len(scrapes) >= SCRAPES_LIMIT or scrapes.count(address) >= SCRAPES_PER_ADDRESS:
            return web.Response(status=429, text="too many scrapes at once\n")
        scrapes.append(address)
        try:
            async with asyncio.timeout(SCRAPE_SECONDS):
                return await scrape(request)
        finally:
            scrapes.remove(address)

    async def scrape(request: web.Request) -> web.StreamResponse:
        names = request.query.getall("name[]", [])
        if not only_operator_metrics(names):
            answers.scraped()
        encode, content_type = choose_encoder(request.headers.get("Accept", ""))
        zipped = gzip_accepted(request.headers.get("Accept-Encoding", ""))

        def render() -> bytes:
            registry = answers.registry
            body = encode(registry.restricted_registry(names) if names else registry)
            return gzip.compress(body, GZIP_LEVEL) if zipped else body

        async with renders:
            body = await asyncio.to_thread(render)
        headers = {"Content-Type": content_type, **({"Content-Encoding": "gzip"} if zipped else {})}
        return await _sent(request, body, headers)

    async def scaling(request: web.Request) -> web.Response:
        address = answers.leader_address()
        if address and FORWARDED_HEADER not in request.headers:
            return await _forwarded(answers.client, address, request)
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

    @web.middleware
    async def one_request(request: web.Request, handler: Handler) -> web.StreamResponse:
        response = await handler(request)
        response.force_close()
        return response

    application = web.Application(middlewares=[one_request])
    application.add_routes(
        [
            web.get("/metrics", metrics),
            web.get("/scaling/{namespace}/{name}", scaling),
            web.get("/readyz", ready),
        ]
    )
    return application


async def _sent(request: web.Request, body: bytes, headers: Mapping[str, str]) -> web.StreamResponse:
    """Sends piece by piece: written as a whole, a body is copied into the buffer of each connection."""
    response = web.StreamResponse(headers={**headers, "Content-Length": str(len(body))})
    response.force_close()
    with contextlib.suppress(ConnectionResetError):  # a client that hung up is no error to log
        await response.prepare(request)
        if request.method != "HEAD":
            for start in range(0, len(body), CHUNK_BYTES):
                await response.write(body[start : start + CHUNK_BYTES])
        await response.write_eof()
    return response


def leader_client() -> httpx.AsyncClient:
    """The HTTP client by which a standby asks the leader; proxies in the operator's environment are
    ignored."""
    return httpx.AsyncClient(timeout=LEADER_SECONDS, follow_redirects=False, trust_env=False)


async def _forwarded(client: httpx.AsyncClient, address: str, request: web.Request) -> web.Response:
    """The leader's answer; 503 where it gives none. A standby never passes on what was forwarded to it."""
    headers = {FORWARDED_HEADER: "1"}
    try:
        found = await client.get(f"http://{address}{request.rel_url.raw_path}", headers=headers)
    except httpx.HTTPError:
        return web.json_response({"error": "the leader does not answer"}, status=503)
    return web.Response(
        body=found.content,
        status=found.status_code,
        content_type="application/json",
        headers={"Cache-Control": "no-store"},
    )


def only_operator_metrics(names: Sequence[str]) -> bool:
    """Whether a scrape asks only for the operator's own metrics, for which no pod's load has to be
    sampled."""
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
