"""The two clocks of a machine: one to measure with, one to date with."""

from __future__ import annotations

import time
from datetime import datetime, timezone
from typing import Protocol

from tacho_contract.times import format_time


class Clock(Protocol):
    """The two clocks: one to measure with, one to date with."""

    def monotonic(self) -> float: ...

    def utc(self) -> str:
        """RFC 3339, to the second."""


class SystemClock:
    """This machine's clocks."""

    def monotonic(self) -> float:
        return time.monotonic()

    def utc(self) -> str:
        return format_time(datetime.now(timezone.utc))
