"""The time of decisions: this machine's, unless it differs from the API server's."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from email.utils import parsedate_to_datetime

import aiohttp

logger = logging.getLogger(__name__)

AGREE = timedelta(seconds=10)
"""Most by which two clocks differ that agree. The header has whole seconds, and an answer waits for a busy
event loop. A request that took longer says nothing, as the process may have been stopped meanwhile.
"""

LASTING_SECONDS = 60.0
"""Seconds for which all answers have another time before it is followed. One of several API servers may be
off, and the time would go back and forth with each answer.
"""


def utc_now() -> datetime:
    return datetime.now(timezone.utc)


class ServerClock:
    """The present time as the API server has it, by the header Date of its last answer.

    Pods and their ends have times of the cluster. By a clock that was behind or ahead, deadlines fell due at
    once or never, and a failed inspection was retried as fast as its pods ended.

    Where this machine's clock is set while the process runs, the time goes on as before. Until the next
    answers each deadline would be over: the gate admitted a slower revision, as not judged.
    """

    def __init__(
        self, own: Callable[[], datetime] = utc_now, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        """``own``: this machine's clock."""
        self._own, self._monotonic = own, monotonic
        self._behind = timedelta(0)
        """By how much this machine's clock is behind the API server's; 0: they agree."""
        self._confirmed: float | None = None
        """When an answer last had this clock's time, by the monotonic clock; None: none had."""
        self._read = (own(), monotonic())
        """The last readings of this machine's clock and of the monotonic one."""
        self._lock = threading.Lock()
        """Threads that read the loads of pods use this clock, too."""

    def __call__(self) -> datetime:
        with self._lock:
            return self._own_now() + self._behind

    def _own_now(self) -> datetime:
        """This machine's time. If it was set since the last reading, ``_behind`` makes up for that."""
        (own_before, before), (own, now) = self._read, (self._own(), self._monotonic())
        self._read = (own, now)
        ahead = own - own_before - timedelta(seconds=now - before)
        if abs(ahead) > AGREE:
            text = "this machine's clock was set by %.0f s; decisions go on by the time of before"
            logger.warning(text, ahead.total_seconds())
            self._behind -= ahead
            self._confirmed = None  # the next answer counts: a machine that was suspended is behind
        return own

    def seconds(self) -> float:
        """The time as seconds of Unix time."""
        return self().timestamp()

    async def followed(
        self, request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        """Middleware of an HTTP client of the API server, whose answers set this clock."""
        sent = self._own()
        response = await handler(request)
        with self._lock:
            received = self._own_now()
            if timedelta(0) <= received - sent <= AGREE:
                self._note(response.headers.get("Date", ""), received)
        return response

    def _note(self, date: str, received: datetime) -> None:
        try:
            behind = parsedate_to_datetime(date) - received
        except (ValueError, TypeError):  # none, or one without a time zone
            return
        behind = behind if abs(behind) > AGREE else timedelta(0)
        confirmed, now = self._confirmed, self._monotonic()
        if abs(behind - self._behind) > AGREE:
            if behind and confirmed is not None and now - confirmed < LASTING_SECONDS:
                return
            text = "%.0f s from this machine's clock to the API server's, which decisions follow"
            logger.warning(text, behind.total_seconds())
            self._behind = behind
        self._confirmed = now
