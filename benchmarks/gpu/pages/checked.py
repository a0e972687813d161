"""What benchmarks/lab/h200/README.md says of pods whose levels had long loops beside them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from statistics import mean, median
from typing import Any

from benchmarks.gpu.pages import loops
from benchmarks.gpu.pages.loops import littles_share, rate
from benchmarks.gpu.pages.recorded import (
    CHECKED_PODS,
    LOOPED_PODS,
    RAW,
    REPEATED_PODS,
    bullets,
    fill,
    number,
    pod,
    row,
    share,
    status,
    times,
)

WINDOW_SECONDS = 4.5
"""As the probe's."""
AWQ, CT2, NF4, INT8 = CHECKED_PODS
DRIFT = re.compile(r"decoded ([\d.]+) tokens/s, at the\s+beginning ([\d.]+): all intervals are (\d+) % wider")
Pair = tuple[dict[str, Any], dict[str, Any]]
"""The probe's level, and the loop of as many streams."""


def of(name: str) -> list[dict[str, Any]]:
    """All loops of a pod."""
    file = RAW / f"pods-{name}/truth.json"
    return loops.levels(file) if file.exists() else []


def both(name: str) -> list[Pair]:
    """Of a pod that had loops."""
    own = {level["concurrency"]: level for level in pod(name)["curve"]}
    return [(own[loop["streams"]], loop) for loop in of(name) if loop["streams"] in own]


def predicted(name: str) -> dict[str, Any]:
    """By the plan of a pod."""
    found: dict[str, Any] = status(RAW / f"pods-{name}/resource.yaml")["plan"]["predicted"]
    return found


def off_percent(level: dict[str, Any], loop: dict[str, Any]) -> float:
    """How far the probe's rate is from the loop's."""
    return 100 * (float(level["outputTokensPerSecond"]) / rate(loop) - 1)


def outside(names: Iterable[str]) -> list[str]:
    """Pods with a level whose interval does not hold its loop's rate."""
    return [
        name
        for name in names
        for level, loop in both(name)
        if abs(off_percent(level, loop)) > float(level["ciPercent"])
    ]


def rows(names: Iterable[str]) -> Iterable[str]:
    for name in names:
        for level, loop in both(name):
            own, true = float(level["outputTokensPerSecond"]), rate(loop)
            yield row(
                name,
                str(loop["streams"]),
                f"{number(own)} ± {number(level['ciPercent'], 1)} % / {number(true)} ({share(own, true)})",
                f"{number(level['ttftMillisecondsP50'])} / {number(loop['ttft_ms']['p50'])}",
                f"{number(level['tpotMillisecondsP50'], 1)} / {number(loop['tpot_ms']['p50'], 1)}",
                number(loop["requests"]),
                f"{littles_share(loop):.3f}",
            )


def _requests(loop: dict[str, Any]) -> list[tuple[float, float, float]]:
    """(seconds it was sent at, TTFT in ms, ms a token after it) of each request, in their order."""
    columns = loop["raw"]["columns"]
    sent, ttft, whole, tokens = (
        columns.index(each) for each in ("sent_s", "ttft_ms", "end_to_end_ms", "tokens")
    )
    return sorted(
        (each[sent], each[ttft], (each[whole] - each[ttft]) / (each[tokens] - 1))
        for each in loop["raw"]["rows"]
    )


def quarters(loop: dict[str, Any]) -> list[float]:
    """Mean milliseconds a token of the loop's requests, by quarters in the order they were sent."""
    gaps = [gap for _, _, gap in _requests(loop)]
    size = len(gaps) // 4
    return [mean(gaps[part * size : (part + 1) * size]) for part in range(4)]


def windows(loop: dict[str, Any]) -> list[float]:
    """Median TTFT in milliseconds of the requests of each whole WINDOW_SECONDS of the loop."""
    whole = int(loop["window_seconds"] / WINDOW_SECONDS)
    found = [list[float]() for _ in range(whole)]
    for sent, ttft, _ in _requests(loop):
        if sent < whole * WINDOW_SECONDS:
            found[int(sent / WINDOW_SECONDS)].append(ttft)
    return [median(each) for each in found]


def _drift(name: str, cell: str) -> dict[str, str]:
    """Tokens a second of one stream early and late in the probe, and by how much its intervals are wider."""
    # Ends the run where the record says something else.
    (found,) = DRIFT.findall(str(pod(name)["message"]))
    return dict(zip((f"{cell}_late", f"{cell}_early", f"{cell}_wider"), found, strict=True))


