"""The Kubernetes API as this operator uses it: plain dicts in, plain dicts out, typed errors.

Paths come from a table of the kinds tacho touches, so no discovery is read and no right beyond the
table is needed.
"""

from __future__ import annotations

import json
import urllib.request
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import aiohttp
from kubernetes.aio import client as aio, config as aio_config
from kubernetes.aio.dynamic import DynamicClient
from kubernetes.aio.dynamic.exceptions import DynamicApiError, api_exception
from kubernetes.aio.utils import is_retry_after_response, retry_after_seconds

from tacho_operator.core.types import Manifest

EXPIRED = 410
FIELD_MANAGER = "tacho-operator"
SIZE_MANAGER = "tacho-scaler"
"""Owns the replicas of Deployments, and nothing else."""
PAGE = 500
REQUEST_TIMEOUT_SECONDS = 30
LONGEST_RETRY_AFTER_SECONDS = 120.0
"""Maximum Retry-After that is honoured, equal to the longest pause of the operator's own. A proxy's
request to wait a day is not honoured."""
WATCH_SILENCE_SECONDS = 150
"""The API server sends a bookmark about every minute: a watch without any for longer has failed."""

KINDS: dict[str, tuple[str, str]] = {
    "LLMDeployment": ("tacho.dev/v1alpha1", "llmdeployments"),
    "ControllerRevision": ("apps/v1", "controllerrevisions"),
    "Deployment": ("apps/v1", "deployments"),
    "ReplicaSet": ("apps/v1", "replicasets"),
    "Service": ("v1", "services"),
    "ConfigMap": ("v1", "configmaps"),
    "Pod": ("v1", "pods"),
    "Event": ("v1", "events"),
    "PersistentVolumeClaim": ("v1", "persistentvolumeclaims"),
    "Node": ("v1", "nodes"),
    "NetworkPolicy": ("networking.k8s.io/v1", "networkpolicies"),
    "PodDisruptionBudget": ("policy/v1", "poddisruptionbudgets"),
    "Lease": ("coordination.k8s.io/v1", "leases"),
}
APPLIED = frozenset({"Deployment", "Service", "ConfigMap", "NetworkPolicy", "PodDisruptionBudget"})
"""Children that change."""
ONLY_METADATA = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json"
NO_VERSION = "1"
"""A resourceVersion that no object has (etcd begins with it, empty). An apply with it creates an absent
object and is refused where the object exists."""


class ApiError(Exception):
    """A request the API server refused, as one line; status 0 where it gave no answer."""

    def __init__(self, status: int, message: str, *, retry_after_seconds: float = 0.0) -> None:
        super().__init__(f"{status}: {message}")
        self.status = status
        self.message = message
        self.retry_after_seconds = retry_after_seconds
        """Seconds to wait before the request is repeated, by the API server's header (Retry-After of 429 and
        5xx)."""


class Conflict(ApiError):
    """The object was changed, or is owned, by another client (HTTP 409)."""


class Forbidden(ApiError):
    """Refused by authorization, quota or admission (HTTP 403)."""


class Invalid(ApiError):
    """The API server cannot take the object as it is: a field of it is wrong, or it is too large."""


class Fenced(ApiError):
    """Refused by the chart's admission policy, as another operator holds the Lease (HTTP 403)."""


class Missing(ApiError):
    """The object does not exist (HTTP 404)."""


class Expired(ApiError):
    """The resourceVersion is too old to continue from (HTTP 410)."""


ERRORS: dict[int, type[ApiError]] = {
    400: Invalid, 403: Forbidden, 404: Missing, 409: Conflict, EXPIRED: Expired, 413: Invalid, 422: Invalid,
}  # fmt: skip
"""Errors of their own, by HTTP status."""
NOT_TYPED = "failed to create typed patch object"
"""Words of the 500 that answers a server-side apply of a list with two items of one key."""
FENCED = "this operator does not hold the Lease"
"""Words of the chart's admission policy."""
LONGEST_MESSAGE_CHARS = 4096


