"""Keeps all LLMDeployments in the store up to date: by kopf's events, checked against lists of metadata.

kopf neither says when its stream breaks nor which objects were deleted while it was broken. So a middleware
of its HTTP client sees each list and watch. The store counts as complete only after a comparison with a list
of metadata: at the start, after each of kopf's lists (410), and every ten minutes. Objects that the list
lacks are removed.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import aiohttp

from tacho_operator.core.types import Manifest
from tacho_operator.shell.api_errors import (
    LONGEST_RETRY_AFTER_SECONDS,
    ApiError,
    requested_pause_seconds,
    response_error,
)
from tacho_operator.shell.bounded_reading import metadata_only
from tacho_operator.shell.handlers import INACTIVITY_SECONDS, KopfRunner
from tacho_operator.shell.kopf_content import ReadableContent
from tacho_operator.shell.kube import KINDS, Counted, Kube, Page
from tacho_operator.shell.metrics import Metrics
from tacho_operator.shell.store.reflector import (
    SETTLE_SECONDS,
    SHORTEST_WATCH_SECONDS,
    EtcdRestored,
    check_not_older,
    retry_seconds,
)
from tacho_operator.shell.store.store import Store, later

logger = logging.getLogger(__name__)

OK, FORBIDDEN = 200, 403
KIND = "LLMDeployment"
CHECK_SECONDS = 600.0
"""Between two lists of metadata while nothing breaks."""
COMPLETE_SECONDS = 60.0
"""Time in which kopf has to list, and to deliver every object in a list of metadata; else the operator
restarts."""

Place = tuple[str, str, str]
"""Namespace, name and resourceVersion."""


class WatchIncomplete(RuntimeError):
    """kopf has not delivered every object that the API server lists."""


class ResourceWatch:
    """Runs kopf's watch of LLMDeployments, restarts it with back-off, and keeps the store complete by lists.

    One namespace, or all ("").
    """

    kind = KIND

    def __init__(
        self,
        kube: Kube,
        store: Store,
        runner: KopfRunner,
        *,
        namespace: str = "",
        on_reconnect: Callable[[str, str], None],
        counted: Counted,
    ) -> None:
        self._kube, self._store, self._runner = kube, store, runner
        self.namespace = namespace
        self._on_reconnect, self._counted = on_reconnect, counted
        self._failures = 0
        self._last_event = self._last_check = time.monotonic()
        self._watch_began = 0.0
        """0 before the first watch after a list."""
        self._events_before = self._events = 0
        self._newest = 0
        """The highest resourceVersion seen in an event."""
        self._listed_uids: frozenset[str] = frozenset()
        self._listed_version = ""
        self._deleted: set[str] = set()
        """Uids that were deleted since the last list of metadata."""
        self._withheld: frozenset[str] = frozenset()
        """Uids that kopf had not delivered when it was last waited for."""
        self._lists = 0
        """Number of lists that kopf has begun."""
        self._kopf_listed = asyncio.Event()
        self._refusal: asyncio.Future[None] | None = None
        """Of the running kopf: fails when its list or its discovery is refused, so that it starts anew."""
        self._complete = self._streaming = self._settling = False
        store.lost(KIND, namespace, f"{KIND}: not listed yet")

    def silent_seconds(self) -> float:
        """Seconds since the stream last delivered something: an event, a new watch, a complete list."""
        return time.monotonic() - max(self._last_event, self._last_check)

    async def run(self) -> None:
        """Runs until cancelled: restarts kopf whenever it fails. Raises EtcdRestored."""
        while True:
            try:
                if not await self._kube.is_served(KIND):
                    raise ApiError(404, f"{KIND} is not served (is its CRD installed?)")
                await self._run_once()
            except EtcdRestored:
                raise
            except Exception as error:
                self._failures += 1
                self._complete = False
                self._watch_began = 0.0
                self._lost("broken", str(error) or type(error).__name__)
                delay = retry_seconds(self._failures, requested_pause_seconds(error))
                delay *= random.uniform(0.5, 1.0)  # noqa: S311 - spreads retries, guards nothing
                place = f"namespace {self.namespace}" if self.namespace else "all namespaces"
                logger.warning(
                    "%s in %s: %s; kopf starts anew in %.1f s",
                    KIND,
                    place,
                    error,
                    delay,
                    exc_info=logger.isEnabledFor(logging.DEBUG),
                )
                await asyncio.sleep(delay)

    async def _run_once(self) -> None:
        """One kopf operator and its checks, until either fails."""
        self._kopf_listed.clear()
        refusal = self._refusal = asyncio.get_running_loop().create_future()
        watching = asyncio.create_task(
            self._runner.watch(self.namespace, self.on_event, (self.middleware,)), name="kopf"
        )
        checking = asyncio.create_task(self._check_lists(), name="list of metadata")
        parts: tuple[asyncio.Future[None], ...] = (refusal, checking, watching)
        try:
            done, _ = await asyncio.wait(parts, return_when=asyncio.FIRST_COMPLETED)
            for part in parts:
                if part in done:
                    part.result()
        finally:
            for part in parts:
                part.cancel()
            await asyncio.gather(*parts, return_exceptions=True)

    # --- kopf's events ---
    def on_event(self, what: str | None, manifest: Manifest) -> None:
        """Stores or removes the object of one kopf event. Events of two uids of one name may arrive in either
        order."""
        metadata = manifest["metadata"]
        uid, version = str(metadata["uid"]), str(metadata["resourceVersion"])
        self._last_event = time.monotonic()
        if version.isdigit() and int(version) > self._newest:
            self._newest = int(version)
            self._events += 1
        if what == "DELETED":
            self._deleted.add(uid)
            self._store.remove(KIND, metadata["namespace"], metadata["name"], uid=uid)
        elif uid in self._listed_uids or not self._is_listed_before(version):
            self._store.put(KIND, manifest)

    def _is_listed_before(self, version: str) -> bool:
        """Whether the last list of metadata would name an object of that version."""
        return bool(self._listed_version) and later(self._listed_version, version)

    # --- kopf's requests ---
    async def middleware(
        self, request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        """Notes when kopf's lists and watches begin and fail; delays watches that end at once."""
        if not request.url.path.endswith(f"/{KINDS[KIND][1]}"):
            response = await handler(request)
            if response.status == FORBIDDEN:
                self._refused(await response_error(response))
            return response
        is_watch = "watch" in request.url.query
        verb = "watch" if is_watch else "list"
        if is_watch:
            await self._before_watch()
        elif "continue" not in request.url.query:
            self._lists += 1
            self._complete = False
            self._lost("expired" if self._watch_began else "", "being listed")
            self._watch_began = 0.0
        try:
            response = await handler(request)
            error = None if response.status == OK else await response_error(response)
        except (aiohttp.ClientError, OSError, TimeoutError) as failure:
            self._counted(verb, KIND, 0)
            self._settling = True
            self._lost("broken", f"no answer from the API server: {type(failure).__name__}")
            raise
        self._counted(verb, KIND, response.status)
        if error is not None and is_watch:
            self._settling = True
            self._lost("broken", str(error))  # kopf tries a watch again by itself
            wait = asyncio.get_running_loop().call_later
            wait(LONGEST_RETRY_AFTER_SECONDS, self._overdue, self._watch_began, error)
        elif error is not None:
            self._refused(error)
        elif is_watch:
            self._watch_begins()
        elif "continue" not in request.url.query:
            self._kopf_listed.set()
        if error is None:
            token = request.url.query.get("continue")
            content: Any = ReadableContent(response.content, partial(self._metadata_page, token))
            response.content = content
        return response

    async def _metadata_page(self, token: str | None) -> Page:
        return await anext(self._kube.pages(KIND, self.namespace or None, metadata_only=True, token=token))

    def _refused(self, error: ApiError) -> None:
        """Ends the running kopf, which would try again without saying why."""
        self._settling = True
        self._lost("", str(error))
        if self._refusal is not None and not self._refusal.done():
            self._refusal.set_exception(error)

    def _overdue(self, watch_began: float, error: ApiError) -> None:
        """kopf waits for as long as a 429 says, be it a day, and nothing is decided meanwhile."""
        if watch_began == self._watch_began:
            self._refused(ApiError(error.status, error.message))

    async def _before_watch(self) -> None:
        """The former watch, if any, has ended."""
        if self._watch_began:
            lasted = time.monotonic() - self._watch_began
            silent = time.monotonic() - self._last_event
            self._settling = self._settling or silent > INACTIVITY_SECONDS / 2
            self._lost("ended", "the watch ended and begins anew")
            if lasted < SHORTEST_WATCH_SECONDS and self._events == self._events_before:
                await asyncio.sleep(SHORTEST_WATCH_SECONDS)
        self._watch_began = time.monotonic()
        self._events_before = self._events

    def _watch_begins(self) -> None:
        """Changes that a broken stream missed arrive within moments of its successor's beginning."""
        self._last_event = time.monotonic()
        wait, self._settling = SETTLE_SECONDS if self._settling else 0.0, False
        asyncio.get_running_loop().call_later(wait, self._streams, self._watch_began)

    def _streams(self, watch_began: float) -> None:
        if watch_began == self._watch_began:
            self._streaming = True
            self._report()

    def _lost(self, why: str, message: str) -> None:
        self._streaming = False
        if why:
            self._on_reconnect(KIND, why)
        self._store.lost(KIND, self.namespace, f"{KIND}: {message}")

    def _report(self) -> None:
        if self._complete and self._streaming:
            self._failures = 0
            self._store.runs(KIND, self.namespace)

    # --- lists of metadata ---
    async def _check_lists(self) -> None:
        """Raises WatchIncomplete when kopf does not list, or does not deliver the listed objects."""
        try:
            async with asyncio.timeout(COMPLETE_SECONDS):
                await self._kopf_listed.wait()
        except TimeoutError:
            raise WatchIncomplete(f"kopf did not list within {COMPLETE_SECONDS:.0f} s") from None
        while True:
            self._kopf_listed.clear()
            await self._check()
            try:
                async with asyncio.timeout(CHECK_SECONDS):
                    await self._kopf_listed.wait()
            except TimeoutError:
                continue

    async def _check(self) -> None:
        """Removes objects that are not listed, and waits until the store has every listed object."""
        self._deleted.clear()
        lists = self._lists
        listed: dict[str, Place] = {}
        async for page in self._kube.pages(KIND, self.namespace or None, metadata_only=True):
            version = page.version
            for item in page.items:
                metadata = item["metadata"]
                listed[metadata["uid"]] = (
                    metadata["namespace"], metadata["name"], metadata["resourceVersion"]
                )  # fmt: skip
            await asyncio.sleep(0)
        check_not_older(self._store, KIND, self.namespace, version)
        self._listed_uids, self._listed_version = frozenset(listed), version
        for name, uid, held_version in self._store.held(KIND, self.namespace):
            if uid not in listed and later(version, held_version):
                self._store.remove(KIND, *name, uid=uid)
        await self._delivered(listed)
        self._complete = lists == self._lists  # else kopf has begun another list meanwhile
        self._store.at(KIND, self.namespace, version)
        self._last_check = time.monotonic()
        self._report()

    async def _delivered(self, listed: Mapping[str, Place]) -> None:
        """Waits until the store has every listed object. Raises WatchIncomplete.

        The metadata of an object that kopf withholds a second time is read: it stops no others for ever.
        """
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(COMPLETE_SECONDS):
                for uid, place in listed.items():
                    while self._is_missing(uid, place):
                        await self._store.changed()
                return
        missing = {uid: place for uid, place in listed.items() if self._is_missing(uid, place)}
        known, self._withheld = self._withheld, frozenset(missing)
        names = [f"{namespace}/{name}" for namespace, name, _ in missing.values()]
        if len(missing) == len(listed) or not missing.keys() <= known:
            raise WatchIncomplete(f"kopf did not deliver {', '.join(names[:5])} in time")
        logger.warning("kopf does not deliver %s: read at each list of metadata", ", ".join(names[:5]))
        for namespace, name, _ in missing.values():
            if (found := await self._kube.get(KIND, namespace, name)) is not None:
                self._store.put(KIND, metadata_only(found, "kopf does not deliver it"))

    def _is_missing(self, uid: str, place: Place) -> bool:
        namespace, name, version = place
        found = self._store.find(KIND, namespace, name)
        # A later object of that name, too, shows that this one was deleted.
        return uid not in self._deleted and (found is None or not later(found[1], version))


def resource_watches(
    kube: Kube, store: Store, runner: KopfRunner, namespaces: tuple[str, ...], metrics: Metrics
) -> tuple[ResourceWatch, ...]:
    """One watch for each of ``namespaces``, or one for the whole cluster."""
    return tuple(
        ResourceWatch(
            kube,
            store,
            runner,
            namespace=namespace,
            on_reconnect=metrics.reconnect,
            counted=metrics.request,
        )
        for namespace in namespaces or ("",)
    )
