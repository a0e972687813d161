"""Kubernetes quantities as numbers, and bytes as words."""

from __future__ import annotations

import re
from fractions import Fraction

_QUANTITY = re.compile(r"([0-9]+(?:\.[0-9]*)?)([eE][0-9]{1,2}|m|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei)?")
_FACTOR: dict[str, Fraction] = {
    "": Fraction(1),
    "m": Fraction(1, 1000),
    **{unit: Fraction(1000) ** power for power, unit in enumerate(("k", "M", "G", "T", "P", "E"), 1)},
    **{unit: Fraction(1024) ** power for power, unit in enumerate(("Ki", "Mi", "Gi", "Ti", "Pi", "Ei"), 1)},
}

GIB = 1024**3
MIB = 1024**2


def parse_quantity(text: str) -> Fraction:
    """The value of a Kubernetes quantity such as ``500m``, ``8Gi`` or ``1e3``.

    Source: apimachinery ``resource.Quantity``. Raises ValueError naming the text.
    """
    match = _QUANTITY.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"not a Kubernetes quantity: {text[:40]!r}")
    number, suffix = Fraction(match[1]), match[2] or ""
    if suffix[:1] in ("e", "E") and len(suffix) > 1 and suffix[1:].isdigit():
        return number * Fraction(10) ** int(suffix[1:])
    return number * _FACTOR[suffix]


def quantity_bytes(text: str) -> int:
    """Whole bytes of a quantity, rounded down."""
    return int(parse_quantity(text))


def gib(size_bytes: int | float) -> str:
    """Bytes for a person: GiB with two significant decimals, MiB below one GiB."""
    if size_bytes < GIB:
        return f"{size_bytes / MIB:.0f} MiB"
    return f"{size_bytes / GIB:.2f} GiB" if size_bytes < 10 * GIB else f"{size_bytes / GIB:.1f} GiB"
