"""What docs/results/h200/README.md says of pods whose levels had long loops beside them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from statistics import mean, median
from typing import Any

from benchmarks.gpu.pages.loops import littles_share
from benchmarks.gpu.pages.recorded import (
    CHECKED_PODS,
    RAW,
    bullets,
    number,
    paragraph,
    pod,
    read,
    resource,
    row,
    share,
    times,
)

WINDOW_SECONDS = 4.5
"""As the probe's."""
AWQ, CT2, NF4, INT8 = CHECKED_PODS
TABLE = """
| folder | streams | tok/s | TTFT p50 ms | TPOT p50 ms | requests of the loop | its Little |
| --- | --- | --- | --- | --- | --- | --- |
"""
DRIFT = re.compile(r"decoded ([\d.]+) tokens/s, at the\s+beginning ([\d.]+): all intervals are (\d+) % wider")


def raw(name: str) -> str:
    """Its folder of the raw data."""
    return f"pods-{name}"


def both(name: str) -> Iterable[tuple[dict[str, Any], dict[str, Any]]]:
    """(the probe's level, the loop of as many streams) of a pod that had loops."""
    own = {level["concurrency"]: level for level in pod(name)["curve"]}
    return ((own[loop["streams"]], loop) for loop in of(name) if loop["streams"] in own)


def of(name: str) -> list[dict[str, Any]]:
    """All loops of a pod."""
    there = (RAW / raw(name) / "truth.json").exists()
    return list(read(f"{raw(name)}/truth.json")["levels"]) if there else []


def off_percent(level: dict[str, Any], loop: dict[str, Any]) -> float:
    """How far the probe's rate is from the loop's."""
    rate = loop["output_tokens_per_second"]["server"]
    return float(100 * (float(level["outputTokensPerSecond"]) / rate - 1))


def rows(names: Iterable[str] = CHECKED_PODS) -> Iterable[str]:
    for name in names:
        for level, loop in both(name):
            rate, true = float(level["outputTokensPerSecond"]), loop["output_tokens_per_second"]["server"]
            yield row(
                name,
                str(loop["streams"]),
                f"{number(rate)} ± {number(level['ciPercent'], 1)} % / {number(true)} ({share(rate, true)})",
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


def _drift(name: str) -> str:
    # Ends the run where the record says something else.
    ((late, early, wider),) = DRIFT.findall(str(pod(name)["message"]))
    return f"{early} and then {late} tok/s, and its intervals are {wider} % wider"


def _rate(name: str, streams: int) -> str:
    level = next(each for each in pod(name)["curve"] if each["concurrency"] == streams)
    return number(level["outputTokensPerSecond"])


def taught() -> str:
    (nf4,) = (loop for _, loop in both(NF4) if loop["streams"] == 8)
    slow, fast = max(quarters(nf4)), min(quarters(nf4))
    outside = [name for name in CHECKED_PODS for level, loop in both(name) if not _inside(level, loop)]
    if outside:
        raise ValueError(f"loops of {outside} are outside the probe's interval: the page says none is")
    plan = resource(RAW / raw(CT2) / "resource.yaml")["status"]["plan"]["predicted"]
    expected, found = float(plan["expectedCapacityTokensPerSecond"]), pod(CT2)["capacity"]
    over = times(expected, float(found["outputTokensPerSecond"]))
    alone = number(plan["expectedDecodeTokensPerSecond"])
    level, busy = max(both(AWQ), key=lambda pair: pair[1]["streams"])
    medians = windows(busy)
    ttft = number(level["ttftMillisecondsP50"])
    return "\n" + bullets(
        "**Rates.** Each loop's is inside the probe's interval.",
        f"**TTFT** differs between windows as short as the probe's: the loop of {busy['streams']} streams "
        f"had medians of {min(medians):.0f} to {max(medians):.0f} ms in its {len(medians)} times "
        f"{WINDOW_SECONDS} s. The probe's one window had {ttft} ms, less than any. Most [earlier "
        "ones](probe.md) were too low as well. The probe tells no interval of TTFT.",
        f"**Transformers** computes its steps in Python, and their speed wanders. The {nf4['streams']} "
        f"streams of `{NF4}` took {slow:.0f} ms a token in the slowest quarter of their loop, {fast:.0f} ms "
        f"in the fastest. One stream of its probe had {_drift(NF4)}; of `{INT8}` {_drift(INT8)}. So no level "
        "of the two is known to 10 %. Their rates are those of the loops.",
        f"**CTranslate2** computes each request by itself, so 2 streams bring {_rate(CT2, 2)} tok/s and 8 "
        f"bring {_rate(CT2, 8)}. The plan had expected batches: {number(expected)} tok/s, {over} that, and "
        f"{alone} of one stream. Memory is planned for 16 full contexts. Perplexity is missing: on a GPU its "
        "server cannot read log-probabilities.",
    )


def _inside(level: dict[str, Any], loop: dict[str, Any]) -> bool:
    return abs(off_percent(level, loop)) <= float(level["ciPercent"])


def section() -> str:
    intro = (
        "After its probe each but `llama-8b-ct2` had steady loops of at least 30 s and 100 requests, with "
        "the streams of its capacity, and two of them with fewer. Each cell is probe / loop:"
    )
    return "\n" + paragraph(intro) + TABLE + "".join(rows()) + taught()
