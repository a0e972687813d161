"""Errors of requests to the API server, as one exception class for each way to react."""

from __future__ import annotations

import contextlib
import json
import re
from typing import Any

import aiohttp
from kubernetes.aio.dynamic.exceptions import DynamicApiError
from kubernetes.aio.utils import is_retry_after_response, retry_after_seconds

FORBIDDEN, EXPIRED, UNPROCESSABLE = 403, 410, 422
LONGEST_RETRY_AFTER_SECONDS = 120.0
"""Longest Retry-After in seconds that is respected, equal to the operator's own longest back-off. A proxy
could ask for a day.
"""


class ApiError(Exception):
    """An error of a request to the API server, in one line. ``status`` is 0 where no answer came."""

    def __init__(self, status: int, message: str, *, retry_after_seconds: float = 0.0) -> None:
        super().__init__(f"{status}: {message}")
        self.status = status
        self.message = message
        self.retry_after_seconds = retry_after_seconds
        """Seconds to wait before the next try, by the header Retry-After (of 429 and 5xx); 0: none."""


class Conflict(ApiError):
    """Another client changed the object in between, or owns the name (HTTP 409)."""


class Forbidden(ApiError):
    """Authorization, quota or admission control refused the request (HTTP 403, or a webhook's choice)."""


class Invalid(ApiError):
    """The object is invalid: a field is wrong, or it is too large (HTTP 400, 413, 422)."""


class Fenced(ApiError):
    """The chart's admission policy refused the request: another process holds the Lease (HTTP 403)."""


class Missing(ApiError):
    """The object does not exist (HTTP 404)."""


class Expired(ApiError):
    """The resourceVersion is too old to continue from (HTTP 410)."""


ERRORS: dict[int, type[ApiError]] = {
    400: Invalid, FORBIDDEN: Forbidden, 404: Missing, 409: Conflict, EXPIRED: Expired, 413: Invalid,
    UNPROCESSABLE: Invalid,
}  # fmt: skip
"""The exception class by HTTP status; other statuses raise ApiError itself."""
NOT_TYPED = "failed to create typed patch object"
"""Text of the HTTP 500 for a server-side apply of a list with two items of one key; treated as Invalid."""
TOO_LARGE = ("etcdserver: request is too large", "trying to send message larger than max")
"""Texts of the HTTP 500 for an object above etcd's size limit, by etcd and by its client (kube-apiserver
1.36). A dry run does not find this.
"""
FENCED = "this operator does not hold the Lease"
"""Text in refusals by the chart's admission policy (HTTP 403)."""
WEBHOOK = 'admission webhook "'
"""First words of a webhook's refusal. Its status and all other words are the webhook's own: it could say that
the object is gone, or that another process leads.
"""
LONGEST_MESSAGE_CHARS = 4096
ERROR_BYTES = 1 << 20
"""Most bytes that are read of an error's body. It has a webhook's words, which are of any length, and is held
several times: 100 MB of it took 300 MiB.
"""
_CHARACTER = r'(?:[^"\\]|\\u[0-9a-fA-F]{4}|\\[^u])'
_CUT_MESSAGE = re.compile(rf'"message":\s*("{_CHARACTER}{{0,{LONGEST_MESSAGE_CHARS}}}+)')


class _Beginning:
    """The content of an error's response, of which ERROR_BYTES are read."""

    def __init__(self, content: Any) -> None:
        self._content = content

    def __getattr__(self, name: str) -> Any:
        return getattr(self._content, name)

    async def read(self) -> bytes:
        held = bytearray()
        while len(held) < ERROR_BYTES and (chunk := await self._content.readany()):
            held += chunk
        # The client decodes it strictly: half a character, or a proxy's page, would be no ApiError.
        return held[:ERROR_BYTES].decode(errors="replace").encode()


async def short_errors(
    request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
) -> aiohttp.ClientResponse:
    """Middleware of an HTTP client: of the body of an error only the beginning is read."""
    response = await handler(request)
    if not response.ok:
        content: Any = _Beginning(response.content)
        response.content = content
    return response


def _message(error: DynamicApiError) -> str:
    """What the API server says, also at the beginning of a body that was cut."""
    with contextlib.suppress(TypeError, ValueError, KeyError, RecursionError):
        return str(json.loads(error.body or "")["message"])
    if found := _CUT_MESSAGE.search(str(error.body)):
        with contextlib.suppress(ValueError):
            return str(json.loads(f'{found[1]}"')).encode(errors="replace").decode()
    return str(error.reason)


def api_error(error: DynamicApiError) -> ApiError:
    message = _message(error)
    status = int(error.status or 0)
    kind = ERRORS.get(status, ApiError)
    if message.startswith(WEBHOOK):
        kind = kind if kind in (ApiError, Invalid) else Forbidden
    elif status == FORBIDDEN and FENCED in message:
        kind = Fenced
    elif any(words in message for words in (NOT_TYPED, *TOO_LARGE)):
        kind = Invalid
    return kind(status, message[:LONGEST_MESSAGE_CHARS], retry_after_seconds=_wait_seconds(error))


def _wait_seconds(error: DynamicApiError) -> float:
    try:
        requested = retry_after_seconds(error) if is_retry_after_response(error) else None
    except (OverflowError, ValueError):  # more digits than a number has here
        return LONGEST_RETRY_AFTER_SECONDS
    return min(requested or 0.0, LONGEST_RETRY_AFTER_SECONDS)


def requested_pause_seconds(error: Exception) -> float:
    """Seconds that the API server's Retry-After asks to wait; 0 without one."""
    return error.retry_after_seconds if isinstance(error, ApiError) else 0.0
