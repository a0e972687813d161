"""What inspect and fetch containers have in common: hub token, time limit, termination message and logs."""

from __future__ import annotations

import logging
import os
import re
import signal
import sys
from types import FrameType
from typing import NoReturn
from urllib.request import getproxies

from tacho_contract.failure import FailedError, Failure, FailureClass
from tacho_contract.pod import TERMINATION_LOG
from tacho_contract.text import VisibleFormatter, visible

ENV_TERMINATION_LOG = "TACHO_TERMINATION_LOG"
"""Environment variable: path for the termination message, in place of the kubelet's file."""


ENV_INSECURE_HUB = "TACHO_INSECURE_HUB"
"""Environment variable by which ``tacho run`` and ``plan`` allow a hub without TLS. No resource sets it."""


def hub_token(endpoint: str) -> str:
    """The hub token for ``endpoint``, which the operator has checked, or for the hub in HF_ENDPOINT.

    Raises FailedError before it reads the token if HF_ENDPOINT has no encryption. Also for a token that no
    header can hold, and a proxy's password that no address can hold: the client's errors would show them.
    """
    if not all(_is_address(address) for kind, address in getproxies().items() if kind != "no"):
        raise FailedError.of(
            FailureClass.INVALID_CONFIG,
            "The address of a proxy has characters that none can hold, such as / in a password, or a line's "
            "end, or is none of http, https and socks5.",
            "In spec.model.hub.env, or the Secret that it names, write / as %2F, ? as %3F and # as %23.",
        )
    named = os.environ.get("HF_ENDPOINT", "")
    if not endpoint and named and not named.startswith("https://") and not os.environ.get(ENV_INSECURE_HUB):
        raise FailedError.of(
            FailureClass.INVALID_CONFIG,
            f"HF_ENDPOINT {named} is not encrypted.",
            "Use https://, or name it in model.hub.endpoint.",
        )
    token = os.environ.get("HF_TOKEN", "").strip()
    if not (token.isascii() and token.isprintable()):
        raise FailedError.of(
            FailureClass.AUTH_REQUIRED,
            "The hub token has characters that no HTTP header can hold, such as a line's end within it.",
            "Put the token alone into the Secret that spec.model.tokenSecretRef names.",
        )
    return token


def _is_address(proxy: str) -> bool:
    """Whether a client reads name and password in the address of ``proxy`` as they are meant."""
    user = re.sub("^(?:https?|socks5h?)://", "", proxy.rpartition("@")[0], flags=re.IGNORECASE)
    return proxy.isprintable() and not set("/?#") & set(user)


def termination_log() -> str:
    """Path of the file for the termination message."""
    return os.environ.get(ENV_TERMINATION_LOG) or TERMINATION_LOG


def print_failure(failure: Failure) -> None:
    text = f"{failure.failure_class}: {failure.message} {failure.next_step}"
    print(visible(text), file=sys.stderr)


def log_visibly() -> None:
    """Escapes control characters in log records, as they contain file names that a model's author chose."""
    handler = logging.StreamHandler()
    handler.setFormatter(VisibleFormatter())
    logging.basicConfig(level=logging.WARNING, handlers=[handler])


def limit_time(seconds: float, overdue: FailedError) -> None:
    """Raises ``overdue`` after ``seconds``; replaces an earlier limit.

    Only in the main thread, as it uses a signal. ``end_limit`` ends it.
    """

    def expired(_signal: int, _frame: FrameType | None) -> NoReturn:
        raise overdue

    signal.signal(signal.SIGALRM, expired)
    # Again and again: a library may swallow the first.
    signal.setitimer(signal.ITIMER_REAL, seconds, 1.0)


def end_limit() -> None:
    signal.setitimer(signal.ITIMER_REAL, 0)
