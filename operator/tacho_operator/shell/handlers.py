"""Runs kopf: its login and its events of LLMDeployments. It decides and writes nothing.

An event from kopf only adds a name to the work queue. Nothing depends on it, as the operator's own reflectors
fill store and queue. The process runs one kopf operator for each watched namespace or for the whole cluster.
A failure of kopf ends its operator, which is then restarted, but not the process. kopf's own liveness
endpoint is not used: it takes connections without limit.

kopf parses lines of any length and depth: one LLMDeployment with managedFields of 3,000 levels ends it. So it
gets names and versions alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import datetime
import json
import logging
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from functools import partial
from typing import Any, cast

import aiohttp
import kopf

from tacho_operator.shell.guard import TOO_LONG, Cut, Skipped, Unreadable, beginning, lines, list_head, parsed
from tacho_operator.shell.kube import KINDS, ONLY_METADATA
from tacho_operator.shell.probed_socket import environment_proxy
from tacho_operator.shell.store.reflector import pause_seconds

logger = logging.getLogger(__name__)

LOGIN_EXPIRES = datetime.timedelta(minutes=10)
"""How long kopf uses its login. Kubernetes replaces service-account tokens in their file, which kopf reads
only at login.
"""
IDLE_WORKER_SECONDS = 0.1
"""Seconds that kopf keeps a task for an object after its last change. Its default of 5 s means thousands of
tasks at start."""
WORKERS = 200
"""Most objects with kopf tasks at a time, two each. Else the rate of events would decide their number."""
INACTIVITY_SECONDS = 150.0
"""Seconds without any event after which a watch is restarted. A bookmark comes about every minute."""
WATCH_BACKOFFS_SECONDS = (1.0, 5.0, 30.0)
"""Pauses in seconds between retries of a request; after the last one kopf's operator is restarted."""
LASTING_SECONDS = 600.0
"""Seconds after which a kopf operator is healthy: its next failure is logged, with a short pause first."""
REQUEST_TIMEOUT_SECONDS = 30.0

OnEvent = Callable[[str, str, str], None]
"""Callback with namespace, name and resourceVersion of a created, changed or deleted LLMDeployment."""


def configure(settings: kopf.OperatorSettings, error_backoffs: Iterable[float]) -> None:
    """Sets kopf's options. With its defaults each object of a burst of events has two tasks for 5 s."""
    settings.posting.enabled = False
    settings.scanning.disabled = True
    settings.queueing.idle_timeout = IDLE_WORKER_SECONDS
    settings.queueing.worker_limit = WORKERS
    settings.watching.chunk_size = 1  # of a list, only its version is read
    settings.watching.inactivity_timeout = INACTIVITY_SECONDS
    settings.watching.connect_timeout = REQUEST_TIMEOUT_SECONDS
    settings.networking.request_timeout = REQUEST_TIMEOUT_SECONDS
    settings.networking.error_backoffs = error_backoffs


def _base_registry(
    kubeconfig: str,
    error_backoffs: Iterable[float],
    middlewares: Sequence[aiohttp.ClientMiddlewareType] = (),
) -> kopf.OperatorRegistry:
    """kopf's registry with handlers for startup, login and cleanup."""
    found = kopf.OperatorRegistry()

    @kopf.on.startup(id="settings", registry=found)
    async def startup(settings: kopf.OperatorSettings, **_: Any) -> None:
        configure(settings, error_backoffs)

    @kopf.on.login(id="login", registry=found)
    async def login(**kwargs: Any) -> kopf.AiohttpSession | None:
        # kopf finds the file by the same variable that the settings were read from.
        login_with = kopf.login_with_kubeconfig if kubeconfig else kopf.login_with_service_account
        info = login_with(**kwargs)
        return None if info is None else _session(info, middlewares)

    @kopf.on.cleanup(id="cleanup", registry=found)
    async def cleanup(**_: Any) -> None:
        logger.debug("kopf ended")

    return found


def _session(
    info: kopf.ConnectionInfo, middlewares: Sequence[aiohttp.ClientMiddlewareType]
) -> kopf.AiohttpSession:
    """kopf's HTTP session, with ``middlewares`` and the proxy in the environment."""
    session = aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, ssl=info.as_ssl_context()),
        headers=info.as_http_headers(),
        proxy=info.proxy_url or environment_proxy(info.server),
        middlewares=middlewares,
    )
    return kopf.AiohttpSession(
        server=info.server,
        default_namespace=info.default_namespace,
        expiration=datetime.datetime.now(datetime.timezone.utc) + LOGIN_EXPIRES,
        aiohttp_session=session,
    )


