"""Converts the contract's dataclasses to JSON and back. Standard library only, no I/O."""

from __future__ import annotations

import base64
import dataclasses
import functools
import json
import math
import types
import typing
import zlib
from collections.abc import Iterator, Mapping
from enum import Enum
from typing import Any, TypeVar

from tacho_contract.uri import ModelUri, parse_uri

T = TypeVar("T")

_FLAT, _LIMIT = "flat", "limit"

WHOLE_NUMBER_LIMIT = 2**63
"""Limit of whole numbers: 64-bit integers, as in the API server. Valid documents have far smaller numbers."""
INFLATED_LIMIT_BYTES = 128 * 1024
"""Most bytes that a packed document may have after decompression. An inspect result has a few KiB.

As Python objects, a list of very short texts takes fifteen times as much.
"""


class DocumentError(ValueError):
    """A document does not have the shape that the contract requires."""


def _camel(name: str) -> str:
    head, *rest = name.split("_")
    return head + "".join(part.title() for part in rest)


def flat(**renamed: str) -> dict[str, Any]:
    """Metadata of a dataclass field whose own fields are written among those of its owner, without a key for
    itself.

    ``renamed``: keys that differ from the camelCase of the field's name. Only fields of the declared type are
    written, so a value of a subclass may be passed.
    """
    return {_FLAT: renamed}


def at_most(items: int) -> dict[str, Any]:
    """Metadata of a list field: reading fails for a list of more than ``items`` items."""
    return {_LIMIT: items}


def to_dict(document: Any) -> Any:
    """A contract object as JSON-ready data with camelCase keys; fields that are None are left out."""
    if isinstance(document, ModelUri):
        return str(document)
    if dataclasses.is_dataclass(document) and not isinstance(document, type):
        return dict(_pairs(document, type(document), {}))
    if isinstance(document, tuple | list):
        return [to_dict(item) for item in document]
    if isinstance(document, dict):
        return {str(key): to_dict(value) for key, value in document.items()}
    return document.value if isinstance(document, Enum) else document


def _pairs(document: Any, cls: type, renamed: Mapping[str, str]) -> Iterator[tuple[str, Any]]:
    for f in dataclasses.fields(cls):
        value = getattr(document, f.name)
        if _FLAT in f.metadata:
            yield from _pairs(value, _hints(cls)[f.name], f.metadata[_FLAT])
        elif value is not None:
            yield renamed.get(f.name) or _camel(f.name), to_dict(value)


def dumps(document: Any) -> str:
    """The document as compact JSON with sorted keys, so that equal documents are equal strings."""
    return json.dumps(to_dict(document), separators=(",", ":"), sort_keys=True, allow_nan=False)


@functools.cache
def _hints(cls: type) -> dict[str, Any]:
    return typing.get_type_hints(cls)


@functools.cache
def _table(cls: type) -> tuple[tuple[str, str, Any, Mapping[str, str] | None, float], ...]:
    """For each field of a class: name, key, type, names of fields that are written among its own, and limit
    of items.

    It is cached: thousands of pods are read every few seconds, and most of that time went into finding these
    anew.
    """
    hints = _hints(cls)
    return tuple(
        (f.name, _camel(f.name), hints[f.name], f.metadata.get(_FLAT), f.metadata.get(_LIMIT, math.inf))
        for f in dataclasses.fields(cls)
    )


def from_dict(cls: type[T], data: Any, path: str = "") -> T:
    """``data`` as an instance of the contract class ``cls``; unknown keys are ignored.

    Raises DocumentError, naming the place, for anything of another type or a missing field.
    """
    return typing.cast(T, _decode(cls, data, path or cls.__name__))


def loads(cls: type[T], text: str | bytes) -> T:
    """The document in ``text``. Raises DocumentError."""
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DocumentError(f"{cls.__name__}: not JSON: {error}") from None
    return from_dict(cls, data)


def read(cls: type[T], text: str | bytes) -> T | None:
    """The document in ``text``; None where it is something else."""
    try:
        return loads(cls, text)
    except DocumentError:
        return None


class _Shape(typing.NamedTuple):
    """How data of a declared type is decoded."""

    how: str
    """Form of the data: object, list, map, uri or scalar."""
    kind: Any
    """The class of the declared type; for a list or a map, the class of its items."""
    optional: bool


