"""Compares live objects with the desired ones, to send a request only where they differ.

It also detects a child that another writer changes again after every write, and remembers refusals of invalid
children.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from tacho_contract.failure import FailureClass
from tacho_operator.api.base import parse_quantity
from tacho_operator.core.names import DEPLOYMENT_LABEL, ROLE_LABEL
from tacho_operator.core.pauses import doubling_seconds
from tacho_operator.core.problems import refused_child
from tacho_operator.core.types import ChildRefusal, Manifest, Reference
from tacho_operator.shell.api_errors import UNPROCESSABLE, Invalid

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
        return _stored_quantity(str(live)) == _stored_quantity(str(desired))
    except ValueError:
        return False


def _stored_quantity(text: str) -> Fraction:
    """The value that the API server stores: rounded away from zero to 1e-9, with Ki to Ei at most 2^63 - 1.

    Source: apimachinery ``resource.ParseQuantity``. Raises ValueError.
    """
    value = parse_quantity(text)
    size = Fraction(math.ceil(abs(value) * 10**9), 10**9)
    if text.strip().endswith("i"):
        size = min(size, Fraction(2**63 - 1))
    return size if value >= 0 else -size


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

    A list counts as a whole: ``contains`` compares its elements. Users may write a megabyte of fields here.
    """
    owned = [key for key in tree if key.startswith("f:")] if isinstance(tree, dict) else []
    return any(
        not isinstance(desired, dict) or key[2:] not in desired or _owns_more(tree[key], desired[key[2:]])
        for key in owned
    )


def require_label(found: Manifest, desired: Manifest) -> None:
    """Raises Invalid for a ControllerRevision without the label by which the store finds it.

    The operator may not change one. Each decision would make a new plan in its place, also after an upgrade,
    and pods would be replaced by it.
    """
    if desired["kind"] != "ControllerRevision":
        return
    own, present = desired["metadata"].get("labels") or {}, found["metadata"].get("labels") or {}
    if own.get(DEPLOYMENT_LABEL) != present.get(DEPLOYMENT_LABEL):
        label = f"{DEPLOYMENT_LABEL}={own[DEPLOYMENT_LABEL]}"
        text = f"it lacks the label {label}. Put the label back, or delete the object to plan again"
        raise Invalid(UNPROCESSABLE, text) from None


REWRITES = 20
"""Writes of a child with the same content after which another writer is assumed to undo each."""
REWRITE_SECONDS = 120.0
"""Seconds without writes after REWRITES of a child. Writes further apart are not counted together."""
REFUSED_SECONDS, LONGEST_REFUSED_SECONDS = 30.0, 300.0
"""Pause in seconds after a refusal, and its maximum. It grows only where the object itself is invalid: a
quota may be raised at any time.
"""
CHILDREN_LIMIT = 10_000
"""Most children whose last write or refusal is remembered."""


@dataclass(frozen=True, slots=True)
class _Refused:
    content: int | str
    refusal: ChildRefusal
    count: int
    due: float
    """When a refused child is written again unchanged, in seconds of the monotonic clock."""


