"""benchmarks/lab/h100/pods.md on gpt-oss-20b: from nothing, from compiled code, and beside long loops."""

from __future__ import annotations

from benchmarks.gpu.pages.h100_alone import H100
from benchmarks.gpu.pages.loops import figures, levels, littles_share, rate
from benchmarks.gpu.pages.recorded import bullets, fill, number, row, status, times

RAW = H100 / "pods-warm"
COLD, WARM = "gpt-oss-20b", "gpt-oss-20b-warm"
LATE_KERNEL = "Triton kernel JIT compilation during inference"
HOLDS = 0.03
"""How far rate x latency may be from the streams, as a share of these."""


def late(name: str) -> int:
    """Kernels that were compiled, or read from the cache, while the probe sent requests."""
    return (RAW / name / "engine.log").read_text().count(LATE_KERNEL)


def server() -> str:
    """Loops on a server by hand: (streams, tok/s) in their order, and which do not hold."""
    told = ", ".join(
        f"{number(rate(level))} of {level['streams']}"
        + ("" if abs(littles_share(level) - 1) <= HOLDS else " (not steady)")
        for level in levels(RAW / "server.json")
    )
    return bullets(
        "**More streams.** A server by hand on a third host had loops of 14 s and more, in this "
        f"order: {told} streams."
    )


def section() -> str:
    cold, warm = (status(RAW / name / "resource.yaml") for name in (COLD, WARM))
    loops, planned = levels(RAW / WARM / "truth.json"), warm["plan"]["predicted"]
    at_cold, at_warm = (
        f"{each['concurrency']} streams with {number(each['outputTokensPerSecond'])} tok/s ± "
        f"{number(each['ciPercent'], 1)} %"
        for each in (told["measurements"][0]["capacity"] for told in (cold, warm))
    )
    probed = next(level for level in warm["measurements"][0]["curve"] if level["concurrency"] == 8)
    expected, most = float(planned["expectedCapacityTokensPerSecond"]), max(loops, key=rate)
    return fill(
        "h100_warm",
        rows=(row(*figures(level), f"{littles_share(level):.3f}") for level in loops),
        cold_load=cold["startup"]["loadSeconds"],
        warm_load=warm["startup"]["loadSeconds"],
        late_cold=late(COLD),
        late_warm=late(WARM),
        cold=at_cold,
        warm=at_warm,
        probe=number(probed["outputTokensPerSecond"]),
        error=float(probed["ciPercent"]),
        loop=number(next(rate(level) for level in loops if level["streams"] == 8)),
        planned=number(planned["expectedOutputTokensPerSecond"]),
        expected=number(expected),
        expected_streams=planned["expectedCapacityConcurrency"],
        over=times(expected, rate(most)),
        most=most["streams"],
        server=server(),
    )
