"""Client of the Kubernetes API: manifests as plain dicts, errors as types.

Paths come from a table of the kinds that tacho uses, so it needs no discovery, and no right beyond that
table.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import aiohttp
from kubernetes.aio import client as aio
from kubernetes.aio.dynamic import DynamicClient
from kubernetes.aio.dynamic.exceptions import DynamicApiError

from tacho_operator.core.types import Manifest
from tacho_operator.shell.api_errors import (
    EXPIRED,
    ApiError,
    Conflict,
    Expired,
    Missing,
    api_error,
    short_errors,
)
from tacho_operator.shell.guard import (
    TOO_LONG,
    Cut,
    Page as Page,
    Skipped,
    Unreadable,
    beginning,
    body,
    lines,
    list_head,
    pages,
    parsed,
)
from tacho_operator.shell.login import log_in
from tacho_operator.shell.probed_socket import (
    SESSION,
    environment_proxy,
    probed_connector,
    renewed_authorities,
    stable_body,
)

FIELD_MANAGER = "tacho-operator"
SIZE_MANAGER = "tacho-scaler"
"""Field manager that owns only the replica count of Deployments."""
REQUEST_TIMEOUT_SECONDS = 36
"""Seconds for an answer. An API server ends a write after 34 s, and says which webhook was late (its
requestTimeoutUpperBound). Where the client has gone before, it writes nothing: the status would never change.
"""
WATCH_SILENCE_SECONDS = 150
"""Seconds without any event after which a watch is restarted. A bookmark comes about every minute."""

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
"""Kinds of children that are updated by server-side apply."""
ONLY_METADATA = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json"
NO_VERSION = "1"
"""A resourceVersion that no object has. A server-side apply with it creates an absent object, and is refused
where the object exists.
"""


REPLACED = (
    *("UID in precondition", "UID in the precondition", "the object has been modified"),
    *("ResourceVersion in precondition", "ResourceVersion in the precondition"),
)
"""Texts of the API server's refusal to delete an object that is another one or was changed (two forms each,
kube-apiserver 1.36), or is being changed.
"""

Event = tuple[str, Manifest]
"""(type of event: ADDED, MODIFIED, DELETED or BOOKMARK; the object)."""
Counted = Callable[[str, str, int], None]
"""Callback with verb, kind and HTTP status of every answer; status 0: no answer came."""


def uncounted(_verb: str, _kind: str, _status: int) -> None:
    """Counter callback that does nothing."""


def _path(kind: str, namespace: str | None, name: str | None = None, subresource: str = "") -> str:
    version, plural = KINDS[kind]
    base = f"/api/{version}" if "/" not in version else f"/apis/{version}"
    scope = f"/namespaces/{namespace}" if namespace else ""
    return "/".join(filter(None, (f"{base}{scope}/{plural}", name, subresource)))


async def _events(kind: str, response: Any, skipped: Skipped) -> AsyncIterator[Event]:
    """The events in the response of a watch, one per line. What cannot be read is skipped."""
    try:
        async for line in lines(response.content):
            try:
                event = parsed(line) if line is not None else None
            except Unreadable as error:
                skipped(kind, "?", str(error))
                continue
            if event is None:
                skipped(kind, "?", TOO_LONG)
                continue
            if not isinstance(event, dict) or not isinstance(event.get("object"), dict):
                raise ApiError(0, "an event without an object")
            if event["type"] == "ERROR":
                status = event["object"]
                code, message = int(status.get("code", 0)), str(status.get("message", ""))
                raise Expired(code, message) if code == EXPIRED else ApiError(code, message)
            yield event["type"], event["object"]
    except Cut:
        raise ApiError(0, "the watch was cut in the middle of an event") from None


_METHODS = {
    "get": "get", "list": "get", "watch": "get", "create": "post", "update": "put", "patch": "patch",
    "delete": "delete",
}  # fmt: skip
"""HTTP method by verb of the Kubernetes API."""


class Kube:
    """A client with the few verbs that the operator needs, on top of ``kubernetes.aio``."""

    def __init__(
        self, dynamic: Any, counted: Counted = uncounted, skipped: Skipped = lambda *_: None
    ) -> None:
        """``skipped`` is called with each object that cannot be read."""
        self._dynamic, self._counted, self._skipped = dynamic, counted, skipped

    async def _request(
        self, verb: str, kind: str, path: str, sent: Any = None, **parameters: Any
    ) -> Manifest:
        """The API server's answer, parsed. Raises ApiError where it cannot be read, or is none, as of a
        proxy: else a deletion would seem done.
        """
        try:
            async with self._answer(
                verb, kind, path, sent, REQUEST_TIMEOUT_SECONDS, **parameters
            ) as response:
                document: Any = parsed(await body(response.content))
        except Unreadable as error:
            raise ApiError(0, f"{kind}: {error}") from None
        if not isinstance(document, dict) or not isinstance(document.get("metadata"), dict):
            raise ApiError(0, f"{kind}: an answer that is no object")
        return document

    @asynccontextmanager
    async def _answer(
        self, verb: str, kind: str, path: str, body: Any, timeout: Any, **parameters: Any
    ) -> AsyncIterator[Any]:
        """The response of a request. Errors are raised as the classes of api_errors."""
        try:
            response = await self._dynamic.request(
                _METHODS[verb], path, body=body, serialize=False, _request_timeout=timeout, **parameters
            )
            self._counted(verb, kind, response.status)
            try:
                yield response
            finally:
                response.close()  # a connection whose answer was not read to its end serves no other request
        except DynamicApiError as error:
            self._counted(verb, kind, int(error.status or 0))
            raise api_error(error) from None
        except (aiohttp.ClientError, TimeoutError) as error:
            self._counted(verb, kind, 0)
            raise ApiError(0, f"no answer from the API server: {type(error).__name__} {error}") from None

    async def get(self, kind: str, namespace: str | None, name: str) -> Manifest | None:
        """The object as a manifest; None where it does not exist."""
        try:
            return await self._request("get", kind, _path(kind, namespace, name))
        except Missing:
            return None

    async def pages(self, kind: str, namespace: str | None = None, selector: str = "") -> AsyncIterator[Page]:
        """A list, page by page, without the objects that cannot be read."""
        read = partial(self._page_text, kind, namespace, selector)
        try:
            async for page in pages(read, {"apiVersion": KINDS[kind][0], "kind": kind}, self._skipped):
                yield page
        except Unreadable as error:
            raise ApiError(0, f"{kind}: {error}") from None

    async def _page_text(
        self,
        kind: str,
        namespace: str | None,
        selector: str,
        limit: int,
        token: str | None,
        is_head: bool,
    ) -> bytes:
        headers = {"header_params": {"Accept": ONLY_METADATA}} if is_head else {}
        async with self._answer(
            "list",
            kind,
            _path(kind, namespace),
            None,
            REQUEST_TIMEOUT_SECONDS,
            label_selector=selector or None,
            limit=limit,
            _continue=token,
            **headers,
        ) as response:
            return await (beginning if is_head else body)(response.content)

    async def version(self, kind: str, namespace: str | None = None, selector: str = "") -> str:
        """The resourceVersion of a kind's present state in the API server, as a list would return it. It
        never goes backwards."""
        metadata, _ = list_head(await self._page_text(kind, namespace, selector, 1, None, True))
        return str(metadata.get("resourceVersion", ""))

    @asynccontextmanager
    async def watch(
        self, kind: str, namespace: str | None, selector: str, version: str
    ) -> AsyncIterator[AsyncIterator[Event]]:
        """The events after ``version`` until the API server ends the stream. The context is entered when the
        stream has started.

        Raises Expired when ``version`` is too old, ApiError when the stream is silent for too long.
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
            yield _events(kind, response, self._skipped)

    async def try_create(self, manifest: Manifest) -> None:
        """Sends ``create`` as a server-side dry run: same errors, but nothing is created."""
        await self._create(manifest, dry_run="All")

    async def create(self, manifest: Manifest) -> Manifest:
        """Creates the object. Raises Conflict if an object of this name exists.

        Kinds in APPLIED are created by an apply, so that later applies may remove its fields.
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
        """Replaces the object. Raises Conflict where another client changed it since it was read."""
        kind, metadata = manifest["kind"], manifest["metadata"]
        path = _path(kind, metadata["namespace"], metadata["name"])
        return await self._request("update", kind, path, manifest, field_manager=FIELD_MANAGER)

    async def apply(
        self, manifest: Manifest, *, uid: str, subresource: str = "", manager: str = FIELD_MANAGER
    ) -> Manifest:
        """Server-side apply with the object's uid. If the object was replaced by another, Conflict is raised
        and the other stays unchanged.
        """
        named = {**manifest, "metadata": {**manifest["metadata"], "uid": uid}}
        return await self._apply(named, subresource, manager)

    async def _apply(
        self, manifest: Manifest, subresource: str = "", manager: str = FIELD_MANAGER, **parameters: str
    ) -> Manifest:
        owner = {"field_manager": manager, "force_conflicts": True}
        return await self._patch(manifest, "apply-patch+yaml", manifest, subresource, **owner, **parameters)

    async def annotate(self, live: Manifest, annotations: dict[str, str]) -> Manifest:
        """Sets annotations of an object read before. Refused if another object has its name since then."""
        return await self.merge(
            live, {"metadata": {"uid": live["metadata"]["uid"], "annotations": annotations}}
        )

    async def merge(self, target: Manifest, body: dict[str, Any], subresource: str = "") -> Manifest:
        """JSON merge patch of an object by its name; returns the object after the patch."""
        return await self._patch(target, "merge-patch+json", body, subresource, field_manager=FIELD_MANAGER)

    async def _patch(
        self, target: Manifest, patch_type: str, body: Any, subresource: str = "", **parameters: Any
    ) -> Manifest:
        kind, metadata = target["kind"], target["metadata"]
        path = _path(kind, metadata.get("namespace"), metadata["name"], subresource)
        part = "replicas" if parameters.get("field_manager") == SIZE_MANAGER else subresource
        counted_kind = f"{kind}/{part}" if part else kind
        content_type = f"application/{patch_type}"
        return await self._request("patch", counted_kind, path, body, content_type=content_type, **parameters)

    async def delete(self, kind: str, namespace: str, name: str, *, uid: str, version: str = "") -> bool:
        """Deletes the object with that uid and, where given, that resourceVersion; returns False where it was
        deleted, replaced or changed.
        """
        options = {
            "kind": "DeleteOptions",
            "apiVersion": "v1",
            "propagationPolicy": "Background",
            "preconditions": {"uid": uid, **({"resourceVersion": version} if version else {})},
        }
        try:
            await self._request("delete", kind, _path(kind, namespace, name), options)
        except Missing:
            return False
        except Conflict as error:
            if any(words in error.message for words in REPLACED):
                return False
            raise
        return True


@asynccontextmanager
async def connect(
    kubeconfig: str = "",
    counted: Counted = uncounted,
    skipped: Skipped = lambda *_: None,
) -> AsyncIterator[Kube]:
    """A client of the API server by the kubeconfig file, or as the pod."""
    configuration = aio.Configuration()
    login = await log_in(kubeconfig, configuration)
    # The environment is read once: else aiohttp looks there for a proxy, and in a .netrc for a password, at
    # every request, each in a thread of its own.
    configuration.proxy = configuration.proxy or environment_proxy(configuration.host)
    async with (
        aio.ApiClient(configuration) as api,
        probed_connector(api.rest_client.ssl_context) as connector,
    ):
        renewed = renewed_authorities(api.rest_client.ssl_context, configuration.ssl_ca_cert)
        middlewares = (*login, stable_body, renewed, short_errors)
        configuration.client_session_kwargs = {**SESSION, "connector": connector, "middlewares": middlewares}
        # Never awaited, so its discovery of every API group never runs.
        yield Kube(DynamicClient(api), counted, skipped)