class Page(NamedTuple):
    """One page of a list."""

    items: list[Manifest]
    """The objects, with kind and apiVersion, which lists leave out."""
    version: str
    """The list's resourceVersion: a watch continues there."""


Event = tuple[str, Manifest]
"""ADDED, MODIFIED, DELETED or BOOKMARK, and the object."""
Counted = Callable[[str, str, int], None]
"""Called with verb, kind and HTTP status of every answer; 0: none came."""


def uncounted(_verb: str, _kind: str, _status: int) -> None:
    """Counter callback that does nothing."""


def _path(kind: str, namespace: str | None, name: str | None = None, subresource: str = "") -> str:
    version, plural = KINDS[kind]
    base = f"/api/{version}" if "/" not in version else f"/apis/{version}"
    scope = f"/namespaces/{namespace}" if namespace else ""
    return "/".join(filter(None, (f"{base}{scope}/{plural}", name, subresource)))


def _api_error(error: DynamicApiError) -> ApiError:
    try:
        message = str(json.loads(error.body or "")["message"])
    except (TypeError, ValueError, KeyError, RecursionError):
        message = str(error.reason)
    status = int(error.status or 0)
    by_words = {NOT_TYPED: Invalid, FENCED: Fenced}
    kind = next((kind for words, kind in by_words.items() if words in message), ERRORS.get(status, ApiError))
    return kind(status, message[:LONGEST_MESSAGE_CHARS], retry_after_seconds=_wait_seconds(error))


async def response_error(response: aiohttp.ClientResponse) -> ApiError:
    """The error of a request that another client sent and that was refused. The response stays readable."""
    body = await response.text(errors="replace")
    error = aio.ApiException(status=response.status, reason=response.reason, body=body)
    error.headers = response.headers
    return _api_error(api_exception(error))


def _wait_seconds(error: DynamicApiError) -> float:
    try:
        requested = retry_after_seconds(error) if is_retry_after_response(error) else None
    except (OverflowError, ValueError):  # more digits than a number has here
        return LONGEST_RETRY_AFTER_SECONDS
    return min(requested or 0.0, LONGEST_RETRY_AFTER_SECONDS)


def requested_pause_seconds(error: Exception) -> float:
    """The pause that a failed request's Retry-After requests; 0 without one."""
    return error.retry_after_seconds if isinstance(error, ApiError) else 0.0


async def _events(response: Any) -> AsyncIterator[Event]:
    """Events of a watch, one a line."""
    while line := await response.content.readline():
        try:
            event = json.loads(line)
        except ValueError:
            raise ApiError(0, "the watch was cut in the middle of an event") from None
        if event["type"] == "ERROR":
            status = event["object"]
            code, message = int(status.get("code", 0)), str(status.get("message", ""))
            raise Expired(code, message) if code == EXPIRED else ApiError(code, message)
        yield event["type"], event["object"]


_METHODS = {
    "get": "get", "list": "get", "watch": "get", "create": "post", "update": "put", "patch": "patch",
    "delete": "delete",
}  # fmt: skip
"""HTTP methods of the API's verbs."""


