"""What benchmarks/lab/h200/README.md says of gpt-oss-20b, whose kernels are compiled while requests run."""

from __future__ import annotations

import re
from typing import Any

from benchmarks.gpu.pages.loops import figures, levels, littles_share
from benchmarks.gpu.pages.recorded import RAW, fill, number, row, status, times

LATE = re.compile(r"during inference: (\S+)")
PROMPTS = re.compile(r"Avg prompt throughput: ([\d.]+) tokens/s")
RUN = "pods-loop"
COLD, WARM = f"{RUN}/gpt-oss-20b", f"{RUN}/gpt-oss-20b-warm"
FIRST = "pods-kernels/gpt-oss-20b-first"


def late(folder: str) -> tuple[int, int]:
    """(kernels compiled while requests ran, their names) in the log of a pod, such as ``pods-loop/a``."""
    found = LATE.findall(_log(folder))
    return len(found), len(set(found))


def _log(folder: str) -> str:
    return (RAW / folder / "engine.log").read_text()


def _figures(capacity: dict[str, Any]) -> str:
    rate, error = number(capacity["outputTokensPerSecond"]), number(capacity["ciPercent"])
    return f"{capacity['concurrency']} streams with {rate} tok/s ± {error} %"


def section() -> str:
    """What the pods showed, one after the other, and the loops on the last."""
    pods = [status(RAW / folder / "resource.yaml") for folder in (FIRST, COLD, WARM)]
    wrong, cold, warm = (each["measurements"][0]["capacity"] for each in pods)
    _, began, short = (each["startup"]["totalSeconds"] - each["startup"]["probeSeconds"] for each in pods)
    compiled, names = late(COLD)
    plan = pods[-1]["plan"]["predicted"]
    expected = float(plan["expectedCapacityTokensPerSecond"])
    return fill(
        "late_kernels",
        compiled=compiled,
        names=names,
        before=late(FIRST)[0],
        knee=wrong["concurrency"],
        cold=_figures(cold),
        short=short,
        began=began,
        again=late(WARM)[0],
        warm=_figures(warm),
        meanwhile=len((RAW / WARM / "late-of-truth.txt").read_text().splitlines()),
        rows=(row(*figures(level), f"{littles_share(level):.3f}") for level in levels(f"{WARM}/truth.json")),
        fastest=number(max(float(each) for run in (COLD, WARM) for each in PROMPTS.findall(_log(run)))),
        expected=number(expected),
        streams=plan["expectedCapacityConcurrency"],
        over=times(expected, float(warm["outputTokensPerSecond"])),
    )
