"""Kubernetes quantities: the field type, and its value as an exact number."""

from __future__ import annotations

import re
from fractions import Fraction
from typing import Annotated

from pydantic import Field

Quantity = Annotated[
    str,
    Field(
        min_length=1,
        max_length=32,
        pattern=r"^[0-9]+(\.[0-9]+)?(m|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei)?$",
        examples=["500m", "8Gi"],
    ),
]
"""A Kubernetes quantity, always quoted as a string: "4", "500m", "8Gi"."""

_NUMBER = r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)"
_QUANTITY = re.compile(rf"({_NUMBER})(?:[eE]([+-]?[0-9]{{1,2}})|([numkMGTPE]|[KMGTPE]i))?")
_FACTOR: dict[str, Fraction] = {
    **{unit: Fraction(1, 1000**power) for power, unit in enumerate(("m", "u", "n"), 1)},
    **{unit: Fraction(1000**power) for power, unit in enumerate(("k", "M", "G", "T", "P", "E"), 1)},
    **{unit: Fraction(1024**power) for power, unit in enumerate(("Ki", "Mi", "Gi", "Ti", "Pi", "Ei"), 1)},
}


def parse_quantity(text: str) -> Fraction:
    """The value of a quantity such as ``500m``, ``8Gi``, ``-1.5`` or ``1e3``.

    Wider than the field: it reads whatever the API server stores. Source: apimachinery
    ``resource.Quantity``. Raises ValueError naming the text.
    """
    match = _QUANTITY.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"not a Kubernetes quantity: {text[:40]!r}")
    number, exponent, suffix = match.groups()
    if exponent:
        return Fraction(number) * Fraction(10) ** int(exponent)
    return Fraction(number) * _FACTOR.get(suffix or "", Fraction(1))


def quantity_bytes(text: str) -> int:
    """Whole bytes of a quantity, rounded down."""
    return int(parse_quantity(text))
