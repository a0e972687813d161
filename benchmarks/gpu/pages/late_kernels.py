"""What docs/results/h200/README.md says of gpt-oss-20b, whose kernels are compiled while requests run."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from benchmarks.gpu.pages.loops import figures, littles_share
from benchmarks.gpu.pages.recorded import RAW, number, paragraph, read, resource, row, times

LATE = re.compile(r"during inference: (\S+)")
PROMPTS = re.compile(r"Avg prompt throughput: ([\d.]+) tokens/s")
RUN = "pods-loop"
COLD, WARM = f"{RUN}/gpt-oss-20b", f"{RUN}/gpt-oss-20b-warm"
FIRST = "pods-kernels/gpt-oss-20b-first"
LOOPS = """
| streams | tok/s | TTFT p50, p95 ms | TPOT p50, p95 ms | requests | Little |
| --- | --- | --- | --- | --- | --- |
"""


def late(folder: str) -> tuple[int, int]:
    """(kernels compiled while requests ran, their names) in the log of a pod, such as ``pods-loop/a``."""
    found = LATE.findall(_log(folder))
    return len(found), len(set(found))


def _log(folder: str) -> str:
    return (RAW / folder / "engine.log").read_text()


def _status(folder: str) -> dict[str, Any]:
    found: dict[str, Any] = resource(RAW / folder / "resource.yaml")["status"]
    return found


def _capacity(status: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = status["measurements"][0]["capacity"]
    return found


def _figures(capacity: dict[str, Any]) -> str:
    rate, error = number(capacity["outputTokensPerSecond"]), number(capacity["ciPercent"])
    return f"{capacity['concurrency']} streams with {rate} tok/s ± {error} %"


def _loops() -> Iterable[str]:
    for level in read(f"{WARM}/truth.json")["levels"]:
        yield row(*figures(level), f"{littles_share(level):.3f}")


def taught() -> str:
    """What the pods showed, one after the other, and the loops on the last."""
    first, cold, warm = (_status(folder) for folder in (FIRST, COLD, WARM))
    wrong, plan = _capacity(first), warm["plan"]["predicted"]
    starts = (each["startup"] for each in (cold, warm))
    began, short = (each["totalSeconds"] - each["probeSeconds"] for each in starts)
    (compiled, names), (again, _), (before, _) = late(COLD), late(WARM), late(FIRST)
    meanwhile = len((RAW / WARM / "late-of-truth.txt").read_text().splitlines())
    fastest = max(float(rate) for folder in (COLD, WARM) for rate in PROMPTS.findall(_log(folder)))
    text = (
        f"`gpt-oss-20b` compiled {compiled} kernels of {names} names while requests ran: Triton makes one "
        f"for each padded number of rows. In an earlier pod ({before} of them; `{FIRST}` of the raw data) "
        "levels of 48 and 256 streams told no rate, and the probe took "
        f"{wrong['concurrency']} streams for the knee. A level without a rate is no plateau since. From "
        f"nothing the pod ended at a floor of {_figures(_capacity(cold))}, as 256 streams told no rate. "
        f"From compiled code it started in {short} s instead of {began}, still compiled or loaded {again}, "
        f"and found a knee of {_figures(_capacity(warm))}. Both are provisional. Then it had steady loops of "
        f"20 s each, while {meanwhile} more kernels came:"
    )
    rate, streams = float(plan["expectedCapacityTokensPerSecond"]), plan["expectedCapacityConcurrency"]
    share = times(rate, float(_capacity(warm)["outputTokensPerSecond"]))
    end = (
        "Only 48 streams are steady: new kernels halt the others. They bring no more tokens, so the knee is "
        f"at 48 or below. The engine took at most {number(fastest)} prompt tokens a second over ten seconds, "
        f"by its log. The plan had expected {number(rate)} tok/s with {streams} streams, a factor of 2 up or "
        f"down. That is {share} what the probe found: it counts no kernels that are compiled late."
    )
    return "\n" + paragraph(text) + LOOPS + "".join(_loops()) + "\n" + paragraph(end)
