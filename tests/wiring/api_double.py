"""An API server of LLMDeployments alone, in this process: discovery, lists, watches, and what goes wrong."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from tacho_operator.shell.kube import Kube, connect

BASE = "/apis/tacho.dev/v1alpha1"
UNREADABLE = {
    "deep": '{"f:a":' * 3000 + "{}" + "}" * 3000,
    "long": '"' + "\\u003c" * 700_000 + '"',
    "digits": "1" * 5000,
}
"""Values that Python's parser refuses, or that are longer than the operator reads."""


def deployment(name: str, uid: str = "", *, namespace: str = "ml", **spec: Any) -> dict[str, Any]:
    """As a user applies it; the double gives it a resourceVersion."""
    metadata = {"name": name, "namespace": namespace, "uid": uid or f"uid-{name}", "generation": 1}
    return {"apiVersion": "tacho.dev/v1alpha1", "kind": "LLMDeployment", "metadata": metadata, "spec": spec}


class ApiDouble:
    """Objects by namespace and name, and every event since the start."""

    def __init__(self) -> None:
        self.version = 100
        self.objects: dict[tuple[str, str], dict[str, Any]] = {}
        self.events: list[tuple[int, str, str, str]] = []
        """Version, namespace, and the event as a line: whole, and of metadata alone."""
        self.has_crd = True
        self.forbidden: set[str] = set()
        """Namespaces, and paths of discovery."""
        self.refused_discoveries = 0
        self.limits: list[str] = []
        """Of the pages that were requested."""
        self.ends_watches = False
        self.ignores_accept = False
        """Lists and watches have whole objects, whatever was requested."""
        self.refused_watches: list[web.Response] = []
        """Answers to the next watches."""
        self.silent_from = 0
        """No watch delivers an event of this version or later; 0: every event."""
        self.expired_below = 0
        """A watch from an earlier version is refused with 410."""
        self.unreadable: dict[str, str] = {}
        """By name: what makes the object unreadable, of UNREADABLE."""
        self.lists = self.metadata_lists = self.watches = self.metadata_watches = 0
        self.writes: list[str] = []
        self._changed = asyncio.Condition()
        self._cut = 0

    async def put(self, manifest: dict[str, Any]) -> None:
        """Creates or replaces an object."""
        metadata = manifest["metadata"]
        place = (metadata["namespace"], metadata["name"])
        what = "MODIFIED" if place in self.objects else "ADDED"
        self.version += 1
        metadata["resourceVersion"] = str(self.version)
        self.objects[place] = manifest
        await self._notify(what, manifest)

    async def delete(self, name: str, namespace: str = "ml") -> None:
        manifest = self.objects.pop((namespace, name))
        self.version += 1
        manifest["metadata"]["resourceVersion"] = str(self.version)
        await self._notify("DELETED", manifest)

    async def cut(self) -> None:
        """Ends every watch that runs."""
        async with self._changed:
            self._cut += 1
            self._changed.notify_all()

    async def _notify(self, what: str, manifest: dict[str, Any]) -> None:
        whole, part = (
            f'{{"type": "{what}", "object": {self._text(manifest, metadata_only=alone)}}}\n'
            for alone in (False, True)
        )
        async with self._changed:
            self.events.append((self.version, manifest["metadata"]["namespace"], whole, part))
            self._changed.notify_all()

    def _text(self, manifest: dict[str, Any], *, metadata_only: bool = False) -> str:
        text = json.dumps({"metadata": manifest["metadata"]} if metadata_only else manifest)
        if (how := self.unreadable.get(manifest["metadata"]["name"])) and not metadata_only:
            return text.replace('"spec":', f'"extra": {UNREADABLE[how]}, "spec":')
        return text

    async def answer(self, request: web.Request) -> web.StreamResponse:
        if request.method != "GET":
            self.writes.append(f"{request.method} {request.path}")
            return web.json_response({}, status=405)
        if request.path in self.forbidden:
            self.refused_discoveries += 1
            return _status(403, f'forbidden: User "user" cannot get path "{request.path}"')
        if (found := DISCOVERY.get(request.path)) is not None:
            return web.json_response(found)
        if request.path == "/apis":
            groups = ["apiextensions.k8s.io/v1", *(["tacho.dev/v1alpha1"] if self.has_crd else [])]
            return web.json_response({"groups": [_group(name) for name in groups]})
        if not self.has_crd or not request.path.startswith(BASE):
            return _status(404, "the server could not find the requested resource")
        if request.path == BASE:
            return web.json_response(_resources("llmdeployments", "LLMDeployment", namespaced=True))
        return await self._resources(request)

    async def _resources(self, request: web.Request) -> web.StreamResponse:
        parts = request.path.removeprefix(BASE).strip("/").split("/")
        namespace = parts[1] if parts[0] == "namespaces" else ""
        if namespace in self.forbidden:
            return _status(403, f"llmdeployments is forbidden in {namespace}")
        if parts[-1] != "llmdeployments":
            found = self.objects.get((namespace, parts[-1]))
            return web.json_response(found) if found else _status(404, "not found")
        if "watch" in request.query:
            return await self._watch(request, namespace)
        return self._list(request, namespace)

    def _list(self, request: web.Request, namespace: str) -> web.Response:
        metadata_only = "PartialObjectMetadata" in request.headers["Accept"] and not self.ignores_accept
        self.limits.append(request.query.get("limit", ""))
        start = int(request.query.get("continue", "0"))
        if not start:
            self.lists += not metadata_only
            self.metadata_lists += metadata_only
        names = sorted(place for place in self.objects if namespace in ("", place[0]))
        end = start + int(request.query.get("limit", "100000"))
        items = ",".join(
            self._text(self.objects[place], metadata_only=metadata_only) for place in names[start:end]
        )
        more = str(end) if end < len(names) else ""
        metadata = json.dumps({"resourceVersion": str(self.version), "continue": more})
        text = f'{{"kind": "LLMDeploymentList", "metadata": {metadata}, "items": [{items}]}}'
        return web.Response(text=text, content_type="application/json")

    async def _watch(self, request: web.Request, namespace: str) -> web.StreamResponse:
        metadata_only = "PartialObjectMetadata;" in request.headers["Accept"]
        self.watches += not metadata_only
        self.metadata_watches += metadata_only
        if self.refused_watches:
            return self.refused_watches.pop()
        since, cut = int(request.query["resourceVersion"]), self._cut
        response = web.StreamResponse()
        await response.prepare(request)
        if since < self.expired_below:
            error = {"type": "ERROR", "object": {"kind": "Status", "code": 410, "message": "too old"}}
            await response.write(json.dumps(error).encode() + b"\n")
            return response
        sent = 0
        while cut == self._cut and not self.ends_watches:
            for version, place, whole, part in self.events[sent:]:
                hidden = self.silent_from and version >= self.silent_from
                if version > since and namespace in ("", place) and not hidden:
                    line = part if metadata_only and not self.ignores_accept else whole
                    await response.write(line.encode())
            sent = len(self.events)
            async with self._changed:
                if sent == len(self.events) and cut == self._cut:
                    await self._changed.wait()
        return response