class Kube:
    """A handful of verbs over ``kubernetes.aio``."""

    def __init__(self, dynamic: Any, counted: Counted = uncounted) -> None:
        self._dynamic = dynamic
        self._counted = counted

    async def _request(
        self, verb: str, kind: str, path: str, body: Any = None, **parameters: Any
    ) -> Manifest:
        async with self._answer(verb, kind, path, body, REQUEST_TIMEOUT_SECONDS, **parameters) as response:
            document: Manifest = await response.json()
        return document

    @asynccontextmanager
    async def _answer(
        self, verb: str, kind: str, path: str, body: Any, timeout: Any, **parameters: Any
    ) -> AsyncIterator[Any]:
        """The response of a request; failures raise the typed errors of this module."""
        try:
            response = await self._dynamic.request(
                _METHODS[verb], path, body=body, serialize=False, _request_timeout=timeout, **parameters
            )
            self._counted(verb, kind, response.status)
            yield response
        except DynamicApiError as error:
            self._counted(verb, kind, int(error.status or 0))
            raise _api_error(error) from None
        except (aiohttp.ClientError, TimeoutError) as error:
            self._counted(verb, kind, 0)
            raise ApiError(0, f"no answer from the API server: {type(error).__name__} {error}") from None
        except RecursionError:
            raise ApiError(0, f"{kind}: an object is nested too deep to be read") from None

    async def get(self, kind: str, namespace: str | None, name: str) -> Manifest | None:
        """The object; None where it does not exist."""
        try:
            return await self._request("get", kind, _path(kind, namespace, name))
        except Missing:
            return None

    async def list_all(self, kind: str, namespace: str | None = None, selector: str = "") -> list[Manifest]:
        """Every object; kind and apiVersion filled in, as lists leave them out."""
        return [item async for page in self.pages(kind, namespace, selector) for item in page.items]

    async def is_served(self, kind: str) -> bool:
        """Whether discovery has that kind; True where discovery may not be read, as a list shows it then."""
        version, plural = KINDS[kind]
        try:
            found = await self._request("get", "APIResourceList", f"/apis/{version}")
        except Missing:
            return False
        except Forbidden:
            return True
        return any(item.get("name") == plural for item in found.get("resources") or ())

    async def pages(
        self, kind: str, namespace: str | None = None, selector: str = "", *, metadata_only: bool = False
    ) -> AsyncIterator[Page]:
        """A list, page by page, for lists too large for memory."""
        token: str | None = None
        headers = {"header_params": {"Accept": ONLY_METADATA}} if metadata_only else {}
        while True:
            page = await self._request(
                "list",
                kind,
                _path(kind, namespace),
                label_selector=selector or None,
                limit=PAGE,
                _continue=token,
                **headers,
            )
            version, metadata = KINDS[kind][0], page.get("metadata", {})
            items = [{**item, "apiVersion": version, "kind": kind} for item in page.get("items") or ()]
            yield Page(items, str(metadata.get("resourceVersion", "")))
            token = metadata.get("continue")
            if not token:
                return

    async def version(self, kind: str, namespace: str | None = None, selector: str = "") -> str:
        """The resourceVersion that a list would have now. Never older than any that was returned before."""
        path = _path(kind, namespace)
        page = await self._request("list", kind, path, label_selector=selector or None, limit=1)
        return str(page.get("metadata", {}).get("resourceVersion", ""))

    @asynccontextmanager
    async def watch(
        self, kind: str, namespace: str | None, selector: str, version: str
    ) -> AsyncIterator[AsyncIterator[Event]]:
        """Events after ``version``, until the API server ends the stream; entered once it has begun.

        Raises Expired when ``version`` is too old, ApiError after a silence that no live stream keeps.
        """
        timeout = aiohttp.ClientTimeout(
            total=None, sock_connect=REQUEST_TIMEOUT_SECONDS, sock_read=WATCH_SILENCE_SECONDS
        )
        async with self._answer(
            "watch",
            kind,
            _path(kind, namespace),
            None,
            timeout,
            label_selector=selector or None,
            resource_version=version,
            watch="true",
            query_params=[("allowWatchBookmarks", "true")],
        ) as response:
            try:
                yield _events(response)
            finally:
                response.close()

    async def try_create(self, manifest: Manifest) -> None:
        """A server-side dry run of ``create``: raises what it would raise, and makes nothing."""
        await self._create(manifest, dry_run="All")

    async def create(self, manifest: Manifest) -> Manifest:
        """Creates the object. Raises Conflict when the name is taken.

        An object that is applied later is applied from the start: a POST owns its fields as Update, and to
        turn them into Apply would cost one more request at the first change.
        """
        return await self._create(manifest)

    async def _create(self, manifest: Manifest, **parameters: str) -> Manifest:
        kind, metadata = manifest["kind"], manifest["metadata"]
        if kind not in APPLIED:
            path = _path(kind, metadata.get("namespace"))
            owner = {"field_manager": FIELD_MANAGER}
            return await self._request("create", kind, path, manifest, **owner, **parameters)
        only_new = {**manifest, "metadata": {**metadata, "resourceVersion": NO_VERSION}}
        return await self._apply(only_new, **parameters)

    async def replace(self, manifest: Manifest) -> Manifest:
        """Replaces the object as it was read. Raises Conflict when it was changed since."""
        kind, metadata = manifest["kind"], manifest["metadata"]
        path = _path(kind, metadata["namespace"], metadata["name"])
        return await self._request("update", kind, path, manifest, field_manager=FIELD_MANAGER)

    async def apply(
        self, manifest: Manifest, *, uid: str, subresource: str = "", manager: str = FIELD_MANAGER
    ) -> Manifest:
        """Server-side apply that carries the uid: a replaced object is refused with Conflict, not adopted."""
        named = {**manifest, "metadata": {**manifest["metadata"], "uid": uid}}
        return await self._apply(named, subresource, manager)

    async def _apply(
        self, manifest: Manifest, subresource: str = "", manager: str = FIELD_MANAGER, **parameters: str
    ) -> Manifest:
        owner = {"field_manager": manager, "force_conflicts": True}
        return await self._patch(manifest, "apply-patch+yaml", manifest, subresource, **owner, **parameters)

    async def patch_json(self, live: Manifest, operations: list[dict[str, Any]]) -> Manifest:
        """JSON patch of an object as it was read."""
        return await self._patch(live, "json-patch+json", operations, field_manager=FIELD_MANAGER)

    async def annotate(self, live: Manifest, annotations: dict[str, str]) -> Manifest:
        """Sets annotations of just this object; one that was replaced is refused."""
        body = {"metadata": {"uid": live["metadata"]["uid"], "annotations": annotations}}
        return await self._patch(live, "merge-patch+json", body, field_manager=FIELD_MANAGER)

    async def _patch(
        self, target: Manifest, patch_type: str, body: Any, subresource: str = "", **parameters: Any
    ) -> Manifest:
        kind, metadata = target["kind"], target["metadata"]
        path = _path(kind, metadata.get("namespace"), metadata["name"], subresource)
        part = "replicas" if parameters.get("field_manager") == SIZE_MANAGER else subresource
        counted_kind = f"{kind}/{part}" if part else kind
        content_type = f"application/{patch_type}"
        return await self._request("patch", counted_kind, path, body, content_type=content_type, **parameters)

    async def delete(self, kind: str, namespace: str, name: str, *, uid: str) -> None:
        """Deletes just this object; one that was deleted or replaced is left alone."""
        options = {
            "kind": "DeleteOptions",
            "apiVersion": "v1",
            "propagationPolicy": "Background",
            "preconditions": {"uid": uid},
        }
        try:
            await self._request("delete", kind, _path(kind, namespace, name), options)
        except (Missing, Conflict):
            return


def environment_proxy(url: str) -> str | None:
    """The proxy that HTTPS_PROXY and NO_PROXY name for that server."""
    parts = urlsplit(url)
    if urllib.request.proxy_bypass(parts.hostname or ""):
        return None
    return urllib.request.getproxies().get(parts.scheme)


@asynccontextmanager
async def connect(kubeconfig: str = "", counted: Counted = uncounted) -> AsyncIterator[Kube]:
    """A client with that kubeconfig file; without one, with the pod's service account."""
    configuration = aio.Configuration()
    configuration.connection_pool_maxsize = 0  # every watch holds a connection; the workers bound the others
    if kubeconfig:
        await aio_config.load_kube_config(
            kubeconfig, client_configuration=configuration, persist_config=False
        )
    else:
        aio_config.load_incluster_config(client_configuration=configuration)
    # The environment is read once: else aiohttp looks there for a proxy, and in a .netrc for a password, at
    # every request, each in a thread of its own.
    configuration.proxy = configuration.proxy or environment_proxy(configuration.host)
    configuration.client_session_kwargs = {"trust_env": False}
    async with aio.ApiClient(configuration) as api:
        # Never awaited, so its discovery of every API group never runs.
        yield Kube(DynamicClient(api), counted)