@functools.cache
def _shape(kind: Any) -> _Shape:
    origin = typing.get_origin(kind)
    if kind == ModelUri:
        return _Shape("uri", kind, False)
    if origin in (typing.Union, types.UnionType):
        (kind,) = (arg for arg in typing.get_args(kind) if arg is not type(None))
        return _shape(kind)._replace(optional=True)
    if dataclasses.is_dataclass(kind):
        return _Shape("object", kind, False)
    if origin is tuple:
        return _Shape("list", typing.get_args(kind)[0], False)
    if origin is dict:
        return _Shape("map", typing.get_args(kind)[1], False)
    return _Shape("scalar", kind, False)


def _decode(kind: Any, data: Any, path: str) -> Any:
    how, kind, optional = _shape(kind)
    if optional and data is None:
        return None
    if how == "scalar":
        return _decode_scalar(kind, data, path)
    if how == "uri":
        return _decode_uri(data, path)
    if how == "object":
        return _decode_object(kind, data, path, {})
    if how == "list":
        if not isinstance(data, list):
            raise DocumentError(f"{path}: expected a list, got {type(data).__name__}")
        if (kind is float or kind is int) and _are_numbers(kind, data):
            return tuple(map(kind, data))
        return tuple(_decode(kind, value, f"{path}[{index}]") for index, value in enumerate(data))
    if not isinstance(data, dict):
        raise DocumentError(f"{path}: expected an object, got {type(data).__name__}")
    return {str(key): _decode(kind, value, f"{path}.{key}") for key, value in data.items()}


def _are_numbers(kind: type, data: list[Any]) -> bool:
    """Whether all of ``data`` are valid numbers of ``kind``. Checks the hundreds of a histogram at once."""
    if not {*map(type, data)} <= ({float, int} if kind is float else {int}):
        return False
    bounded = max(map(abs, data), default=0) < WHOLE_NUMBER_LIMIT
    return bounded and all(map(math.isfinite, data))


def _decode_uri(data: Any, path: str) -> ModelUri:
    text = _decode_scalar(str, data, path)
    try:
        return parse_uri(text)
    except ValueError as error:
        raise DocumentError(f"{path}: {error}") from None


def _decode_scalar(kind: Any, data: Any, path: str) -> Any:
    """``data`` as a scalar of ``kind``. NaN, infinities and halves of surrogate pairs are refused, as JSON
    cannot hold them.
    """
    if type(data) is int and kind in (int, float) and abs(data) >= WHOLE_NUMBER_LIMIT:
        raise DocumentError(f"{path}: a number of more than 63 bits")
    if kind is float and type(data) is int:
        return float(data)
    if not isinstance(data, kind) or (kind is int and isinstance(data, bool)):
        raise DocumentError(f"{path}: expected {kind.__name__}, got {type(data).__name__}")
    if kind is float and not math.isfinite(data):
        raise DocumentError(f"{path}: expected a finite number, got {data}")
    return data.encode("utf-8", "replace").decode() if kind is str else data


def _decode_object(kind: Any, data: Any, path: str, renamed: Mapping[str, str]) -> Any:
    if not isinstance(data, dict):
        raise DocumentError(f"{path}: expected an object, got {type(data).__name__}")
    values: dict[str, Any] = {}
    for name, usual, hint, flat_names, limit in _table(kind):
        key = renamed.get(name, usual)
        if flat_names is not None:
            values[name] = _decode_object(hint, data, path, flat_names)
        elif key in data:
            if limit < math.inf and isinstance(data[key], list) and len(data[key]) > limit:
                raise DocumentError(f"{path}.{key}: {len(data[key])} items, more than {limit}")
            values[name] = _decode(hint, data[key], f"{path}.{key}")
    try:
        return kind(**values)
    except (TypeError, ValueError) as error:
        raise DocumentError(f"{path}: {error}") from None


def pack(document: Any) -> str:
    """The document as zlib + base64, short enough for a termination message."""
    return base64.b64encode(zlib.compress(dumps(document).encode(), 9)).decode()


def unpack(cls: type[T], text: str) -> T:
    """The document that ``pack`` encoded. Raises DocumentError for any other text, and for a longer one."""
    try:
        inflater = zlib.decompressobj()
        raw = inflater.decompress(base64.b64decode(text.encode(), validate=True), INFLATED_LIMIT_BYTES)
    except (ValueError, zlib.error) as error:
        raise DocumentError(f"{cls.__name__}: not a packed document: {error}") from None
    if inflater.unconsumed_tail or not inflater.eof:
        raise DocumentError(f"{cls.__name__}: cut, or larger than {INFLATED_LIMIT_BYTES} bytes")
    return loads(cls, raw)
