"""What a rule is: declared once, rendered to CEL for the API server and evaluated by tacho offline."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One condition a resource must meet.

    `cel` sees the value at `path` as `self` and is true where all is well. It may use only what both
    evaluators understand alike: operators, has, size, in, all, exists, exists_one, filter, map, matches,
    startsWith, endsWith, contains.
    """

    name: str
    """Stable name, unique among all rules."""
    path: str
    """Where it is checked: property names from the root, `[]` for each item. "" is the object itself."""
    cel: str
    message: str
    """What is wrong and what to do about it; one line."""
    cluster_only: bool = False
    """True: `tacho run` accepts what the API server refuses (file:// models)."""
    offline_only: bool = False
    """True: too expensive or impossible in CEL's budget; checked by tacho alone."""
