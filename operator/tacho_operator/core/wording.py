"""Numbers as the status and its messages spell them."""

from __future__ import annotations

import math

MESSAGE_LIMIT = 2048
"""Far below what the CRD admits: a condition is read in a terminal."""


def decimal(value: float | None) -> str | None:
    """``^\\d+(\\.\\d{1,3})?$``; None for what is unknown, negative or not finite."""
    if value is None or not math.isfinite(value) or value < 0 or value >= 1e15:
        return None
    text = f"{value:.3f}".rstrip("0").rstrip(".")
    return text or "0"


def gigabytes(done: int, total: int) -> str:
    """``1.2 of 4.4 GB``, in decimal units as download tools show them."""
    unit, name = (1e9, "GB") if total >= 1e9 else (1e6, "MB")
    return f"{done / unit:.1f} of {total / unit:.1f} {name}"


def seconds(value: float | None) -> int | None:
    """Whole seconds; None stays unknown."""
    return None if value is None or not math.isfinite(value) else min(max(0, round(value)), 2**31 - 1)


def clipped(text: str, limit: int = MESSAGE_LIMIT) -> str:
    """``text``, not longer than ``limit`` characters."""
    return text if len(text) <= limit else text[: limit - 1] + "…"
