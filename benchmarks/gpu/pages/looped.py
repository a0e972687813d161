"""What docs/results/h200/README.md says of the pods with loops of 20 s."""

from __future__ import annotations

from benchmarks.gpu.pages.checked import TABLE, both, of, off_percent, raw, rows
from benchmarks.gpu.pages.recorded import (
    LOOPED_PODS,
    RAW,
    bullets,
    number,
    paragraph,
    pod,
    resource,
    share,
)

GPT_OSS, GPTQ, FP8, CT2 = LOOPED_PODS


def outside() -> list[str]:
    """Pods with a level whose interval does not hold its loop's rate."""
    return [
        name
        for name in LOOPED_PODS
        for level, loop in both(name)
        if abs(off_percent(level, loop)) > float(level["ciPercent"])
    ]


def _knee() -> str:
    few, more = sorted(of(GPT_OSS), key=lambda loop: int(loop["streams"]))
    low, high = (loop["output_tokens_per_second"]["server"] for loop in (few, more))
    return (
        f"**{GPT_OSS}** gives {number(low)} tok/s with {few['streams']} streams and {number(high)} with "
        f"{more['streams']}: its throughput is flat there. Its measurement is partial and provisional, as "
        "kernels were compiled meanwhile. It told of another client's requests, and there was none."
    )


def _delays() -> str:
    said = (
        f"{number(level['ttftMillisecondsP50'])} and {number(loop['ttft_ms']['p50'])} ms "
        f"(`{name}`, {loop['streams']} streams)"
        for name in (GPTQ, FP8)
        for level, loop in both(name)
    )
    return f"**TTFT** p50 of the probe's short window and of the loop: {', '.join(said)}."


def taught() -> str:
    if outside() != [CT2]:
        raise ValueError(f"loops of {outside()} are outside the probe's interval: the page names another")
    ((level, loop),) = both(CT2)
    plan = resource(RAW / raw(CT2) / "resource.yaml")["status"]["plan"]["predicted"]
    found, expected = pod(CT2), plan["expectedOutputTokensPerSecond"]
    whole = next(each for each in found["curve"] if each["concurrency"] == 16)
    rate, true = float(level["outputTokensPerSecond"]), loop["output_tokens_per_second"]["server"]
    return "\n" + bullets(
        "**Rates.** Each loop's is inside the interval of the probe's level, but one. The "
        f"{level['concurrency']} streams of `{CT2}` are {share(rate, true)} off, with "
        f"{number(level['ciPercent'], 1)} % for the level and {number(found['capacity']['ciPercent'], 1)} % "
        "for the capacity.",
        _knee(),
        _delays(),
        f"**CTranslate2** is expected to gain nothing by streams: {number(expected)} tok/s with 16, where "
        f"the pod had {number(whole['outputTokensPerSecond'])}. Its perplexity is still missing: "
        f"{found['quality']['message']}.",
    )


def section() -> str:
    intro = (
        "After its probe each had steady loops of at least 20 s and 100 requests, but of 60 s at most. "
        "Each cell is probe / loop:"
    )
    return "\n" + paragraph(intro) + TABLE + "".join(rows(LOOPED_PODS)) + taught()