def _group(group_version: str) -> dict[str, Any]:
    group, version = group_version.split("/")
    served = {"groupVersion": group_version, "version": version}
    return {"name": group, "versions": [served], "preferredVersion": served}


def _resources(plural: str, kind: str, *, namespaced: bool) -> dict[str, Any]:
    item = {
        "name": plural,
        "kind": kind,
        "singularName": kind.lower(),
        "namespaced": namespaced,
        "verbs": ["get", "list", "watch", "patch"],
    }
    return {"resources": [item]}


def _status(code: int, message: str) -> web.Response:
    return web.json_response({"kind": "Status", "code": code, "message": message}, status=code)


DISCOVERY: dict[str, dict[str, Any]] = {
    "/api": {"versions": ["v1"]},
    "/api/v1": _resources("namespaces", "Namespace", namespaced=False),
    "/apis/apiextensions.k8s.io/v1": _resources(
        "customresourcedefinitions", "CustomResourceDefinition", namespaced=False
    ),
}

KUBECONFIG = """
apiVersion: v1
kind: Config
clusters: [{name: double, cluster: {server: "http://127.0.0.1:%d"}}]
users: [{name: user, user: {token: abc}}]
contexts: [{name: double, context: {cluster: double, user: user}}]
current-context: double
"""


@contextlib.asynccontextmanager
async def serving(
    double: ApiDouble, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[tuple[Kube, str]]:
    """A client of it, and the path of its kubeconfig, which kopf finds too."""
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", double.answer)
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    path = folder / "kubeconfig"
    path.write_text(KUBECONFIG % runner.addresses[0][1])
    monkeypatch.setenv("KUBECONFIG", str(path))
    try:
        async with connect(str(path)) as kube:
            yield kube, str(path)
    finally:
        await double.cut()
        await runner.cleanup()
