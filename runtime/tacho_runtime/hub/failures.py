"""The failure class of a hub client's exception, and the next step for the user."""

from __future__ import annotations

import errno
import re
import traceback
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

from tacho_contract.failure import FailedError, FailureClass
from tacho_runtime.hub.addresses import by_proxy

_QUERY = re.compile(r"(?<=\S)\?[^\s'\"]+")
ABBREVIATED = re.compile("[0-9a-f]{7,39}")
"""Matches the beginning of a commit as a hub resolves it; a branch or a tag, as 20260131, may be like it."""
WHOLE_COMMIT = "Correct spec.model.revision: of a commit, put all 40 digits there."
RETRYABLE_STATUS = {408, 425, 429}
NOT_IMPLEMENTED = 501
"""HTTP status of a server that does not know a kind of request, now or later."""
BROKEN_DISK = (errno.EIO, errno.EROFS, errno.ESTALE, errno.EFBIG, errno.ENXIO, errno.ENODEV, errno.EUCLEAN)
"""Errors of reads and writes of an opened file, which name no file. Those of connections are others."""
_TRUST = (
    "Put the certificate of its authority into a ConfigMap and name that in "
    "spec.model.hub.caBundleConfigMapRef."
)
_RENEW = "Have the hub's certificate renewed; if it is valid, correct the node's clock."
_CERTIFICATE_STEPS = (
    ("has expired", _RENEW),
    ("not yet valid", _RENEW),
    ("mismatch", "Name the hub in spec.model.hub.endpoint as its certificate does."),
)
"""OpenSSL's words, each with the next step where no authority is missing."""
_CONNECTING = {"ConnectError", "ConnectTimeout", "ProxyError"}
"""Errors of a connection: with a proxy, of the one to the proxy, unless they are about encryption."""
FULL = (errno.ENOSPC, errno.EDQUOT)
"""Error numbers of a full disk."""
AUTHORIZE = (
    "Put a hub token that may read it into a Secret and name that in spec.model.tokenSecretRef "
    "(name and key, for example HF_TOKEN)"
)


def classify(
    error: BaseException, *, repository: str, revision: str, endpoint: str, token: str
) -> FailedError:
    """Turns any exception of the hub client into a failure with a class and a next step.

    The exception's text is shortened, and the token's value removed from it: a hub may redirect to an address
    that holds it.
    """
    found = _classified(error, repository, revision, endpoint, token)
    if token and token in found.failure.message:
        found.failure = replace(found.failure, message=found.failure.message.replace(token, "***"))
    return found


def _classified(
    error: BaseException, repository: str, revision: str, endpoint: str, token: str
) -> FailedError:
    has_token = bool(token)
    # The hub client wraps the error that has the hub's answer in 'not found locally'.
    cause = next((e for e in _chain(error) if getattr(e, "response", None) is not None), error)
    status = _status(cause)
    code = _error_code(cause)
    where = f"{repository}@{revision} on {endpoint}"
    if isinstance(error, OSError) and error.errno in FULL:
        return disk_full(f"No space was left while {repository} was downloaded ({error.strerror}).")
    if limited := _at_limit(error):
        return limited
    if isinstance(error, OSError) and (error.filename or error.errno in BROKEN_DISK):
        return _on_disk(error)
    if code == "GatedRepo" or "Gated" in type(cause).__name__:
        return FailedError.of(
            FailureClass.AUTH_REQUIRED,
            f"{where} is gated, and "
            + ("the token was not granted access." if has_token else "no token was given."),
            f"Ask for access at {endpoint}/{repository}. {AUTHORIZE}.",
        )
    if status in (401, 403):
        refusal = "refused the token" if has_token else "requires a token, or has no such repository"
        message = f"{endpoint} {refusal} for {repository} (HTTP {status})."
        return FailedError.of(FailureClass.AUTH_REQUIRED, message, f"{AUTHORIZE}.")
    if status == 404 or code in ("RepoNotFound", "RevisionNotFound", "EntryNotFound"):
        return _absent(code, repository, revision, endpoint, has_token)
    if status:
        return _answered(status, endpoint, cause, token)
    return _not_answered(error, endpoint, token)


def _at_limit(error: BaseException) -> FailedError | None:
    """The failure where this container has no more memory, threads or open files; None: it has."""
    numbers = {e.errno for e in _chain(error) if isinstance(e, OSError)}
    memory = isinstance(error, MemoryError) or errno.ENOMEM in numbers
    threads = isinstance(error, BlockingIOError) or _is_python_at_limit(error)
    if not memory and not threads and not numbers & {errno.EMFILE, errno.ENFILE}:
        return None
    what = "memory" if memory else "threads" if threads else "open files"
    return FailedError.of(
        FailureClass.HOST_OUT_OF_MEMORY if memory else FailureClass.ENGINE_CRASHED,
        f"The container that reads the model is at its pod's or node's limit of {what}.",
        "Raise that limit (threads: the kubelet's podPidsLimit), or free some there; it will be retried.",
    )


def _is_python_at_limit(error: BaseException) -> bool:
    """Whether Python could not start a thread. What a hub answers, or a model's author names, chooses no
    failure, so the words alone are not enough.
    """
    return type(error) is RuntimeError and str(error) == "can't start new thread"


_REQUESTS = "huggingface_hub.utils._http"
"""The module of the hub's client that reads Retry-After, as a number of any size."""
ENLARGE = "Enlarge the claim of spec.cache, free space in it, or choose fewer spec.model.files."


