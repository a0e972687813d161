"""docs/results/h100/pods.md on gpt-oss-20b: from nothing, from compiled code, and beside long loops."""

from __future__ import annotations

import json
from typing import Any

from benchmarks.gpu.pages.h100_alone import H100
from benchmarks.gpu.pages.loops import figures, littles_share
from benchmarks.gpu.pages.recorded import bullets, number, resource, row, times

RAW = H100 / "pods-warm"
COLD, WARM = "gpt-oss-20b", "gpt-oss-20b-warm"
LATE_KERNEL = "Triton kernel JIT compilation during inference"
HOLDS = 0.03
"""How far rate x latency may be from the streams, as a share of these."""
HEAD = """
## gpt-oss-20b, from nothing and from compiled code

On another such host, 2026-11-26, one after the other with one cache ([raw
data](../../../benchmarks/gpu/h100/pods-warm)). Both are provisional. Long loops on the second pod, after its
probe:

| streams | tok/s | TTFT p50, p95 ms | TPOT p50, p95 ms | requests | Little |
| --- | --- | --- | --- | --- | --- |
"""


def status(name: str) -> dict[str, Any]:
    found: dict[str, Any] = resource(RAW / name / "resource.yaml")["status"]
    return found


def late(name: str) -> int:
    """Kernels that were compiled, or read from the cache, while the probe sent requests."""
    return (RAW / name / "engine.log").read_text().count(LATE_KERNEL)


def server() -> str:
    """Loops on a server by hand: (streams, tok/s) in their order, and which do not hold."""
    levels = json.loads((RAW / "server.json").read_text())["levels"]
    told = ", ".join(
        f"{number(level['output_tokens_per_second']['server'])} of {level['streams']}"
        + ("" if abs(littles_share(level) - 1) <= HOLDS else " (not steady)")
        for level in levels
    )
    return (
        "**More streams.** A server by hand on a third host had loops of 14 s and more, in this "
        f"order: {told} streams."
    )


def section() -> str:
    loops = json.loads((RAW / WARM / "truth.json").read_text())["levels"]
    cold, warm = (status(name) for name in (COLD, WARM))
    curve = {level["concurrency"]: level for level in warm["measurements"][0]["curve"]}
    eight = next(loop for loop in loops if loop["streams"] == 8)
    planned = warm["plan"]["predicted"]
    most = max(loops, key=lambda loop: loop["output_tokens_per_second"]["server"])
    rate = float(planned["expectedCapacityTokensPerSecond"])
    over = times(rate, most["output_tokens_per_second"]["server"])
    capacities = " and ".join(
        f"{each['concurrency']} streams with {number(each['outputTokensPerSecond'])} tok/s ± "
        f"{number(each['ciPercent'], 1)} %"
        for each in (told["measurements"][0]["capacity"] for told in (cold, warm))
    )
    said = bullets(
        f"**Start.** {cold['startup']['loadSeconds']} s to load and compile from nothing, "
        f"{warm['startup']['loadSeconds']} s from the cache.",
        f"**Late kernels.** Triton makes one for each padded number of rows. {late(COLD)} came while the "
        f"first pod was measured, and {late(WARM)} in the second. They halt all streams.",
        f"**The probe.** It found {capacities}. Both have flags, and nothing acts on them. At 8 streams it "
        f"said {number(curve[8]['outputTokensPerSecond'])} tok/s ± {number(curve[8]['ciPercent'], 1)} %, "
        f"the loop {number(eight['output_tokens_per_second']['server'])}.",
        f"**The plan** had expected {number(planned['expectedOutputTokensPerSecond'])} tok/s of 64 streams, "
        f"and {number(rate)} of {planned['expectedCapacityConcurrency']}, a factor of 2 up or down. The "
        f"latter is {over} what {most['streams']} streams brought. It has no timing of MXFP4's kernels.",
        server(),
    )
    rows = [row(*figures(level), f"{littles_share(level):.3f}") for level in loops]
    return "".join([HEAD, *rows, "\n", said])
