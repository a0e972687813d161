"""Which requests that failed are sent again, and after which pause.

One dropped connection or one "too many requests" is no reason to know nothing of an engine; an engine that
fails every time is not waited for.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TypeVar

from tacho_runtime.probe.asking.timed_client import RequestFailed

T = TypeVar("T")

BUSY = frozenset({408, 425, 429, 502, 503, 504})
"""Statuses of a server, or of what stands before it, that may answer the same a moment later."""
FAULT = 500
"""The same of an engine that has answered such a request before; to a first one it may mean that it does not
understand it."""
PAUSES_SECONDS = (0.25, 0.5, 1.0)
"""Before the second, third and fourth try."""
LONGEST_PAUSE_SECONDS = 5.0
"""Who asks for a longer one is not waited for: the probe has less than a minute."""
MOST_AGAIN = 10
"""Of all requests of a probe together."""
MOST_WAITED_SECONDS = 20.0
"""The same of their pauses."""


@dataclass(slots=True)
class Tries:
    """What failed so far, in one probe."""

    failed: list[str] = field(default_factory=list)
    """What was sent again, by what had gone wrong."""
    waited_seconds: float = 0.0
    """In pauses."""

    def pause_after(self, error: RequestFailed, tries: int, *, known: bool) -> float | None:
        """Seconds until the request is sent once more, after ``tries`` that failed; None: it is not.

        ``known``: the engine has answered such a request before.
        """
        worth = error.broke or error.status in BUSY or (known and error.status == FAULT)
        if not worth or tries > len(PAUSES_SECONDS) or len(self.failed) >= MOST_AGAIN:
            return None
        asked = error.retry_after_seconds or 0.0
        pause = max(asked, PAUSES_SECONDS[tries - 1])
        long = asked > LONGEST_PAUSE_SECONDS or self.waited_seconds + pause > MOST_WAITED_SECONDS
        return None if long else pause

    async def answered(self, send: Callable[[], Awaitable[T]], *, known: bool = True) -> tuple[T, int]:
        """(what ``send`` brought, how often it failed before). Raises the last RequestFailed, which says how
        often it was tried."""
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
        """In words, for who reads the figures; "" where nothing failed."""
        if not self.failed:
            return ""
        times = "1 request was" if len(self.failed) == 1 else f"requests were {len(self.failed)} times"
        return f"{times} sent again after a failure: {self.failed[-1]}"
