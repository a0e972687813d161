"""Asks model pods for their reports. A pod is untrusted: small answers, no redirects, short patience."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable

import httpx

from tacho_contract.codec import DocumentError, loads
from tacho_contract.pod import RUNTIME_PORT
from tacho_contract.report import REPORT_LIMIT_BYTES, Report
from tacho_operator.core.types import Manifest

logger = logging.getLogger(__name__)

TIMEOUT_SECONDS = 5.0
"""An engine that starves its own container of CPU makes a healthy runtime answer late."""


def report_url(pod: Manifest) -> str | None:
    """Where the pod's runtime listens; None while it has no address or does not run."""
    address = pod.get("status", {}).get("podIP")
    if not address or pod["status"].get("phase") != "Running":
        return None
    host = f"[{address}]" if ":" in address else address
    return f"http://{host}:{RUNTIME_PORT}/report"


async def _read(client: httpx.AsyncClient, url: str) -> Report:
    async with client.stream("GET", url) as response:
        if response.status_code != 200:
            raise DocumentError(f"HTTP {response.status_code}")
        body = b""
        async for chunk in response.aiter_raw():  # never inflated: a little gzip holds a lot of memory
            body += chunk
            if len(body) > REPORT_LIMIT_BYTES:
                raise DocumentError(f"more than {REPORT_LIMIT_BYTES} bytes")
    return loads(Report, body)


async def collect(client: httpx.AsyncClient, pods: Iterable[Manifest]) -> dict[str, Report]:
    """Reports by pod uid. A pod that does not answer is absent: unknown, not failed."""
    targets = [(pod["metadata"], url) for pod in pods if (url := report_url(pod))]

    async def one(metadata: Manifest, url: str) -> tuple[str, Report] | None:
        try:
            async with asyncio.timeout(TIMEOUT_SECONDS):
                return metadata["uid"], await _read(client, url)
        except (httpx.HTTPError, TimeoutError, DocumentError) as error:
            logger.debug("pod %s/%s: no report: %s", metadata["namespace"], metadata["name"], error)
            return None

    answers = await asyncio.gather(*(one(metadata, url) for metadata, url in targets))
    return dict(answer for answer in answers if answer)


def report_client() -> httpx.AsyncClient:
    """No proxy of the operator's own environment comes between it and a pod."""
    return httpx.AsyncClient(
        timeout=TIMEOUT_SECONDS,
        follow_redirects=False,
        trust_env=False,
        headers={"Accept-Encoding": "identity"},
    )
