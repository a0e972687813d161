"""A registry on this machine's loopback, without encryption: go-containerregistry's, built with cosign."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator

import httpx

from tools.cluster import builds
from tools.cluster.ports import free_port
from tools.harness.operator_process import eventually
from tools.steps import say


@contextlib.contextmanager
def running() -> Iterator[int]:
    """Its port."""
    port, program = free_port(), builds.built(builds.COSIGN, say) / "registry"
    with subprocess.Popen([program, "-port", str(port)], stderr=subprocess.DEVNULL) as process:
        try:
            eventually("the registry answers", lambda: _answers(port))
            yield port
        finally:
            process.terminate()


def _answers(port: int) -> bool | None:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/v2/", trust_env=False).is_success or None
    except httpx.TransportError:
        return None
