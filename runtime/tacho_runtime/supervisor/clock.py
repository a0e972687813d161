"""The two clocks of a machine: one to measure with, one to date with."""

from __future__ import annotations

import time
from datetime import datetime, timezone

from tacho_contract.times import format_time


class SystemClock:
    """This machine's clocks."""

    def monotonic(self) -> float:
        return time.monotonic()

    def utc(self) -> str:
        return format_time(datetime.now(timezone.utc))
