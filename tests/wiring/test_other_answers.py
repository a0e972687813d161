"""Answers with status 200 that are not the API server's, as of a proxy before it, or have unusual headers."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from tacho_operator.shell.api_errors import ApiError
from tacho_operator.shell.kube import Kube, connect
from tests.wiring.test_kube import kubeconfig

POD = {"kind": "Pod", "metadata": {"namespace": "ml", "name": "a"}}
REQUESTS: dict[str, Callable[[Kube], Coroutine[Any, Any, Any]]] = {
    "get": lambda kube: kube.get("Pod", "ml", "a"),
    "create": lambda kube: kube.create(POD),
    "apply": lambda kube: kube.apply({**POD, "kind": "ConfigMap"}, uid="u"),
    "delete": lambda kube: kube.delete("Pod", "ml", "a", uid="u"),
}
BODIES = [b"<html>", b"", b"{}", b"[]", b"null", b'"x"', b'{"metadata":"x"}', b'{"metadata":{"name":"a"']


@pytest.mark.parametrize("name", REQUESTS)
async def test_they_are_no_answer(name: str, tmp_path: Path) -> None:
    """By {} a deletion seemed done. Its resource then waited for ever for a watch that shows it."""
    bodies = iter(BODIES)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n" + next(bodies))
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        async with connect(kubeconfig(tmp_path, url)) as kube:
            for _ in BODIES:
                with pytest.raises(ApiError) as raised:
                    await REQUESTS[name](kube)
                assert raised.value.status == 0


async def test_one_that_is_cut_leaves_no_open_connection(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Each was an error of its own in the log, once the collector had found it."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b'HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{"metadata":')
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        async with connect(kubeconfig(tmp_path, url)) as kube:
            for _ in range(3):
                with pytest.raises(ApiError, match="no answer"):
                    await kube.get("Pod", "ml", "a")
            gc.collect()
    assert caplog.text == ""


@pytest.mark.parametrize(
    "warnings", [["\U0001f6d1" * 4096], [chr(0x4E00 + number) for number in range(4096)]]
)
async def test_one_with_all_warnings_that_an_api_server_repeats_is_read(
    warnings: list[str], tmp_path: Path
) -> None:
    """A webhook that warned so kept a resource from its trial for ever."""
    headers = "".join(f'Warning: 299 - "{text}"\r\n' for text in warnings).encode()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 24\r\n" + headers)
        writer.write(b'\r\n{"metadata":{"uid":"1"}}')
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        async with connect(kubeconfig(tmp_path, url)) as kube:
            assert await kube.get("Pod", "ml", "a") == {"metadata": {"uid": "1"}}
