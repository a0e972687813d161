"""Which image new revisions copy the runtime from: the one that the operator's own pod runs."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, cast

import pytest

from tacho_operator.core.types import Manifest, RuntimeImage
from tacho_operator.shell import own_image as module
from tacho_operator.shell.api_errors import ApiError, Forbidden
from tacho_operator.shell.kube import Kube
from tacho_operator.shell.own_image import own_image

IMAGE, DIGEST = "registry.example/tacho:1", f"registry.example/tacho@sha256:{'a' * 64}"
SHA256 = hashlib.sha256(b"zip").hexdigest()


class Server:
    """Has the operator's pod, or answers with an error."""

    def __init__(self, *statuses: Any, error: ApiError | None = None) -> None:
        self.error, self.pod = error, {"status": {"containerStatuses": list(statuses)}}

    async def get(self, kind: str, namespace: str, name: str) -> Manifest | None:
        if self.error:
            raise self.error
        return self.pod if (kind, namespace, name) == ("Pod", "tacho-system", "tacho-0") else None


async def read(server: Server, pod: str = "tacho-0") -> RuntimeImage:
    return await own_image(cast(Kube, server), IMAGE, "tacho-system", pod)


@pytest.fixture(autouse=True)
def runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The runtime's file in the operator's image."""
    path = tmp_path / "runtime.pyz"
    path.write_bytes(b"zip")
    monkeypatch.setattr(module, "ZIPAPP_IN_IMAGE", str(path))
    return path


async def test_the_own_pod_has_the_digest() -> None:
    sidecar = {"name": "sidecar", "imageID": DIGEST.replace("a" * 64, "b" * 64)}
    server = Server(sidecar, {"name": "operator", "imageID": DIGEST})
    assert await read(server) == RuntimeImage(image=DIGEST)


@pytest.mark.parametrize(
    "server",
    [
        Server(),
        Server({"name": "operator"}),
        Server({"name": "operator", "imageID": f"sha256:{'c' * 64}"}),
        Server(error=Forbidden(403, "no such right")),
    ],
)
async def test_without_a_digest_the_own_runtime_has_a_hash(server: Server, runtime: Path) -> None:
    assert await read(server) == RuntimeImage(image=IMAGE, sha256=SHA256)
    runtime.unlink()
    assert await read(server) == RuntimeImage(image=IMAGE)


async def test_outside_of_a_pod_no_pod_is_read() -> None:
    assert await read(Server(error=ApiError(503, "overloaded")), pod="") == RuntimeImage(
        image=IMAGE, sha256=SHA256
    )


async def test_an_api_server_that_does_not_answer_is_asked_again() -> None:
    with pytest.raises(ApiError):
        await read(Server(error=ApiError(503, "overloaded")))
