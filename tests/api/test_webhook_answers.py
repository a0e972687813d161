"""What the API server makes of a webhook's refusal: the status is the webhook's, the first words are not."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from tacho_operator.shell.api_errors import FENCED, WEBHOOK, ApiError, Forbidden, Invalid
from tacho_operator.shell.kube import Kube, connect
from tests.tls_server import tls_server
from tools.cluster.certs import Authority
from tools.cluster.handle import Cluster

EXPECTED: dict[int, type[ApiError]] = {
    **dict.fromkeys((0, 200, 302, 400, 413, 422), Invalid),
    **dict.fromkeys((403, 404, 409, 410), Forbidden),
    **dict.fromkeys((429, 500), ApiError),
}
"""What a refusal is taken for, by the status that the webhook chose. Below 400 the API server says 400."""


@pytest.fixture
async def refusing(api: Cluster, namespace: str, tmp_path: Path) -> AsyncIterator[dict[str, Any]]:
    """The status of each answer of a webhook that refuses the ConfigMaps of the namespace."""
    status: dict[str, Any] = {}

    async def answer(request: web.Request) -> web.Response:
        review = await request.json()
        refusal = {"uid": review["request"]["uid"], "allowed": False, "status": status}
        response = web.json_response({**review, "response": refusal})
        response.force_close()  # the API server would keep it open
        return response

    authority = Authority(tmp_path)
    rule = {"apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"], "operations": ["*"]}
    bundle = base64.b64encode(authority.pair.certificate.read_bytes()).decode()
    hook: dict[str, Any] = {
        "name": "hook.tenant.example",
        "rules": [rule],
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}},
        "sideEffects": "None",
        "admissionReviewVersions": ["v1"],
    }
    kind = {"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration"}
    async with tls_server(authority, answer) as port:
        hook["clientConfig"] = {"url": f"https://127.0.0.1:{port}/", "caBundle": bundle}
        api.apply({**kind, "metadata": {"name": namespace}, "webhooks": [hook]})
        yield status
        api.kubectl("delete", "validatingwebhookconfiguration", namespace)


async def created(kube: Kube, namespace: str) -> ApiError | None:
    child = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "namespace": namespace}}
    try:
        await kube.try_create(child)
    except ApiError as error:
        return error
    return None


async def test_no_webhook_says_that_another_process_leads(
    api: Cluster, namespace: str, refusing: dict[str, Any]
) -> None:
    """A new leader, and each minute every leader, tries a ConfigMap in a namespace of a tenant: such words
    would have ended the process.
    """
    refusing["message"] = FENCED
    async with connect(str(api.kubeconfig)) as kube:
        async with asyncio.timeout(30):
            while await created(kube, namespace) is None:  # the API server has not read it yet
                await asyncio.sleep(0.1)
        for code, expected in EXPECTED.items():
            refusing["code"] = code
            error = await created(kube, namespace)
            assert (code, type(error)) == (code, expected)
            assert error is not None
            assert error.message == f'{WEBHOOK}hook.tenant.example" denied the request: {FENCED}'
