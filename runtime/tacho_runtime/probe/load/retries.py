"""Which failed requests of a probe are sent again, and after which pause.

A probe must survive a dropped connection or an answer 429, but not wait for an engine that always fails.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TypeVar

from tacho_runtime.probe.load.timed_client import RequestFailed

T = TypeVar("T")

RETRYABLE_STATUSES = frozenset({408, 425, 429, 502, 503, 504})
"""HTTP statuses after which a request may succeed when it is sent again."""
SERVER_ERROR = 500
"""HTTP status that is retried only where the engine has answered such a request before; for a first request
it may mean that the engine does not understand it."""
PAUSES_SECONDS = (0.25, 0.5, 1.0)
"""Pauses in seconds before the second, third and fourth try."""
MAX_PAUSE_SECONDS = 5.0
"""Longest Retry-After in seconds that is followed; with a longer one the request is not repeated, as the
probe has less than a minute.
"""
MAX_RETRIES = 10
"""Maximum number of retries of all requests of a probe together."""
MAX_WAIT_SECONDS = 20.0
"""Maximum seconds of pauses of all requests of a probe together."""


@dataclass(slots=True)
class RetryBudget:
    """Counts the failed requests of one probe, and limits the retries."""

    failed: list[str] = field(default_factory=list)
    """Messages of the failures after which a request was sent again."""
    waited_seconds: float = 0.0
    """Seconds spent in pauses before retries."""

    def pause_after(self, error: RequestFailed, tries: int, *, known: bool) -> float | None:
        """Seconds to wait before the request is sent again, after ``tries`` failures; None: it is not sent
        again.

        ``known``: the engine has answered such a request before.
        """
        worth = error.broke or error.status in RETRYABLE_STATUSES or (known and error.status == SERVER_ERROR)
        if not worth or tries > len(PAUSES_SECONDS) or len(self.failed) >= MAX_RETRIES:
            return None
        requested = error.retry_after_seconds or 0.0
        pause = max(requested, PAUSES_SECONDS[tries - 1])
        long = requested > MAX_PAUSE_SECONDS or self.waited_seconds + pause > MAX_WAIT_SECONDS
        return None if long else pause

    async def answered(self, send: Callable[[], Awaitable[T]], *, known: bool = True) -> tuple[T, int]:
        """(the result of ``send``, how often it failed before).

        Raises the last RequestFailed, with the number of tries.
        """
        tries = 0
        while True:
            try:
                return await send(), tries
            except RequestFailed as error:
                tries += 1
                pause = self.pause_after(error, tries, known=known)
                if pause is None:
                    raise error.after(tries) from None
                self.failed.append(str(error))
                self.waited_seconds += pause
            await asyncio.sleep(pause)

    def note(self) -> str:
        """A sentence about failed requests for the measurement's message; "" where none failed."""
        if not self.failed:
            return ""
        times = "1 request was" if len(self.failed) == 1 else f"requests were {len(self.failed)} times"
        return f"{times} retried after a failure: {self.failed[-1]}"
