"""``--fault``: what goes wrong in a run. Pure."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable

from tacho_operator.cli.output.problems import CommandError
from tacho_operator.simulate.faults import Faults

WANTED = (
    "  -> one of: crash@600, hang@600, metrics@600-900, scaler@600-900 (seconds of the trace), slow=1.5 "
    "(the first pod, so many times as long)"
)
MOMENT = re.compile(r"(crash|hang)@(\d+(?:\.\d+)?)")
SPAN = re.compile(r"(metrics|scaler)@(\d+(?:\.\d+)?)-(\d+(?:\.\d+)?)")
SLOW = re.compile(r"slow=(\d+(?:\.\d+)?)")
MOST_SLOW = 1000.0


def faults(asked: Iterable[str]) -> Faults:
    """Raises CommandError."""
    failing: list[tuple[float, int | None]] = []
    hanging: list[tuple[float, int | None]] = []
    metrics: list[tuple[float, float]] = []
    scaler: list[tuple[float, float]] = []
    slow = 1.0
    for text in asked:
        if found := MOMENT.fullmatch(text):
            (failing if found[1] == "crash" else hanging).append((float(found[2]), None))
        elif found := SPAN.fullmatch(text):
            begins, ends = float(found[2]), float(found[3])
            if ends <= begins:
                raise CommandError(f"--fault {text}: ends before it begins")
            (metrics if found[1] == "metrics" else scaler).append((begins, ends))
        elif (found := SLOW.fullmatch(text)) and 1 <= float(found[1]) <= MOST_SLOW:
            slow = float(found[1])
        else:
            raise CommandError(f"--fault {text}: not known", WANTED)
    return Faults(
        failing=tuple(failing),
        hanging=tuple(hanging),
        metrics_lost=tuple(metrics),
        decider_lost=tuple(scaler),
        stragglers=() if math.isclose(slow, 1.0) else ((0, slow),),
    )
