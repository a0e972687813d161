"""A rule: declared once, rendered to CEL for the API server, and evaluated offline."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Rule:
    """One condition a resource must meet.

    `cel` sees the value at `path` as `self` and is true where the value is valid. It may use only what both
    evaluators support: operators, has, size, in, all, exists, exists_one, filter, map, matches,
    startsWith, endsWith, contains.
    """

    name: str
    """Stable name, unique among all rules."""
    path: str
    """Path of the value: property names from the root, `[]` for each item; "": the object itself."""
    cel: str
    message: str
    """The violation and the next step; one line."""
    cluster_only: bool = False
    """True: only the API server enforces the rule; `tacho run` accepts the value (file:// models)."""


def exactly_one(*fields: str) -> str:
    """A CEL expression that is true where exactly one of the named fields is set."""
    return " + ".join(f"(has(self.{field}) ? 1 : 0)" for field in fields) + " == 1"
