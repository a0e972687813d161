"""Applies a fleet as fast as the API server takes it: a process of its own, bodies made beforehand.

    python -m benchmarks.fleet.applying KUBECONFIG RESOURCES NAMESPACES

Prints how many seconds the creates took together.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import ssl
import time
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
from kubernetes.aio import client as aio, config as aio_config

from tacho_operator.shell.kube import KINDS
from tools.harness.operating import resource

HANDS = 32
"""Requests under way, each on a connection of its own."""
AGAIN = frozenset({429, 500, 503})
AGAIN_SECONDS = 0.2
TAKEN = 409
"""An answer was lost, and the object is there."""


def fleet(count: int, namespaces: int) -> list[dict[str, Any]]:
    """The resources, the same in every run."""
    found = []
    for number in range(count):
        item = resource(f"fleet-{number % namespaces:03}")
        item["metadata"]["name"] = f"m{number:05}"
        found.append(item)
    return found


def path_of(manifest: dict[str, Any]) -> str:
    version, plural = KINDS[manifest["kind"]]
    group = f"/apis/{version}" if "/" in version else f"/api/{version}"
    return f"{group}/namespaces/{manifest['metadata']['namespace']}/{plural}"


@contextlib.asynccontextmanager
async def session_of(
    kubeconfig: str, connections: int = 100
) -> AsyncIterator[tuple[str, aiohttp.ClientSession]]:
    """The API server's URL, and a session that bears the kubeconfig's certificate."""
    configuration = aio.Configuration()
    await aio_config.load_kube_config(kubeconfig, client_configuration=configuration, persist_config=False)
    trust = ssl.create_default_context(cafile=configuration.ssl_ca_cert)
    trust.load_cert_chain(str(configuration.cert_file), keyfile=configuration.key_file)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=connections, ssl=trust)) as session:
        yield str(configuration.host), session


async def apply_all(kubeconfig: str, items: list[dict[str, Any]]) -> float:
    """Seconds that it took."""
    async with session_of(kubeconfig, connections=HANDS) as (host, session):
        remaining = [
            (
                f"{host}{path_of(item)}",
                json.dumps(item).encode(),
            )
            for item in reversed(items)
        ]
        started = time.monotonic()
        await asyncio.gather(*(_hand(session, remaining) for _ in range(HANDS)))
    return time.monotonic() - started


async def _hand(session: aiohttp.ClientSession, remaining: list[tuple[str, bytes]]) -> None:
    while remaining:
        url, body = remaining.pop()
        try:
            async with session.post(url, data=body, headers={"Content-Type": "application/json"}) as answer:
                status = answer.status
                text = await answer.text()
        except (aiohttp.ClientError, TimeoutError):
            status, text = 503, ""
        if status in AGAIN:
            remaining.append((url, body))
            await asyncio.sleep(AGAIN_SECONDS)
        elif status not in (201, TAKEN):
            raise RuntimeError(f"HTTP {status}: {text:.500}")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("kubeconfig")
    parser.add_argument("count", type=int)
    parser.add_argument("namespaces", type=int)
    options = parser.parse_args()
    print(asyncio.run(apply_all(options.kubeconfig, fleet(options.count, options.namespaces))))


if __name__ == "__main__":
    main()