class Refusals:
    """Contents that the API server refused, by place. They are sent again after a pause, which doubles."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._refused: dict[tuple[str, ...], _Refused] = {}

    def note(self, place: tuple[str, ...], content: int | str, refusal: ChildRefusal) -> None:
        """Records that the API server refused ``content``."""
        previous = self._refused.pop(place, None)
        count = previous.count + 1 if previous is not None and previous.content == content else 1
        pause = doubling_seconds(REFUSED_SECONDS, LONGEST_REFUSED_SECONDS, count if refusal.invalid else 1)
        self._refused[place] = _Refused(content, refusal, count, self._clock() + pause)
        if len(self._refused) > CHILDREN_LIMIT:
            del self._refused[next(iter(self._refused))]

    def present(self, place: tuple[str, ...], content: int | str) -> ChildRefusal | None:
        """The refusal because of which ``content`` is not sent for now; None: it is sent."""
        previous = self._refused.get(place)
        if previous is None or previous.content != content or self._clock() >= previous.due:
            return None
        return previous.refusal

    def left_seconds(self, place: tuple[str, ...]) -> float:
        """Seconds until the refused content of ``place`` is sent again; REFUSED_SECONDS where none waits."""
        previous = self._refused.get(place)
        left = previous.due - self._clock() if previous is not None else 0.0
        return left if left > 0 else REFUSED_SECONDS

    def forget(self, place: tuple[str, ...]) -> None:
        """Removes the records of ``place`` and of all places that begin with it."""
        for known in [known for known in self._refused if known[: len(place)] == place]:
            del self._refused[known]


class Rewrites:
    """Counts the writes of each child with the same content, and remembers children refused as invalid.

    Without it, a webhook or controller that changes a child after each write would make the operator write
    for ever.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._written: dict[tuple[str, ...], tuple[int, int, float]] = {}
        """(hash of the content, number of writes, time of the last one) by the key of ``_child_key``."""
        self._refused = Refusals(clock)
        self._undeleted: dict[str, None] = {}
        """Uids of children whose deletion was refused."""

    def note(self, desired: Manifest, *, is_undone: bool = False) -> None:
        """Counts a write of the child. One that ``is_undone`` in its own answer stands for all: no event
        follows it, so that the next write may be hours away.
        """
        count = REWRITES if is_undone else self._rewrites(desired) + 1
        self._refused.forget(_child_key(desired))
        self._written.pop(_child_key(desired), None)
        self._written[_child_key(desired)] = (_hash(desired), count, self._clock())
        if len(self._written) > CHILDREN_LIMIT:
            del self._written[next(iter(self._written))]

    def forget(self, key: tuple[str, str]) -> None:
        """Removes all records about the children of a deleted resource."""
        self._refused.forget(key)
        for place in [place for place in self._written if place[:2] == key]:
            del self._written[place]

    def note_deletion(self, resource: tuple[str, str], child: Reference) -> None:
        """Records that the operator itself deleted the child: no other writer causes its next creation."""
        self._written.pop((*resource, child.kind, child.name), None)

    def note_refused_deletion(self, child: Reference) -> None:
        """Records that the API server refused to delete the child."""
        self._undeleted[child.uid] = None
        if len(self._undeleted) > CHILDREN_LIMIT:
            del self._undeleted[next(iter(self._undeleted))]

    def refused_last(self, children: Iterable[Reference]) -> list[Reference]:
        """``children`` to delete, in their order, those whose deletion was refused before at the end.

        Slow refusals of the first ones would otherwise take each pass's time from all others.
        """
        return sorted(children, key=lambda child: child.uid in self._undeleted)

    def is_contested(self, desired: Manifest) -> bool:
        """Whether another writer has changed the child so often that it is not written for now."""
        return self._rewrites(desired) >= REWRITES

    def note_refusal(self, found: Manifest | None, desired: Manifest, refusal: ChildRefusal) -> None:
        """Records that the API server refused the child as invalid.

        It is written at once if spec or ``found``, the live child, changes. Refusals by quota and policies
        are not recorded, as they may end at any time.
        """
        if refused_child(refusal).reason == FailureClass.INVALID_CONFIG:
            self._refused.note(_child_key(desired), _refused_content(found, desired), refusal)

    def withheld(self, found: Manifest | None, desired: Manifest) -> ChildRefusal | None:
        """The earlier refusal because of which the child is not written for now; None: it is written."""
        if self.is_contested(desired):
            return contested(desired)
        return self._refused.present(_child_key(desired), _refused_content(found, desired))

    def left_seconds(self, resource: tuple[str, str], refusal: ChildRefusal) -> float:
        """Seconds until the child of ``resource`` is written again; REFUSED_SECONDS without a pause."""
        return self._refused.left_seconds((*resource, refusal.kind, refusal.name))

    def _rewrites(self, desired: Manifest) -> int:
        """Number of writes of the same content, each within REWRITE_SECONDS of the previous one."""
        content, count, last = self._written.get(_child_key(desired), (0, 0, 0.0))
        is_recent = count and self._clock() - last < REWRITE_SECONDS
        return count if is_recent and content == _hash(desired) else 0


def contested(desired: Manifest) -> ChildRefusal:
    """The refusal for the status of a child that another writer keeps changing."""
    metadata = desired["metadata"]
    role = (metadata.get("labels") or {}).get(ROLE_LABEL, "")
    return ChildRefusal(kind=desired["kind"], name=metadata["name"], role=role, contested=True)


def _child_key(desired: Manifest) -> tuple[str, ...]:
    """Key of a child: namespace and name of its resource, then kind and name of the child."""
    metadata = desired["metadata"]
    owner = (metadata.get("labels") or {}).get(DEPLOYMENT_LABEL, "")
    return (metadata["namespace"], owner, desired["kind"], metadata["name"])


_PASSING = frozenset({"resourceVersion", "generation", "managedFields"})


def _refused_content(found: Manifest | None, desired: Manifest) -> int:
    """Hash of the desired and the live child, without fields that controllers update on every pod change."""
    if found is not None:
        metadata = {key: value for key, value in found["metadata"].items() if key not in _PASSING}
        found = {**{key: value for key, value in found.items() if key != "status"}, "metadata": metadata}
    return _hash([found, desired])


def _hash(document: Any) -> int:
    return hash(json.dumps(document, sort_keys=True))
