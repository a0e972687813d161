"""Compares live objects with the desired ones, to send a request only where they differ."""

from __future__ import annotations

from typing import Any

from tacho_operator.api.base import parse_quantity
from tacho_operator.core.types import Manifest

Path = tuple[str, ...]
"""Keys that lead to a value in a manifest; elements of a list have the path of the list."""

_RESOURCES = frozenset({"limits", "requests"})
_WHOLE = frozenset({"selector", "matchLabels", "podSelector", "namespaceSelector", "ingress", "from"})
"""Fields that are compared as a whole, of lists each item: the API server adds no defaults in them, and an
extra key would select other objects. A ``from`` beside the ports of a NetworkPolicy's rule shuts clients out.
"""


def contains(live: Any, desired: Any, path: Path = ()) -> bool:
    """Whether ``live`` contains everything in ``desired``; fields that the API server defaulted may be extra.

    Lists must have the same length: the API server adds fields to objects, hardly ever items to lists.
    Quantities compare by value, since the server stores 1000m as 1; ``path`` tells which fields are
    quantities.
    """
    if isinstance(desired, dict):
        if not desired:
            return live in (None, {}) or isinstance(live, dict)
        if not isinstance(live, dict) or (path and path[-1] in _WHOLE and live.keys() - desired.keys()):
            return False
        return all(contains(live.get(key), value, (*path, key)) for key, value in desired.items())
    if isinstance(desired, list):
        if not desired:
            return live in (None, [])
        return (
            isinstance(live, list)
            and len(live) == len(desired)
            and all(contains(found, expected, path) for found, expected in zip(live, desired, strict=True))
        )
    if live == desired or (live is None and (desired == "" or desired is False)):
        return True
    return _is_quantity(path) and _same_quantity(live, desired)


def _is_quantity(path: Path) -> bool:
    """Whether the API server has a quantity at ``path``. Elsewhere 1e3 and 1000 are different texts."""
    if len(path) >= 3 and path[-3] == "resources" and path[-2] in _RESOURCES:
        return True
    return path[-2:] == ("emptyDir", "sizeLimit")


def _same_quantity(live: Any, desired: Any) -> bool:
    if not all(isinstance(item, str | int | float) for item in (live, desired)):
        return False
    try:
        return parse_quantity(str(live)) == parse_quantity(str(desired))
    except ValueError:
        return False


def managed_entry(live: Manifest, manager: str) -> Manifest | None:
    """The managedFields entry of the manager's server-side applies of the object itself; None: there is
    none."""
    for entry in live["metadata"].get("managedFields") or ():
        whose = (entry.get("manager"), entry.get("operation"), entry.get("subresource") or "")
        if whose == (manager, "Apply", ""):
            found: Manifest = entry
            return found
    return None


def abandoned(live: Manifest, desired: Manifest, manager: str) -> bool:
    """Whether the manager still owns a field that ``desired`` no longer sets, which only an apply removes."""
    found = managed_entry(live, manager) or {}
    return _owns_more(found.get("fieldsV1"), desired)


def _owns_more(tree: Any, desired: Any) -> bool:
    """Whether the FieldsV1 ``tree`` has a field that ``desired`` does not set.

    A list counts as a whole: ``contains`` compares its elements.
    """
    owned = [key for key in tree if key.startswith("f:")] if isinstance(tree, dict) else []
    return any(
        not isinstance(desired, dict) or key[2:] not in desired or _owns_more(tree[key], desired[key[2:]])
        for key in owned
    )
