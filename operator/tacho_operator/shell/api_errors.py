"""Errors of requests to the API server, as one exception class for each way to react."""

from __future__ import annotations

import json

import aiohttp
from kubernetes.aio import client as aio
from kubernetes.aio.dynamic.exceptions import DynamicApiError, api_exception
from kubernetes.aio.utils import is_retry_after_response, retry_after_seconds

EXPIRED = 410
LONGEST_RETRY_AFTER_SECONDS = 120.0
"""Maximum Retry-After that is honoured, equal to the longest pause of the operator's own. A proxy's
request to wait a day is not honoured."""


class ApiError(Exception):
    """A request that the API server refused, described in one line; status 0 where it did not answer."""

    def __init__(self, status: int, message: str, *, retry_after_seconds: float = 0.0) -> None:
        super().__init__(f"{status}: {message}")
        self.status = status
        self.message = message
        self.retry_after_seconds = retry_after_seconds
        """Seconds to wait before the request is repeated, by the API server's header (Retry-After of 429 and
        5xx)."""


class Conflict(ApiError):
    """The object was changed, or is owned, by another client (HTTP 409)."""


class Forbidden(ApiError):
    """Refused by authorization, quota or admission (HTTP 403)."""


class Invalid(ApiError):
    """The API server does not accept the object: a field is wrong, or the object is too large."""


class Fenced(ApiError):
    """Refused by the chart's admission policy, as another operator holds the Lease (HTTP 403)."""


class Missing(ApiError):
    """The object does not exist (HTTP 404)."""


class Expired(ApiError):
    """The resourceVersion is too old to continue from (HTTP 410)."""


ERRORS: dict[int, type[ApiError]] = {
    400: Invalid, 403: Forbidden, 404: Missing, 409: Conflict, EXPIRED: Expired, 413: Invalid, 422: Invalid,
}  # fmt: skip
"""Errors of their own, by HTTP status."""
NOT_TYPED = "failed to create typed patch object"
"""Words of the 500 that answers a server-side apply of a list with two items of one key."""
TOO_LARGE = ("etcdserver: request is too large", "trying to send message larger than max")
"""Words of the 500 that answers an object beyond etcd's limit, and of the one that its client refuses to send
(kube-apiserver 1.36). No dry run reaches either."""
FENCED = "this operator does not hold the Lease"
"""Words of the chart's admission policy."""
LONGEST_MESSAGE_CHARS = 4096


def api_error(error: DynamicApiError) -> ApiError:
    try:
        message = str(json.loads(error.body or "")["message"])
    except (TypeError, ValueError, KeyError, RecursionError):
        message = str(error.reason)
    status = int(error.status or 0)
    by_words = {NOT_TYPED: Invalid, **dict.fromkeys(TOO_LARGE, Invalid), FENCED: Fenced}
    kind = next((kind for words, kind in by_words.items() if words in message), ERRORS.get(status, ApiError))
    return kind(status, message[:LONGEST_MESSAGE_CHARS], retry_after_seconds=_wait_seconds(error))


async def response_error(response: aiohttp.ClientResponse) -> ApiError:
    """The error for a refused request of another HTTP client (kopf's). The response can still be read."""
    body = await response.text(errors="replace")
    error = aio.ApiException(status=response.status, reason=response.reason, body=body)
    error.headers = response.headers
    return api_error(api_exception(error))


def _wait_seconds(error: DynamicApiError) -> float:
    try:
        requested = retry_after_seconds(error) if is_retry_after_response(error) else None
    except (OverflowError, ValueError):  # more digits than a number has here
        return LONGEST_RETRY_AFTER_SECONDS
    return min(requested or 0.0, LONGEST_RETRY_AFTER_SECONDS)


def requested_pause_seconds(error: Exception) -> float:
    """Seconds that the API server's Retry-After asks to wait; 0 without one."""
    return error.retry_after_seconds if isinstance(error, ApiError) else 0.0
