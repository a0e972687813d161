"""How the operator's client logs in: by a kubeconfig file, or as its ServiceAccount in a pod."""

from __future__ import annotations

import datetime

import aiohttp
from kubernetes.aio import client as aio, config as aio_config
from kubernetes.aio.config.incluster_config import (
    SERVICE_CERT_FILENAME,
    SERVICE_TOKEN_FILENAME,
    InClusterConfigLoader,
)

UNAUTHORIZED = 401


class ServiceAccountToken(InClusterConfigLoader):
    """The token of the ServiceAccount, which the kubelet replaces in its file within the hour.

    The library reads the file once a minute by this machine's clock. If that is set back by hours, it goes on
    with a token that expires, so each refusal has the file read again.
    """

    def __init__(
        self, token_file: str = SERVICE_TOKEN_FILENAME, authorities_file: str = SERVICE_CERT_FILENAME
    ) -> None:
        super().__init__(token_file, authorities_file)  # type: ignore[no-untyped-call]  # an untyped library

    async def renewed(
        self, request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        """Middleware of an HTTP client: the request after a refused one has the token of the file."""
        response = await handler(request)
        if response.status == UNAUTHORIZED:
            self.token_expires_at = datetime.datetime.min
        return response


async def log_in(
    kubeconfig: str, configuration: aio.Configuration
) -> tuple[aiohttp.ClientMiddlewareType, ...]:
    """Fills in ``configuration`` by the kubeconfig, or as the pod; returns middlewares that keep it valid."""
    if kubeconfig:
        await aio_config.load_kube_config(
            kubeconfig, client_configuration=configuration, persist_config=False
        )
        return ()
    token = ServiceAccountToken()
    token.load_and_set(configuration)  # type: ignore[no-untyped-call]  # an untyped library
    return (token.renewed,)
