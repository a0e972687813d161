"""Finds the failure class of a log line and of a container's end, by the engines' own patterns. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from tacho_contract.failure import FAILURE_KINDS, FailedError, Failure, FailureClass
from tacho_engines.base import Exit
from tacho_engines.registry import run_half
from tacho_operator.core.pods.view import Termination
from tacho_operator.core.problems import parse_failure


def line_class(engine: str, line: str) -> str:
    """The failure class that the line shows; "" where it shows none."""
    try:
        half = run_half(engine)
    except FailedError:
        return ""
    if not half.names_cause(line):
        return ""
    found = half.classify(Exit(code=1), [line]).failure_class
    return "" if found == FailureClass.ENGINE_CRASHED else str(found)


def ended_with(end: Termination, lines: Sequence[tuple[str, str]]) -> Failure | None:
    """The failure that the runtime reported, else the one that the last lines show.

    ``lines``: (failure class or "", line). None: exit code 0, or a line is the failure already, as last lines
    of the runtime's own programs are.
    """
    if reported := parse_failure(end.message):
        return reported
    if not end.exit_code or any(line.partition(":")[0] in FAILURE_KINDS for _, line in lines):
        return None
    shown = next((found for found, _ in reversed(lines) if found), FailureClass.ENGINE_CRASHED)
    if end.reason == "OOMKilled":
        shown = FailureClass.HOST_OUT_OF_MEMORY
    what = f"the container ended with exit code {end.exit_code}"
    return FailedError.of(FailureClass(shown), what).failure
