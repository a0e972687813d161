"""The Kubernetes API as this operator uses it: plain dicts in, plain dicts out, typed errors.

Paths come from a table of the kinds tacho touches, so no discovery is read and no right beyond the
table is needed.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
from kubernetes.aio import client as aio, config as aio_config
from kubernetes.aio.dynamic import DynamicClient
from kubernetes.aio.dynamic.exceptions import ConflictError, DynamicApiError, ForbiddenError, NotFoundError

from tacho_operator.core.types import Manifest

FIELD_MANAGER = "tacho-operator"
PAGE = 500
REQUEST_TIMEOUT_SECONDS = 30

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
}


class ApiError(Exception):
    """A request the API server refused, as one line; status 0 where it gave no answer."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"{status}: {message}")
        self.status = status
        self.message = message


class Conflict(ApiError):
    """Somebody else changed or owns the object (HTTP 409)."""


class Forbidden(ApiError):
    """Refused by authorization, quota or admission (HTTP 403)."""


class Missing(ApiError):
    """No such object (HTTP 404)."""


def _path(kind: str, namespace: str | None, name: str | None = None, subresource: str = "") -> str:
    version, plural = KINDS[kind]
    base = f"/api/{version}" if "/" not in version else f"/apis/{version}"
    scope = f"/namespaces/{namespace}" if namespace else ""
    return "/".join(filter(None, (f"{base}{scope}/{plural}", name, subresource)))


def _api_error(error: DynamicApiError) -> ApiError:
    try:
        message = json.loads(error.body or "")["message"]
    except (TypeError, ValueError, KeyError):
        message = str(error.reason)
    if isinstance(error, ConflictError):
        return Conflict(409, message)
    if isinstance(error, ForbiddenError):
        return Forbidden(403, message)
    if isinstance(error, NotFoundError):
        return Missing(404, message)
    return ApiError(int(error.status or 0), message)


class Kube:
    """A handful of verbs over ``kubernetes.aio``."""

    def __init__(self, dynamic: Any) -> None:
        self._dynamic = dynamic

    async def _request(self, method: str, path: str, body: Any = None, **parameters: Any) -> Manifest:
        try:
            response = await self._dynamic.request(
                method,
                path,
                body=body,
                serialize=False,
                _request_timeout=REQUEST_TIMEOUT_SECONDS,
                **parameters,
            )
            document: Manifest = await response.json()
        except DynamicApiError as error:
            raise _api_error(error) from None
        except aiohttp.ClientError as error:
            raise ApiError(0, f"no answer from the API server: {type(error).__name__} {error}") from None
        return document

    async def get(self, kind: str, namespace: str | None, name: str) -> Manifest | None:
        """The object, or None when there is none."""
        try:
            return await self._request("get", _path(kind, namespace, name))
        except Missing:
            return None

    async def list_all(self, kind: str, namespace: str | None = None, selector: str = "") -> list[Manifest]:
        """Every object; kind and apiVersion filled in, as lists leave them out."""
        return [item async for page in self.pages(kind, namespace, selector) for item in page]

    async def pages(
        self, kind: str, namespace: str | None = None, selector: str = ""
    ) -> AsyncIterator[list[Manifest]]:
        """The same page by page, for lists that would fill the memory."""
        token: str | None = None
        while True:
            page = await self._request(
                "get", _path(kind, namespace), label_selector=selector or None, limit=PAGE, _continue=token
            )
            version = KINDS[kind][0]
            yield [{**item, "apiVersion": version, "kind": kind} for item in page.get("items") or ()]
            token = page.get("metadata", {}).get("continue")
            if not token:
                return

    async def create(self, manifest: Manifest) -> Manifest:
        """POST. Raises Conflict when the name is taken."""
        path = _path(manifest["kind"], manifest["metadata"].get("namespace"))
        return await self._request("post", path, body=manifest, field_manager=FIELD_MANAGER)

    async def apply(self, manifest: Manifest, *, uid: str, subresource: str = "") -> Manifest:
        """Server-side apply that carries the uid: a replaced object is refused with Conflict, not adopted."""
        metadata = {**manifest["metadata"], "uid": uid}
        path = _path(manifest["kind"], metadata.get("namespace"), metadata["name"], subresource)
        return await self._request(
            "patch",
            path,
            body={**manifest, "metadata": metadata},
            content_type="application/apply-patch+yaml",
            field_manager=FIELD_MANAGER,
            force_conflicts=True,
        )

    async def patch_json(self, live: Manifest, operations: list[dict[str, Any]]) -> Manifest:
        """JSON patch of an object as it was read."""
        metadata = live["metadata"]
        return await self._request(
            "patch",
            _path(live["kind"], metadata.get("namespace"), metadata["name"]),
            body=operations,
            content_type="application/json-patch+json",
            field_manager=FIELD_MANAGER,
        )

    async def delete(self, kind: str, namespace: str, name: str, *, uid: str) -> None:
        """Deletes just this object; one that is gone or replaced is left alone."""
        options = {
            "kind": "DeleteOptions",
            "apiVersion": "v1",
            "propagationPolicy": "Background",
            "preconditions": {"uid": uid},
        }
        try:
            await self._request("delete", _path(kind, namespace, name), body=options)
        except (Missing, Conflict):
            return


@asynccontextmanager
async def connect(kubeconfig: str = "") -> AsyncIterator[Kube]:
    """A client with that kubeconfig file; without one, with the pod's service account."""
    configuration = aio.Configuration()
    if kubeconfig:
        await aio_config.load_kube_config(
            kubeconfig, client_configuration=configuration, persist_config=False
        )
    else:
        aio_config.load_incluster_config(client_configuration=configuration)
    async with aio.ApiClient(configuration) as api:
        # Never awaited, so its discovery of every API group never runs.
        yield Kube(DynamicClient(api))
