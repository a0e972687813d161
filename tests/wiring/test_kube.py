"""What the API client makes of a broken connection."""

from __future__ import annotations

import asyncio
import contextlib
import json
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from tacho_operator.shell.api_errors import (
    FENCED,
    LONGEST_MESSAGE_CHARS,
    LONGEST_RETRY_AFTER_SECONDS,
    WEBHOOK,
    ApiError,
    Conflict,
    Expired,
    Fenced,
    Forbidden,
    Invalid,
    requested_pause_seconds,
)
from tacho_operator.shell.kube import FIELD_MANAGER, SIZE_MANAGER, Kube, connect
from tacho_operator.shell.probed_socket import environment_proxy


class Broken:
    """An API server that goes away in the middle of an answer."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    async def request(self, *_: Any, **__: Any) -> None:
        raise self._error


@pytest.mark.parametrize(
    "error",
    [
        aiohttp.ServerDisconnectedError(),
        aiohttp.ClientPayloadError("cut"),
        aiohttp.ClientOSError("reset"),
        TimeoutError(),
    ],
)
async def test_a_cut_connection_is_an_api_error(error: Exception) -> None:
    """Every caller lives on after one; the operator ended when the API server restarted during a resync."""
    with pytest.raises(ApiError, match=type(error).__name__):
        await listed(Kube(Broken(error)), "LLMDeployment")


async def test_a_write_is_waited_for_as_long_as_the_api_server_may_take() -> None:
    """Two webhooks of 16 s each kept a status as it was for ever, as the client had gone by then."""
    waited: list[float] = []

    class Late:
        async def request(self, *_: Any, _request_timeout: float, **__: Any) -> None:
            waited.append(_request_timeout)
            raise TimeoutError

    manifest = {"kind": "LLMDeployment", "metadata": {"name": "a", "namespace": "ml"}}
    with pytest.raises(ApiError):
        await Kube(Late()).apply(manifest, uid="u", subresource="status")
    assert waited[0] > 34


async def listed(kube: Kube, kind: str) -> list[dict[str, Any]]:
    return [item async for page in kube.pages(kind) for item in page.items]


class Lines:
    """What a watch sends, a line an event."""

    status = 200

    def __init__(self, *lines: bytes) -> None:
        self.content = self
        self.closed = False
        self._lines = list(lines)

    async def readany(self) -> bytes:
        return self._lines.pop(0) if self._lines else b""

    def close(self) -> None:
        self.closed = True


class Watching:
    def __init__(self, *lines: bytes) -> None:
        self.response = Lines(*lines)
        self.asked: dict[str, Any] = {}

    async def request(self, *_: Any, **parameters: Any) -> Lines:
        self.asked = parameters
        return self.response


async def watched(*lines: bytes) -> list[str]:
    watching = Watching(*lines)
    try:
        async with Kube(watching).watch("Pod", "ml", "a", "7") as events:
            return [what async for what, _ in events]
    finally:
        assert watching.response.closed, "a watch that is left would hold its connection"
        assert watching.asked["resource_version"] == "7"
        assert watching.asked["query_params"] == [("allowWatchBookmarks", "true")]


async def test_a_watch_tells_events_until_its_end() -> None:
    added = {"type": "ADDED", "object": {"metadata": {"name": "a", "uid": "u", "resourceVersion": "8"}}}
    assert await watched(json.dumps(added).encode() + b"\n", b'{"type":"BOOKMARK","object":{}}\n') == [
        "ADDED",
        "BOOKMARK",
    ]


async def test_a_version_that_is_too_old_is_told_apart() -> None:
    with pytest.raises(Expired):
        await watched(b'{"type":"ERROR","object":{"code":410,"message":"too old"}}\n')
    with pytest.raises(ApiError, match="500: no"):
        await watched(b'{"type":"ERROR","object":{"code":500,"message":"no"}}\n')


async def test_an_event_that_is_cut_is_no_event() -> None:
    with pytest.raises(ApiError, match="cut"):
        await watched(b'{"type":"ADDED","obj')


async def test_requests_are_counted_by_verb_kind_and_answer() -> None:
    counted: list[tuple[str, str, int]] = []

    def count(*what: Any) -> None:
        counted.append(what)

    async with Kube(Watching(), count).watch("Pod", None, "", "7"):
        pass
    with pytest.raises(ApiError):
        await listed(Kube(Broken(aiohttp.ClientOSError("reset")), count), "Node")
    sized = {"kind": "Deployment", "metadata": {"namespace": "ml", "name": "d"}, "spec": {"replicas": 3}}
    for manager in (FIELD_MANAGER, SIZE_MANAGER):
        with pytest.raises(ApiError):
            await Kube(Broken(aiohttp.ClientOSError("reset")), count).apply(sized, uid="u", manager=manager)
    assert counted == [
        ("watch", "Pod", 200),
        ("list", "Node", 0),
        ("patch", "Deployment", 0),
        ("patch", "Deployment/replicas", 0),
    ]


def kubeconfig(folder: Path, url: str) -> str:
    context = {"cluster": "c", "user": "u"}
    path = folder / "kubeconfig"
    path.write_text(
        json.dumps(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "current-context": "x",
                "clusters": [{"name": "c", "cluster": {"server": url}}],
                "users": [{"name": "u", "user": {}}],
                "contexts": [{"name": "x", "context": context}],
            }
        )
    )
    return str(path)


@pytest.mark.parametrize(
    ("status", "header", "seconds"),
    [
        (429, "7", 7.0),
        (503, "2", 2.0),
        (503, None, 0.0),
        (429, "soon", 0.0),
        (429, "-1", 0.0),
        (429, "86400", LONGEST_RETRY_AFTER_SECONDS),
        (503, "9" * 400, LONGEST_RETRY_AFTER_SECONDS),
        (503, "9" * 5000, LONGEST_RETRY_AFTER_SECONDS),
        (503, "Wed, 21 Oct 2026 07:28:00 GMT", 0.0),
        (403, "7", 0.0),
    ],
)
async def test_a_refusal_says_how_long_to_wait(
    tmp_path: Path, status: int, header: str | None, seconds: float
) -> None:
    asked: list[str] = []

    async def refuse(request: web.Request) -> web.Response:
        asked.append(request.method)
        headers = {"Retry-After": header} if header else {}
        return web.json_response({"message": "slow down"}, status=status, headers=headers)

    application = web.Application()
    application.router.add_route("*", "/{path:.*}", refuse)
    async with (
        TestServer(application) as server,
        connect(kubeconfig(tmp_path, str(server.make_url("/")))) as kube,
    ):
        with pytest.raises(ApiError, match="slow down") as refused:
            await listed(kube, "Pod")
        assert requested_pause_seconds(refused.value) == seconds
        with pytest.raises(ApiError) as refused:
            await kube.create({"kind": "Pod", "metadata": {"namespace": "ml", "name": "a"}})
        assert requested_pause_seconds(refused.value) == seconds
    assert asked == ["GET", "POST"], "nothing is tried again on the spot"
    assert requested_pause_seconds(ValueError("of our own")) == 0


@pytest.mark.parametrize(
    ("server", "proxy"),
    [
        ("https://api.example:6443", "http://proxy.example:3128"),
        ("https://10.0.0.1", None),
        ("https://user:word@10.0.0.1:443", None),
        ("https://[fd00::1]:443", None),
        ("https://[fd00::2]:443", "http://proxy.example:3128"),
        ("http://api.example", None),
    ],
)
def test_the_environments_proxy_is_taken_where_it_is_meant(
    server: str, proxy: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("https_proxy", "http://proxy.example:3128")
    monkeypatch.setenv("no_proxy", "10.0.0.1,fd00::1,localhost")
    assert environment_proxy(server) == proxy


async def test_a_request_needs_no_thread_for_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """aiohttp looks for a proxy and a .netrc at every request, each in a thread of its own."""

    async def answer(_: web.Request) -> web.Response:
        return web.json_response({"metadata": {"name": "a"}})

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    async with TestServer(app) as server, connect(kubeconfig(tmp_path, str(server.make_url("/")))) as kube:
        await kube.get("ConfigMap", "ml", "a")  # its connection may need one to find the address

        async def thread(*_: Any, **__: Any) -> None:
            raise AssertionError("a thread")

        monkeypatch.setattr(asyncio.get_running_loop(), "run_in_executor", thread)
        assert await kube.get("ConfigMap", "ml", "a") == {"metadata": {"name": "a"}}


@pytest.mark.parametrize(
    ("status", "words", "kind"),
    [
        (400, "strict decoding error", Invalid),
        (413, "Request entity too large", Invalid),
        (422, "spec.a: Invalid value", Invalid),
        (422, f"spec.a: Invalid value: {FENCED}", Invalid),
        (403, f"denied request: {FENCED}", Fenced),
        (500, f"failed calling webhook: {FENCED}", ApiError),
        *((code, f"{WEBHOOK}w: {FENCED}", Forbidden) for code in (403, 404, 409, 410)),
        *((code, f"{WEBHOOK}w: {FENCED}", Invalid) for code in (400, 413, 422)),
        *((code, f"{WEBHOOK}w: {FENCED}", ApiError) for code in (408, 429, 500)),
        (500, "failed to create typed patch object: .a: duplicate entries", Invalid),
        (500, "etcdserver: request is too large", Invalid),
        (500, "rpc error: trying to send message larger than max", Invalid),
        (500, "failed calling webhook", ApiError),
        (403, "is forbidden", Forbidden),
    ],
)
async def test_a_refusal_is_told_from_what_may_pass(
    tmp_path: Path, status: int, words: str, kind: type[ApiError]
) -> None:
    async def refuse(_request: web.Request) -> web.Response:
        return web.json_response({"message": words + "!" * 99_999}, status=status)

    application = web.Application()
    application.router.add_route("*", "/{path:.*}", refuse)
    async with (
        TestServer(application) as server,
        connect(kubeconfig(tmp_path, str(server.make_url("/")))) as kube,
    ):
        with pytest.raises(ApiError, match=words) as refused:
            await kube.try_create({"kind": "Pod", "metadata": {"namespace": "ml", "name": "a"}})
    assert type(refused.value) is kind
    assert len(refused.value.message) == LONGEST_MESSAGE_CHARS


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ('{"code":403,"message":"no ' + "\U0001f600" * 300_000 + '"}', "no " + "\U0001f600" * 4093),
        ('{"message": "\\ud83d' + "\\u0041" * 300_000 + '"}', "?" + "A" * 4095),
        ('{"message":"a"' + "," * (2 << 20), "a"),
        ('{"message":"\\x' + "," * (2 << 20), "Forbidden"),
        ("<html>" * 300_000, "Forbidden"),
        (b"<html>\xff</html>", "Forbidden"),
    ],
    ids=["long", "escaped", "cut behind it", "no JSON", "a page", "no UTF-8"],
)
async def test_of_an_errors_body_a_megabyte_is_read(tmp_path: Path, body: str | bytes, message: str) -> None:
    """A webhook's words have any length: 100 MB of them took 300 MiB."""
    sent = 0

    async def refuse(request: web.Request) -> web.StreamResponse:
        nonlocal sent
        response = web.StreamResponse(status=403, reason="Forbidden")
        await response.prepare(request)
        rest = body if isinstance(body, bytes) else body.encode()
        with contextlib.suppress(ConnectionError):
            for _ in range(100):
                await response.write(rest)
                sent += len(rest)
                rest = b"x" * (1 << 20)
        return response

    application = web.Application()
    application.router.add_route("*", "/{path:.*}", refuse)
    async with (
        TestServer(application) as server,
        connect(kubeconfig(tmp_path, str(server.make_url("/")))) as kube,
    ):
        with pytest.raises(Forbidden) as refused:
            await kube.get("Pod", "ml", "a")
    assert refused.value.message == message
    assert sent < 50 << 20, "the rest is not waited for"


@pytest.mark.parametrize(
    ("status", "message", "is_deleted"),
    [
        (200, "", True),
        (404, "gone", False),
        (409, "Precondition failed: UID in precondition: u, UID in object meta: v", False),
        (409, "the UID in the precondition (u) does not match the UID in record (v).", False),
        (409, "the object has been modified", False),
        (409, "kept", None),
    ],
)
async def test_a_deletion_that_did_not_happen_is_told_apart(
    tmp_path: Path, status: int, message: str, is_deleted: bool | None
) -> None:
    """A webhook may answer 409 for ever: who waited for the end of its object would wait as long."""

    async def answer(_request: web.Request) -> web.Response:
        return web.json_response({"metadata": {}, "message": message}, status=status)

    application = web.Application()
    application.router.add_route("DELETE", "/{path:.*}", answer)
    async with (
        TestServer(application) as server,
        connect(kubeconfig(tmp_path, str(server.make_url("/")))) as kube,
    ):
        deletion = kube.delete("ConfigMap", "ml", "a", uid="u")
        if is_deleted is None:
            with pytest.raises(Conflict, match="kept"):
                await deletion
        else:
            assert await deletion is is_deleted
