"""What docs/results/h200/README.md says of the pods that were measured once more, with loops of 20 s."""

from __future__ import annotations

from typing import Any

from benchmarks.gpu.pages.checked import TABLE, both, of, off_percent, quarters, rows
from benchmarks.gpu.pages.recorded import REPEATED_PODS, bullets, number, paragraph, pod

NF4, QWEN, MOE, FRONT_ENDS, W8A8 = REPEATED_PODS


def pairs() -> list[tuple[str, dict[str, Any], dict[str, Any]]]:
    """(pod, the probe's level, its loop) of all five."""
    return [(name, level, loop) for name in REPEATED_PODS for level, loop in both(name)]


def inside_level() -> int:
    """Loops whose rate lies in the interval of the probe's level."""
    return sum(abs(off_percent(level, loop)) <= float(level["ciPercent"]) for _, level, loop in pairs())


def capacities_outside() -> list[str]:
    """Pods whose capacity's interval does not hold the loop at its streams."""
    return [
        name
        for name, level, loop in pairs()
        if level["concurrency"] == pod(name)["capacity"]["concurrency"]
        and abs(off_percent(level, loop)) > float(pod(name)["capacity"]["ciPercent"])
    ]


def _loop(name: str, streams: int) -> dict[str, Any]:
    return next(loop for loop in of(name) if loop["streams"] == streams)


def _rate(loop: dict[str, Any]) -> str:
    return number(loop["output_tokens_per_second"]["server"])


def taught() -> str:
    if capacities_outside():
        raise ValueError(f"loops of {capacities_outside()} are outside the capacity's interval")
    widths = sorted(float(pod(name)["capacity"]["ciPercent"]) for name in REPEATED_PODS)
    nf4 = _loop(NF4, 16)
    slow, fast = max(quarters(nf4)), min(quarters(nf4))
    high = max(of(FRONT_ENDS), key=lambda loop: int(loop["streams"]))
    return "\n" + bullets(
        "**Capacities.** Each loop at the capacity's streams is inside the capacity's interval of "
        f"{widths[0]:.0f} to {widths[-1]:.0f} %. This is the interval that scaling and prices use.",
        f"**Levels.** {inside_level()} of {len(pairs())} loops are inside the narrower interval of their "
        "level, which knows one window of some seconds. Those outside differ by "
        f"{min(_misses()):.0f} to {max(_misses()):.0f} %, up and down.",
        f"**Transformers** in NF4 gives {_rate(nf4)} tok/s with 16 streams. Its steps took {slow:.0f} ms in "
        f"the slowest quarter of the loop, {fast:.0f} ms in the fastest.",
        f"**{FRONT_ENDS}** gives {_rate(high)} tok/s with {high['streams']} streams on this host, and the "
        "plan expected more than twice that. No request waited in the engine, so its steps are late: the "
        "measurement says LowEfficiency. So does that of the mixture of experts.",
    )


def _misses() -> list[float]:
    return [
        abs(off_percent(level, loop))
        for _, level, loop in pairs()
        if abs(off_percent(level, loop)) > float(level["ciPercent"])
    ]


def section() -> str:
    intro = (
        "After its probe each had steady loops of at least 20 s and 100 requests, but of 60 s at most. "
        "Each cell is probe / loop:"
    )
    return "\n" + paragraph(intro) + TABLE + "".join(rows(REPEATED_PODS)) + taught()
