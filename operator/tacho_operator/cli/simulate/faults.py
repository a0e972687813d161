"""``--fault``: what goes wrong in a run. Pure."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator

from tacho_operator.cli.output.problems import CommandError
from tacho_operator.simulate.faults import Faults
from tacho_operator.simulate.result import Result
from tacho_operator.simulate.trace import Trace

WANTED = (
    "  -> one of: crash@600, hang@600, metrics@600-900, scaler@600-900 (seconds of the trace), slow=1.5 "
    "(the first pod, so many times as long)"
)
MOMENT = re.compile(r"(crash|hang)@(\d+(?:\.\d+)?)")
SPAN = re.compile(r"(metrics|scaler)@(\d+(?:\.\d+)?)-(\d+(?:\.\d+)?)")
BEGINS = re.compile(r"@(\d+(?:\.\d+)?)")
SLOW = re.compile(r"slow=(\d+(?:\.\d+)?)")
MOST_SLOW = 1000.0


def faults(asked: Iterable[str]) -> Faults:
    """Raises CommandError."""
    failing: list[tuple[float, int | None]] = []
    hanging: list[tuple[float, int | None]] = []
    metrics: list[tuple[float, float]] = []
    scaler: list[tuple[float, float]] = []
    slow: float | None = None
    for text in asked:
        if found := MOMENT.fullmatch(text):
            (failing if found[1] == "crash" else hanging).append((float(found[2]), None))
        elif found := SPAN.fullmatch(text):
            begins, ends = float(found[2]), float(found[3])
            if ends <= begins:
                raise CommandError(f"--fault {text}: ends before it begins")
            (metrics if found[1] == "metrics" else scaler).append((begins, ends))
        elif (found := SLOW.fullmatch(text)) and 1 <= float(found[1]) <= MOST_SLOW:
            if slow is not None:
                raise CommandError(f"--fault {text}: slow is said twice; it is the first pod each time")
            slow = float(found[1])
        else:
            raise CommandError(f"--fault {text}: not known", WANTED)
    return Faults(
        failing=tuple(failing),
        hanging=tuple(hanging),
        metrics_lost=tuple(metrics),
        decider_lost=tuple(scaler),
        stragglers=() if slow is None or math.isclose(slow, 1.0) else ((0, slow),),
    )


def within(asked: Iterable[str], trace: Trace) -> None:
    """Raises CommandError for what would begin after the last arrival."""
    for text in asked:
        begins = BEGINS.search(text)
        if begins and float(begins[1]) > trace.duration_seconds:
            ends = f"{round(trace.duration_seconds, 3):.12g}"
            raise CommandError(f"--fault {text}: the last request of {trace.name} comes at {ends} s")


def missed(result: Result) -> Iterator[str]:
    """What came to nothing, in words."""
    for kind, seconds in result.missed:
        yield f"{kind}@{seconds:.12g} hit nothing: no pod served then"