def disk_full(message: str, next_step: str = ENLARGE) -> FailedError:
    return FailedError.of(FailureClass.DISK_FULL, message, next_step)


def _on_disk(error: OSError) -> FailedError:
    file = f": {str(error.filename)[-300:]}" if error.filename else ""
    return FailedError.of(
        FailureClass.INVALID_CONFIG,
        f"The cache cannot be used: {error.strerror}{file}.",
        "Check the claim in spec.cache: whether it is read-only, who may write it, and its storage.",
    )


def unreachable(message: str, *, retryable: bool = True) -> FailedError:
    return FailedError.of(
        FailureClass.HUB_UNREACHABLE,
        message,
        "Check that pods reach the hub (network policy; proxy, CA bundle and mirror in spec.model.hub)"
        + ("; it will be retried." if retryable else "."),
        retryable=retryable,
    )


def _absent(code: str, repository: str, revision: str, endpoint: str, has_token: bool) -> FailedError:
    if code == "RevisionNotFound":
        message = f"{repository} on {endpoint} has no revision {revision!r}."
        step = WHOLE_COMMIT if ABBREVIATED.fullmatch(revision.lower()) else "Correct spec.model.revision."
    elif code == "EntryNotFound":
        message = f"{repository}@{revision} on {endpoint} listed a file that it does not have."
        step = "Try again; if it stays, the repository is damaged."
    else:
        hidden = ", or the token may not see it" if has_token else ", or it is private and needs a token"
        message = f"{repository} does not exist on {endpoint}{hidden}."
        step = "Correct spec.model.uri, or name a Secret with a hub token in spec.model.tokenSecretRef."
    return FailedError.of(FailureClass.MODEL_NOT_FOUND, message, step)


def _answered(status: int, endpoint: str, cause: BaseException, token: str) -> FailedError:
    retryable = status in RETRYABLE_STATUS or (status >= 500 and status != NOT_IMPLEMENTED)
    limited = "is limiting requests" if status == 429 else f"answered HTTP {status}"
    return unreachable(f"{endpoint} {limited}: {shortened(cause, token)}", retryable=retryable)


def _not_answered(error: BaseException, endpoint: str, token: str) -> FailedError:
    names = {type(e).__name__ for e in _chain(error)}
    if any("CERTIFICATE_VERIFY_FAILED" in str(e) for e in _chain(error)):
        return FailedError.of(
            FailureClass.HUB_UNREACHABLE,
            f"{endpoint} shows a certificate that is not trusted: {shortened(error, token)}",
            next((step for words, step in _CERTIFICATE_STEPS if words in str(error)), _TRUST),
            retryable=False,
        )
    if isinstance(error, ImportError):
        return FailedError.of(
            FailureClass.INVALID_CONFIG,
            f"This image lacks what the hub's client needs: {shortened(error, token)}",
            "Use the tacho image of a release, or build it whole.",
        )
    if names & {"UnsupportedProtocol", "TooManyRedirects", "InvalidURL"}:
        message = f"{endpoint} redirects to an address that cannot be fetched: {shortened(error, token)}"
        return unreachable(message, retryable=False)
    if names & {"HFValidationError"}:
        message = f"That is no repository name: {shortened(error, token)}"
        return FailedError.of(FailureClass.MODEL_NOT_FOUND, message, "Correct spec.model.uri.")
    if isinstance(error, OverflowError | ValueError) and _raised_in(error) == _REQUESTS:
        return unreachable(f"{endpoint} is limiting requests, and asks for a pause that has no end.")
    if isinstance(error, OSError) or any(map(_is_network, _chain(error))):
        to_proxy = names & _CONNECTING and by_proxy(urlsplit(endpoint).hostname or "")
        server = f"The proxy to {endpoint}" if to_proxy and "SSL" not in str(error) else endpoint
        return unreachable(f"{server} did not answer: {shortened(error, token)}")
    return unreachable(
        f"{endpoint} did not answer like a model hub ({type(error).__name__}: {shortened(error, token)}).",
        retryable=False,
    )


def _raised_in(error: BaseException) -> str:
    """The module whose code raised ``error``."""
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    return str(frames[-1].f_globals.get("__name__")) if frames else ""


def _is_network(error: BaseException) -> bool:
    kind = type(error)
    ours = kind.__module__.startswith(("httpx", "httpcore", "ssl", "socket"))
    return "Timeout" in kind.__name__ or ("Error" in kind.__name__ and ours)


def _chain(error: BaseException) -> list[BaseException]:
    found: list[BaseException] = []
    current: BaseException | None = error
    while current is not None and current not in found and len(found) < 10:
        found.append(current)
        current = current.__cause__ or current.__context__
    return found


def _status(error: BaseException) -> int:
    response: Any = getattr(error, "response", None)
    return int(getattr(response, "status_code", 0) or 0)


def _error_code(error: BaseException) -> str:
    response: Any = getattr(error, "response", None)
    headers = getattr(response, "headers", None) or {}
    return str(headers.get("X-Error-Code", ""))


def first_line(error: BaseException) -> str:
    """The first line of the exception's text, without what signs a link to storage."""
    return _QUERY.sub("?...", (str(error).strip().splitlines() or [type(error).__name__])[0])


def shortened(error: BaseException, token: str) -> str:
    """The beginning of the exception's text. The token goes before the cut, which may leave a part of it."""
    text = first_line(error)
    return (text.replace(token, "***") if token else text)[:200]
