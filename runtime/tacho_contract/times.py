"""Moments as documents spell them: RFC 3339, as ``metav1.Time`` and ``metav1.MicroTime``."""

from __future__ import annotations

import re
from datetime import datetime, timezone

_RFC3339 = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(?:(Z)|([+-]\d\d:\d\d))", re.ASCII)


def format_time(moment: datetime) -> str:
    """The time in UTC, to the second. Raises ValueError for a moment that does not know its time zone."""
    if moment.tzinfo is None:
        raise ValueError("a time without a zone cannot be written down")
    return moment.astimezone(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def parse_time(text: str | None) -> datetime | None:
    """The moment ``text`` names; None for anything else, a time without a zone included."""
    match = _RFC3339.fullmatch(text or "")
    if match is None:
        return None
    whole, fraction, _, offset = match.groups()
    try:  # Python 3.10 reads neither Z nor a fraction of any length
        return datetime.fromisoformat(f"{whole}.{(fraction or '')[:6]:0<6}{offset or '+00:00'}")
    except ValueError:
        return None
