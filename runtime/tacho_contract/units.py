"""Formats sizes and times, and cuts texts to the length of a message.

Memory is in GiB, as for GPUs and pods; files and downloads are in GB, as on model hubs. Times are RFC 3339,
like ``metav1.Time`` and ``metav1.MicroTime``.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from datetime import datetime, timezone

MIB = 1024**2
GIB = 1024**3

MESSAGE_LIMIT_CHARS = 2048
"""Longest message in characters. The CRD admits more, but conditions are read in a terminal."""


def counted(count: int, thing: str) -> str:
    """A number with a noun: ``1 stream``, ``2 streams``."""
    return f"{count} {thing}" if count == 1 else f"{count} {thing}s"


def gib(size_bytes: int | float) -> str:
    """Bytes of memory as text: ``4.97 GiB``, ``31.2 GiB``, or ``381 MiB`` below one GiB."""
    if size_bytes < GIB:
        return f"{size_bytes / MIB:.0f} MiB"
    return f"{size_bytes / GIB:.2f} GiB" if size_bytes < 10 * GIB else f"{size_bytes / GIB:.1f} GiB"


def gib_or_more(size_bytes: int | float) -> str:
    """A size in GiB as ``gib`` writes it, but rounded up, so that the stated amount suffices."""
    step = MIB if size_bytes < GIB else GIB / 100 if size_bytes < 10 * GIB else GIB / 10
    return gib(math.ceil(size_bytes / step) * step)


def file_size(size_bytes: int) -> str:
    """Bytes of a file or disk as text: ``98.4 MB``."""
    size = float(size_bytes)
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"


def part_of(done_bytes: int, total_bytes: int) -> str:
    """The progress of a download as text: ``1.2 of 4.4 GB``."""
    unit, name = (1e9, "GB") if total_bytes >= 1e9 else (1e6, "MB")
    return f"{done_bytes / unit:.1f} of {total_bytes / unit:.1f} {name}"


def listed(names: Sequence[str], limit: int = 8) -> str:
    """Names for a message: the first few, and the number of the others. Long names are cut in the middle."""
    shown = [name if len(name) <= 80 else f"{name[:38]}…{name[-40:]}" for name in names[:limit]]
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(shown) + more


def clipped(text: str, limit_chars: int = MESSAGE_LIMIT_CHARS) -> str:
    """``text``, cut to ``limit_chars`` characters with a mark at the end if it is longer."""
    return text if len(text) <= limit_chars else text[: limit_chars - 1] + "…"


_RFC3339 = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(?:(Z)|([+-]\d\d:\d\d))", re.ASCII)


def format_time(moment: datetime) -> str:
    """The time in UTC as RFC 3339, to the second. Raises ValueError without a time zone."""
    if moment.tzinfo is None:
        raise ValueError("a time without a zone cannot be written down")
    return moment.astimezone(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


FIRST_YEAR, LAST_YEAR = 1900, 9000
"""Years of a time that is believed: a duration can be added to it, and subtracted."""


def parse_time(text: str | None) -> datetime | None:
    """The time in ``text``; None for any other text, also for a time without a zone or of another age."""
    match = _RFC3339.fullmatch(text or "")
    if match is None:
        return None
    whole, fraction, _, offset = match.groups()
    try:  # Python 3.10 reads neither Z nor a fraction of any length
        found = datetime.fromisoformat(f"{whole}.{(fraction or '')[:6]:0<6}{offset or '+00:00'}")
    except ValueError:
        return None
    return found if FIRST_YEAR <= found.year <= LAST_YEAR else None
