"""Parses ``--fault``: faults to inject into a simulated run. Pure."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator

from tacho_cli.problems import CommandError
from tacho_simulate.result import Result
from tacho_simulate.run import Faults
from tacho_simulate.trace import Trace

FORMATS = (
    "  -> one of: crash@600, hang@600, metrics@600-900, scaler@600-900 (seconds of the trace), slow=1.5 "
    "(factor on all times of the first pod)"
)
MOMENT = re.compile(r"(crash|hang)@(\d+(?:\.\d+)?)")
SPAN = re.compile(r"(metrics|scaler)@(\d+(?:\.\d+)?)-(\d+(?:\.\d+)?)")
BEGINS = re.compile(r"@(\d+(?:\.\d+)?)")
SLOW = re.compile(r"slow=(\d+(?:\.\d+)?)")
MAX_SLOW = 1000.0


def faults(options: Iterable[str]) -> Faults:
    """The faults that the options name. Raises CommandError."""
    failing: list[tuple[float, int | None]] = []
    hanging: list[tuple[float, int | None]] = []
    metrics: list[tuple[float, float]] = []
    scaler: list[tuple[float, float]] = []
    slow: float | None = None
    for text in options:
        if found := MOMENT.fullmatch(text):
            (failing if found[1] == "crash" else hanging).append((float(found[2]), None))
        elif found := SPAN.fullmatch(text):
            begins, ends = float(found[2]), float(found[3])
            if ends <= begins:
                raise CommandError(f"--fault {text}: ends before it begins")
            (metrics if found[1] == "metrics" else scaler).append((begins, ends))
        elif (found := SLOW.fullmatch(text)) and 1 <= float(found[1]) <= MAX_SLOW:
            if slow is not None:
                raise CommandError(f"--fault {text}: slow may be given once; it always affects the first pod")
            slow = float(found[1])
        else:
            raise CommandError(f"--fault {text}: unknown", FORMATS)
    return Faults(
        failing=tuple(failing),
        hanging=tuple(hanging),
        metrics_outages=tuple(metrics),
        scaler_outages=tuple(scaler),
        stragglers=() if slow is None or math.isclose(slow, 1.0) else ((0, slow),),
    )


def within(options: Iterable[str], trace: Trace) -> None:
    """Raises CommandError for a fault after the trace's last arrival, as it would have no effect."""
    for text in options:
        begins = BEGINS.search(text)
        if begins and float(begins[1]) > trace.duration_seconds:
            ends = f"{round(trace.duration_seconds, 3):.12g}"
            raise CommandError(f"--fault {text}: the last request of {trace.name} arrives at {ends} s")


def missed(result: Result) -> Iterator[str]:
    """Messages for faults that hit no pod."""
    for kind, seconds in result.missed:
        yield f"{kind}@{seconds:.12g} had no effect: no pod was ready"
