"""The certificates of authorities by which the client knows its API server: a cluster may replace its own."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web

from tacho_operator.shell.api_errors import ApiError
from tacho_operator.shell.kube import connect
from tests.tls_server import tls_server
from tools.cluster.certs import Authority
from tools.cluster.kubeconfig import Server, with_token


@pytest.fixture
def replaced(tmp_path: Path) -> Authority:
    """The authority that signs from now on."""
    return Authority(tmp_path / "replaced")


@pytest.fixture
async def url(replaced: Authority) -> AsyncIterator[str]:
    """An API server with a certificate of that authority."""

    async def answer(_request: web.Request) -> web.Response:
        return web.json_response({"metadata": {"name": "a", "uid": "1"}})

    async with tls_server(replaced, answer) as port:
        yield f"https://127.0.0.1:{port}"


async def test_an_authority_that_was_replaced_is_read_anew(
    replaced: Authority, url: str, tmp_path: Path
) -> None:
    """The kubelet changes the file of a pod that runs. Each process would be without an API server until it
    is restarted, and nothing restarts it.
    """
    file, former = tmp_path / "ca.crt", Authority(tmp_path / "former").pair.certificate
    file.write_bytes(former.read_bytes())
    kubeconfig = with_token(tmp_path / "kubeconfig", Server(url, former), "token")
    document = json.loads(kubeconfig.read_text())
    document["clusters"][0]["cluster"] = {"server": url, "certificate-authority": str(file)}
    kubeconfig.write_text(json.dumps(document))
    async with connect(str(kubeconfig)) as kube:
        with pytest.raises(ApiError, match="CERTIFICATE_VERIFY_FAILED"):
            await kube.get("ConfigMap", "default", "a")
        for unreadable in ("", "no certificate"):  # while it is being written
            file.write_text(unreadable)
            with pytest.raises(ApiError, match="CERTIFICATE_VERIFY_FAILED"):
                await kube.get("ConfigMap", "default", "a")
        file.write_bytes(former.read_bytes() + replaced.pair.certificate.read_bytes())
        assert await kube.get("ConfigMap", "default", "a")


async def test_without_a_file_of_authorities_there_is_none_to_read(
    replaced: Authority, url: str, tmp_path: Path
) -> None:
    """As in a kubeconfig that trusts the system's."""
    kubeconfig = with_token(tmp_path / "kubeconfig", Server(url, replaced.pair.certificate), "token")
    document = json.loads(kubeconfig.read_text())
    document["clusters"][0]["cluster"] = {"server": url}
    kubeconfig.write_text(json.dumps(document))
    async with connect(str(kubeconfig)) as kube:
        with pytest.raises(ApiError, match="CERTIFICATE_VERIFY_FAILED"):
            await kube.get("ConfigMap", "default", "a")