def watch_registry(kubeconfig: str, on_event: OnEvent, skipped: Skipped) -> kopf.OperatorRegistry:
    """kopf's registry for an operator that watches LLMDeployments."""
    middleware = partial(names_only, skipped=skipped)
    found = _base_registry(kubeconfig, WATCH_BACKOFFS_SECONDS, (middleware,))
    api_version, plural = KINDS["LLMDeployment"]
    group, version = api_version.split("/")

    @kopf.on.event(group, version, plural, id="queue", registry=found)
    async def enqueue(event: Any, **_: Any) -> None:
        metadata = event["object"]["metadata"]
        on_event(metadata["namespace"], metadata["name"], metadata["resourceVersion"])

    return found


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class KopfRunner:
    """Runs kopf operators within the process's own event loop."""

    kubeconfig: str
    take_signals: Callable[[], None]
    """Installs the process's signal handlers, which kopf replaces with its own at each start."""
    skipped: Skipped = lambda *_: None
    """Called with each object that cannot be read."""

    async def watch(self, namespace: str, on_event: OnEvent) -> None:
        """Watches the LLMDeployments of a namespace, or of all (""). Ends only with an error, which it
        raises."""
        await self._run_kopf(watch_registry(self.kubeconfig, on_event, self.skipped), namespace)

    async def _run_kopf(self, registry: kopf.OperatorRegistry, namespace: str) -> None:
        # Not kopf.operator(): in the end that cancels every task of the event loop that began after it.
        settings = kopf.OperatorSettings()
        settings.process.ultimate_exiting_timeout = None  # else kopf kills the process 10 minutes later
        tasks = await kopf.spawn_tasks(
            registry=registry,
            settings=settings,
            standalone=True,
            # Else kopf looks up the user's name, which a container's user may not have.
            identity=cast(Any, os.uname().nodename),
            clusterwide=not namespace,
            namespaces=[namespace] if namespace else [],
        )
        self.take_signals()
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                if not task.cancelled():  # whose error would cancel the process
                    task.result()
            raise RuntimeError("kopf ended without an error")
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


async def supervised(what: str, run: Callable[[], Awaitable[None]]) -> None:
    """Runs ``run``, and starts it again after a growing pause whenever it fails. An error of one type is
    logged once."""
    failures, logged = 0, set[str]()
    while True:
        began = time.monotonic()
        try:
            await run()
        except Exception as error:
            if time.monotonic() - began > LASTING_SECONDS:
                failures, logged = 0, set()
            failures += 1
            kind = type(error).__name__
            level = logging.DEBUG if kind in logged else logging.WARNING
            logged.add(kind)
            logger.log(
                level,
                "kopf's %s failed and starts anew: %s: %.300s",
                what,
                kind,
                error,
                exc_info=logger.isEnabledFor(logging.DEBUG),
            )
        await asyncio.sleep(pause_seconds(failures, 0.0))


OK = 200
WATCH_PAUSE_SECONDS = 1.0
"""Seconds before each watch. kopf restarts a watch at once, even if a broken proxy ends each immediately."""
WATCHED_METADATA = ONLY_METADATA.replace("MetadataList", "Metadata")
READ = ("namespace", "name", "uid", "resourceVersion")


async def names_only(
    request: aiohttp.ClientRequest,
    handler: aiohttp.ClientHandlerType,
    *,
    skipped: Skipped = lambda *_: None,
) -> aiohttp.ClientResponse:
    """Middleware of kopf's HTTP client: passes on the names and versions of LLMDeployments alone."""
    if not request.url.path.endswith(f"/{KINDS['LLMDeployment'][1]}"):
        return await handler(request)
    is_watch = "watch" in request.url.query
    request.headers["Accept"] = WATCHED_METADATA if is_watch else ONLY_METADATA
    if is_watch:
        await asyncio.sleep(WATCH_PAUSE_SECONDS)
    response = await handler(request)
    if response.status == OK:
        content: Any = NamesOnly(response.content, skipped)
        response.content = content
    return response


class NamesOnly:
    """Replaces the content of a response to kopf by names and versions. What cannot be read is skipped."""

    def __init__(self, content: Any, skipped: Skipped = lambda *_: None) -> None:
        self._content, self._skipped = content, skipped

    def __getattr__(self, name: str) -> Any:
        return getattr(self._content, name)

    async def read(self) -> bytes:
        """A list without objects; kopf's watch then starts at the list's version."""
        metadata, _ = list_head(await beginning(self._content))
        version = metadata.get("resourceVersion")
        return json.dumps({"metadata": {"resourceVersion": version}, "items": []}).encode()

    async def iter_chunked(self, _size: int) -> AsyncIterator[bytes]:
        """The events of a watch, one per chunk."""
        with contextlib.suppress(Cut):
            async for line in lines(self._content):
                try:
                    event = parsed(line) if line is not None else None
                    why = TOO_LONG
                except Unreadable as error:
                    event, why = None, str(error)
                if not isinstance(event, dict) or not isinstance(event.get("object"), dict):
                    self._skipped("LLMDeployment", "?", why)
                    continue
                found = event["object"]
                known = found.get("metadata") or {}
                metadata = {key: known[key] for key in READ if key in known}
                kept = {"code": found.get("code"), "metadata": metadata}
                yield json.dumps({"type": event["type"], "object": kept}).encode() + b"\n"
