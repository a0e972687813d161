"""Whether an engine that answered no request is at fault itself, and the error that says so. Pure.

It is not where other clients' requests take its time: whoever reaches a pod may send them, also at its start.
"""

from __future__ import annotations

from collections.abc import Sequence

from tacho_contract.text import visible
from tacho_contract.units import clipped
from tacho_runtime.probe.load.engine_counters import EngineCounters
from tacho_runtime.probe.load.requests import RequestFormat
from tacho_runtime.probe.load.retries import RETRYABLE_STATUSES
from tacho_runtime.probe.load.timed_client import RequestFailed

WORDS_LIMIT_CHARS = 500
"""Most characters of an engine's own words in a failure."""
_OF_CLIENTS = frozenset({401, 403, 429})
"""HTTP statuses of a server that admits other clients, or other numbers of them."""
NOT_IMPLEMENTED = 501
KNOWN_API = ""
"""Stands for the name of an engine that has answered a request of tacho's, and has no other API."""


class FormatsRefused(RequestFailed):
    """An engine refused a request in every format."""

    refusals: tuple[tuple[RequestFormat, RequestFailed], ...] = ()

    @classmethod
    def of(cls, refusals: Sequence[tuple[RequestFormat, RequestFailed]]) -> FormatsRefused:
        details = " | ".join(f"{wording}: {error}" for wording, error in refusals)
        failed = cls(f"the engine refused every request format: {details}")
        failed.refusals = tuple(refusals)
        return failed


class NeverAnswered(Exception):
    """An engine that has just started answered no request with a token, by its own fault.

    The text has its words. ``refused``: it took each request for a wrong one.
    """

    def __init__(self, message: str, *, seconds: float, refused: bool = False) -> None:
        super().__init__(message)
        self.seconds = seconds
        self.refused = refused

    @classmethod
    def after(cls, error: RequestFailed, seconds: float, *, api_is_known: bool = False) -> NeverAnswered:
        """The error of an engine whose last failure was ``error``, after so many seconds of tries.
        ``api_is_known``: it answered before, and no setting is wrong."""
        errors = [one for _, one in _refusals(error)] or [error]
        message = " | ".join(dict.fromkeys(visible(str(one)) for one in errors))
        refused = not api_is_known and all(
            one.answered and one.status // 100 == 4 and one.status not in RETRYABLE_STATUSES for one in errors
        )
        return cls(clipped(message, WORDS_LIMIT_CHARS), seconds=seconds, refused=refused)


def is_own_fault(error: RequestFailed, engine: str) -> bool:
    """Whether ``engine`` itself is why a request that tacho shaped was not answered with a token.

    False where it admits other clients alone. A custom engine may have another API: the simplest request to
    each path decides, and neither its refusal nor a redirect is the engine's fault.
    """
    refusals = _refusals(error)
    errors = [one for _, one in refusals] or [error]
    if any(one.status in _OF_CLIENTS for one in errors):
        return False
    if engine != "custom":
        return True
    plainest = {wording.path: one for wording, one in refusals}.values() if refusals else errors
    return any(one.status // 100 not in (3, 4) and one.status != NOT_IMPLEMENTED for one in plainest)


def may_be_busy(error: RequestFailed) -> bool:
    """Whether other clients' requests may be why a request failed: it got no answer, or one for a while."""
    silent = not (error.answered or error.broke or isinstance(error, FormatsRefused))
    return silent or error.status in RETRYABLE_STATUSES


def serves_others(before: EngineCounters, now: EngineCounters) -> bool:
    """Whether an engine has worked since ``before``, and has more requests than the probe's first one."""
    pairs = (
        (before.generated_tokens, now.generated_tokens),
        (before.ttft_seconds_count, now.ttft_seconds_count),
        (before.steps, now.steps),
    )
    has_worked = any(count is not None and count > (was or 0) for was, count in pairs)
    load = now.unfinished if now.running is None else now.running + (now.waiting or 0)
    return has_worked and load is not None and load > 1


def _refusals(error: RequestFailed) -> tuple[tuple[RequestFormat, RequestFailed], ...]:
    return error.refusals if isinstance(error, FormatsRefused) else ()
