"""Finds the failure class of a log line and of a container's end, by the engines' own patterns. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from tacho_contract.failure import FAILURE_KINDS, FailedError, Failure, FailureClass
from tacho_engines.base import Exit
from tacho_engines.registry import run_half
from tacho_operator.core.pods.view import Termination
from tacho_operator.core.problems import parse_failure

SIGNAL_BASE = 128
"""Number that shells and kubelets add to a signal's number in an exit code."""


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


def begins_with_class(line: str) -> bool:
    """Whether the line begins with a failure class, as last lines of the runtime's own programs do."""
    return line.partition(":")[0] in FAILURE_KINDS


def ended_with(engine: str, end: Termination, lines: Sequence[str]) -> Failure | None:
    """The failure that the runtime reported, else the one that the last lines show.

    None: exit code 0, or a line shows the failure already.
    """
    if reported := parse_failure(end.message):
        return reported
    if not end.exit_code or any(map(begins_with_class, lines)):
        return None
    number = end.exit_code - SIGNAL_BASE if end.exit_code > SIGNAL_BASE else None
    kills = 1 if end.reason == "OOMKilled" else 0
    try:
        half = run_half(engine)
    except FailedError:
        what = f"the container ended with exit code {end.exit_code}"
        return FailedError.of(FailureClass.ENGINE_CRASHED, what).failure
    how = Exit(code=None if number else end.exit_code, signal=number, out_of_memory_kills=kills)
    return half.classify(how, lines)
