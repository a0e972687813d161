"""What docs/reference/conditions.md says: the type, the status and the reason of each row."""

from __future__ import annotations

from pathlib import Path

PAGE = Path(__file__).parents[3] / "docs/reference/conditions.md"
ANY_FAILURE = "a failure class"
"""Stands in a row for the reasons of docs/reference/failures.md."""


def documented() -> list[tuple[str, str, str]]:
    """(type, status, reason), in the order of the page. Every row has a meaning and a next step."""
    kind, found = "", []
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        if line.startswith("## "):
            kind = line.removeprefix("## ")
        elif line.startswith("| ") and not line.startswith(("| Status |", "| --- |")):
            status, reason, meaning, next_step = line.strip("| ").split(" | ")
            assert meaning.endswith("."), line
            assert next_step.endswith("."), line
            found.append((kind, status, reason))
    return found
