"""What the API client makes of a broken connection."""

from __future__ import annotations

from typing import Any

import aiohttp
import pytest

from tacho_operator.shell.kube import ApiError, Kube


class Broken:
    """An API server that goes away in the middle of an answer."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    async def request(self, *_: Any, **__: Any) -> None:
        raise self._error


@pytest.mark.parametrize(
    "error",
    [aiohttp.ServerDisconnectedError(), aiohttp.ClientPayloadError("cut"), aiohttp.ClientOSError("reset")],
)
async def test_a_cut_connection_is_an_api_error(error: Exception) -> None:
    """Every caller lives on after one; the operator ended when the API server restarted during a resync."""
    with pytest.raises(ApiError, match=type(error).__name__):
        await Kube(Broken(error)).list_all("LLMDeployment")