def checked() -> str:
    if outside(CHECKED_PODS):
        raise ValueError(
            f"loops of {outside(CHECKED_PODS)} are outside the probe's interval: the page says none is"
        )
    (nf4,) = (loop for _, loop in both(NF4) if loop["streams"] == 8)
    expected = float(predicted(CT2)["expectedCapacityTokensPerSecond"])
    ct2 = {level["concurrency"]: number(level["outputTokensPerSecond"]) for level in pod(CT2)["curve"]}
    level, busy = max(both(AWQ), key=lambda pair: pair[1]["streams"])
    medians = windows(busy)
    return fill(
        "checked",
        rows=rows(CHECKED_PODS),
        busy=busy["streams"],
        few=nf4["streams"],
        least=min(medians),
        most=max(medians),
        windows=len(medians),
        seconds=WINDOW_SECONDS,
        ttft=number(level["ttftMillisecondsP50"]),
        slow=max(quarters(nf4)),
        fast=min(quarters(nf4)),
        **_drift(NF4, "nf4"),
        **_drift(INT8, "int8"),
        two=ct2[2],
        eight=ct2[8],
        expected=number(expected),
        over=times(expected, float(pod(CT2)["capacity"]["outputTokensPerSecond"])),
        alone=number(predicted(CT2)["expectedDecodeTokensPerSecond"]),
    )


def looped() -> str:
    gpt_oss, gptq, fp8, ct2 = LOOPED_PODS
    if outside(LOOPED_PODS) != [ct2]:
        raise ValueError(
            f"loops of {outside(LOOPED_PODS)} are outside the probe's interval: the page names another"
        )
    few, more = sorted(of(gpt_oss), key=lambda loop: int(loop["streams"]))
    ((level, loop),) = both(ct2)
    whole = next(each for each in pod(ct2)["curve"] if each["concurrency"] == 16)
    delays = (
        f"{number(level['ttftMillisecondsP50'])} and {number(loop['ttft_ms']['p50'])} ms "
        f"(`{name}`, {loop['streams']} streams)"
        for name in (gptq, fp8)
        for level, loop in both(name)
    )
    return fill(
        "looped",
        rows=rows(LOOPED_PODS),
        streams=level["concurrency"],
        off=share(float(level["outputTokensPerSecond"]), rate(loop)),
        level=number(level["ciPercent"], 1),
        capacity=number(pod(ct2)["capacity"]["ciPercent"], 1),
        low=number(rate(few)),
        few=few["streams"],
        high=number(rate(more)),
        more=more["streams"],
        ttft=bullets(
            f"**TTFT** p50 of the probe's short window and of the loop: {', '.join(delays)}.",
        ),
        expected=number(predicted(ct2)["expectedOutputTokensPerSecond"]),
        found=number(whole["outputTokensPerSecond"]),
        quality=pod(ct2)["quality"]["message"],
    )


def repeated() -> str:
    nf4, _, _, front_ends, _ = REPEATED_PODS
    pairs = [(pod(name)["capacity"], level, loop) for name in REPEATED_PODS for level, loop in both(name)]
    wide = [
        loop["streams"]
        for capacity, level, loop in pairs
        if level["concurrency"] == capacity["concurrency"]
        and abs(off_percent(level, loop)) > float(capacity["ciPercent"])
    ]
    if wide:
        raise ValueError(f"loops of {wide} streams are outside the capacity's interval")
    widths = [float(pod(name)["capacity"]["ciPercent"]) for name in REPEATED_PODS]
    misses = [
        error
        for _, level, loop in pairs
        if (error := abs(off_percent(level, loop))) > float(level["ciPercent"])
    ]
    slow = next(loop for loop in of(nf4) if loop["streams"] == 16)
    high = max(of(front_ends), key=lambda loop: int(loop["streams"]))
    return fill(
        "repeated",
        rows=rows(REPEATED_PODS),
        narrowest=min(widths),
        widest=max(widths),
        inside=len(pairs) - len(misses),
        all=len(pairs),
        nearest=min(misses),
        farthest=max(misses),
        nf4=number(rate(slow)),
        slow=max(quarters(slow)),
        fast=min(quarters(slow)),
        high=number(rate(high)),
        streams=high["streams"],
    )
