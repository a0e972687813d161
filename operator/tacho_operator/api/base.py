"""The base classes of all API models, and the scalar types of their fields.

Unknown fields are ignored on reading, so that an older operator can read what a newer one wrote. All models
are frozen: a decision returns a new resource.
"""

from __future__ import annotations

import functools
import math
import re
from fractions import Fraction
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic.alias_generators import to_camel

from tacho_contract.text import visible


class ApiModel(BaseModel):
    """A frozen object of the API: snake_case in Python, camelCase in YAML."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        populate_by_name=True,
        frozen=True,
        extra="ignore",
        use_attribute_docstrings=True,
        protected_namespaces=(),
    )

    @model_validator(mode="before")
    @classmethod
    def _null_is_absent(cls, given: Any) -> Any:
        """Treats null as absent, like the API server, which drops nulls of fields that cannot be null."""
        return {k: v for k, v in given.items() if v is not None} if isinstance(given, dict) else given

    def to_wire(self) -> dict[str, Any]:
        """The object as the API server stores it: camelCase keys, without absent fields."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)


def nulls_as_empty(texts: Any) -> Any:
    """A map of texts with "" for null, as the API server reads labels and annotations."""
    if not isinstance(texts, dict):
        return texts
    return {name: "" if text is None else text for name, text in texts.items()}


class StatusModel(ApiModel):
    """A frozen object of status. On the wire, unknown and empty values are omitted, a float becomes a
    Decimal, and control characters in texts are escaped.

    Its parts may be dataclasses of tacho_contract, whose field names are then kept.
    """

    model_config = ConfigDict(allow_inf_nan=False)

    def to_wire(self) -> dict[str, Any]:
        """The object as it is stored: camelCase keys, without None, "" and members that are empty without
        those."""
        found: dict[str, Any] = as_stored(super().to_wire())
        return found


def as_stored(value: Any) -> Any:
    """A value of status as the operator writes it: what changes by that was written by others."""
    if isinstance(value, float):
        return decimal(value)
    if isinstance(value, str):
        return visible(value)
    if isinstance(value, list):
        return [as_stored(item) for item in value]
    if not isinstance(value, dict):
        return value
    kept = {key: as_stored(member) for key, member in value.items()}
    return {key: member for key, member in kept.items() if member not in (None, "", {}, [])}


def integer(least: int, most: int | None = None, *, form: str = "int32") -> Any:
    """The pydantic field of a whole number from ``least`` to ``most``, in the OpenAPI format ``form``."""
    return Field(ge=least, le=most, json_schema_extra={"format": form})


Count = Annotated[int, integer(0, 2**31 - 1)]
"""A number of items, 0 to 2^31-1."""
Seconds = Annotated[int, integer(0, 2**31 - 1)]
Bytes = Annotated[int, integer(0, form="int64")]
Tokens = Annotated[int, integer(0, form="int64")]


def items(most: int, *, least: int | None = None, key: str = "", unique: bool = False) -> Any:
    """The pydantic field of a list of ``least`` to ``most`` items. A server-side apply replaces the whole
    list.

    ``key``: the field that identifies an item, so that each item has its own owner. ``unique``: a set.
    """
    extra: dict[str, Any] = {"x-kubernetes-list-type": "map" if key else "set" if unique else "atomic"}
    if key:
        extra["x-kubernetes-list-map-keys"] = [key]
    return Field(min_length=least, max_length=most, json_schema_extra=extra)


DECIMAL_PATTERN, DECIMAL_LENGTH = r"^[0-9]+(\.[0-9]{1,3})?$", 20
Decimal = Annotated[str, Field(pattern=DECIMAL_PATTERN, max_length=DECIMAL_LENGTH, examples=["812.4"])]
"""A decimal number as a string with at most three places: floats do not survive YAML, JSON and Go alike."""

NO_BLANK = r"[^\t\n\f\r ]"
"""Pattern of one character other than ASCII white space. The API server and pydantic differ in what else
``\\s`` includes: with ``[^\\s]``, the operator could not read some specs that the API server had accepted.
"""

Timestamp = Annotated[str, Field(max_length=32, json_schema_extra={"format": "date-time"})]
"""RFC 3339 in UTC, e.g. 2026-11-20T08:49:21Z."""

Name = Annotated[str, Field(min_length=1, max_length=253, pattern=r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$")]
"""The name of another Kubernetes object."""
Label63 = Annotated[str, Field(min_length=1, max_length=63, pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")]
"""A DNS label: the name of a namespace, a volume or a container."""
DataKey = Annotated[str, Field(min_length=1, max_length=253, pattern=r"^[-._a-zA-Z0-9]+$")]
"""A key in the data of a Secret or ConfigMap."""
QualifiedName = Annotated[
    str,
    Field(
        min_length=1,
        max_length=317,
        pattern=r"^([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$",
    ),
]
"""A label or annotation key, or the name of an extended resource: an optional prefix and a name."""
LabelValue = Annotated[str, Field(max_length=63, pattern=r"^([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?$")]
Word = Annotated[str, Field(max_length=64)]
"""A short word that the operator writes: a reason, a phase or a version; at most 64 characters."""
ShortText = Annotated[str, Field(max_length=256)]
Message = Annotated[str, Field(max_length=4096)]
"""Text for the user; at most 4096 characters."""


def decimal(value: float | None) -> str | None:
    """``value`` as a Decimal; None where it is unknown, negative or not finite."""
    if value is None or not math.isfinite(value) or value < 0 or value >= 1e15:
        return None
    text = f"{abs(value):.3f}".rstrip("0").rstrip(".")  # of -0.0, too
    return text or "0"


def seconds(value: float | None) -> int | None:
    """``value`` rounded to whole seconds, from 0 to the int32 limit; None if it is None or not finite."""
    return None if value is None or not math.isfinite(value) else min(max(0, round(value)), 2**31 - 1)


EXACT_LIMIT = 2**53
"""Integers from this limit on are not exact in every JSON parser."""


def exact(value: int | None) -> int | None:
    """``value`` as Bytes or Tokens; None for what is unknown, negative or too large for an exact JSON
    number."""
    return value if value is not None and 0 <= value < EXACT_LIMIT else None


QUANTITY_PATTERN = r"^[0-9]+(\.[0-9]+)?(m|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei)?$"
Quantity = Annotated[
    str,
    Field(
        min_length=1,
        max_length=32,
        pattern=QUANTITY_PATTERN,
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


LONGEST_QUANTITY = 64
"""Longest text of a quantity in characters that is read. Spec accepts 32, the API server a megabyte, and a
kubelet's message anything: of a longer one the value may exceed every float.
"""


@functools.lru_cache(maxsize=4096)
def parse_quantity(text: str) -> Fraction:
    """The value of a Kubernetes quantity such as ``500m``, ``8Gi``, ``-1.5`` or ``1e3``.

    It accepts more than spec does: every form that the API server stores, up to LONGEST_QUANTITY. Source:
    apimachinery ``resource.Quantity``. Raises ValueError naming the text.
    """
    match = _QUANTITY.fullmatch(text.strip()) if len(text) <= LONGEST_QUANTITY else None
    if match is None:
        raise ValueError(f"not a Kubernetes quantity: {text[:40]!r}")
    number, exponent, suffix = match.groups()
    if exponent:
        return Fraction(number) * Fraction(10) ** int(exponent)
    return Fraction(number) * _FACTOR.get(suffix or "", Fraction(1))


def quantity_bytes(text: str) -> int:
    """Whole bytes of a quantity, rounded down."""
    return int(parse_quantity(text))
