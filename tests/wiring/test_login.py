"""The token of the operator's ServiceAccount: the kubelet replaces it in its file."""

from __future__ import annotations

import datetime
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web

from tacho_operator.shell import login
from tacho_operator.shell.api_errors import ApiError
from tacho_operator.shell.kube import connect
from tests.tls_server import tls_server
from tools.cluster.certs import Authority


@pytest.fixture
async def accepted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[list[str]]:
    """The tokens that the API server accepts, which the operator reaches as in a pod."""
    tokens = ["former"]

    async def answer(request: web.Request) -> web.Response:
        if request.headers.get("Authorization", "").removeprefix("bearer ") not in tokens:
            return web.json_response({"message": "Unauthorized"}, status=401)
        return web.json_response({"metadata": {"name": "a", "uid": "1"}})

    authority = Authority(tmp_path / "authority")
    (tmp_path / "token").write_text("former")
    files = (str(tmp_path / "token"), str(authority.pair.certificate))
    monkeypatch.setattr(login.ServiceAccountToken.__init__, "__defaults__", files)
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "127.0.0.1")
    async with tls_server(authority, answer) as port:
        monkeypatch.setenv("KUBERNETES_SERVICE_PORT", str(port))
        yield tokens


async def test_a_token_that_was_replaced_is_read_whatever_the_clock(
    accepted: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The clock of a machine was two hours ahead at its start, and is set right. For the second hour the
    operator had no API server, and nothing restarts it.
    """
    ahead = datetime.datetime.now() + datetime.timedelta(hours=2)

    class Ahead(datetime.datetime):
        @classmethod
        def now(cls, _zone: datetime.tzinfo | None = None) -> Ahead:
            return cls.fromisoformat(ahead.isoformat())

    with monkeypatch.context() as patched:
        patched.setattr(datetime, "datetime", Ahead)
        connection = connect()
        kube = await connection.__aenter__()
        assert await kube.get("ConfigMap", "default", "a")
    accepted[:] = ["next"]
    (tmp_path / "token").write_text("next")
    with pytest.raises(ApiError, match="401"):
        await kube.get("ConfigMap", "default", "a")
    assert await kube.get("ConfigMap", "default", "a")
    await connection.__aexit__(None, None, None)
