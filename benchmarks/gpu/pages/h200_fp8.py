"""docs/results/h200/vllm-0.32-fp8.md: FP8 that vLLM 0.32 makes at its start, and the law of its speed."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from statistics import fmean, median
from typing import Any

from benchmarks.gpu.pages.h200_graphs import CAPTURED, MOST_TOKENS, by_law, logged, signed
from benchmarks.gpu.pages.loops import levels, pair, rate
from benchmarks.gpu.pages.recorded import RAW, fill, number, row
from benchmarks.planner.speed import least_squares
from tacho_engines.vllm.speed import FP8_IN_TURN, IN_TURN

FOLDER = RAW / "vllm-0.32-fp8"
DENSE, MOE = "llama-3.1-8b", "qwen3-30b-a3b"
MODELS = {DENSE: "Llama-3.1-8B", MOE: "Qwen3-30B-A3B"}
TENSOR, CHANNEL, BLOCK = "-per-tensor", "-per-channel", "-per-block"
SMALL_WEIGHTS = "-per-tensor-small-weights"
FORMS = {
    TENSOR: "per tensor",
    SMALL_WEIGHTS: "per tensor, small weights",
    CHANNEL: "per channel",
    BLOCK: "per block",
    "-16-bits": "16 bits",
}
STREAMS = {DENSE: (16, 64, 256), MOE: (16, 64)}
HOSTS = {
    "[the first](vllm-0.32.md)": ("vllm-0.32/speed/llama-3.1-8b-fp8.json",),
    "[of four](vllm-0.32-four.md)": ("vllm-0.32-four/goals/8b-fp8.json",),
    "[with other experts](vllm-0.32-unseen.md)": ("vllm-0.32-unseen/goals/8b-fp8.json",),
    "[with graphs](vllm-0.32-graphs.md)": ("vllm-0.32-graphs/llama-3.1-8b-fp8.json",),
    "this one": tuple(f"vllm-0.32-fp8/{DENSE}{form}.json" for form in (TENSOR, CHANNEL, SMALL_WEIGHTS)),
}
"""Files of steady loops of the 8B in FP8 by the host of H200s that ran them."""
ELSEWHERE = "vllm-0.32-experts/qwen3-30b-a3b-fp8.json"
"""Loops of the model with experts per tensor, on another host."""
H100 = "the H100s"
H100_FILES = tuple(RAW.parent / f"h100/vllm-0.32/{part}/llama-3.1-8b-fp8.json" for part in ("0.32", "again"))


def loops(name: str, streams: int) -> list[dict[str, Any]]:
    file = FOLDER / f"{name}.json"
    return levels(file, streams) if file.exists() else []


def steady(host: str) -> list[dict[str, Any]]:
    files = H100_FILES if host == H100 else HOSTS[host]
    return [level for file in files for level in levels(file) if level["steady"] and level["streams"] > 1]


def expected(streams: int, launch: float | None, gpu: str) -> float:
    """Of the 8B in FP8, by the law of 0.32, or by that of 0.26 with ``launch`` microseconds a layer."""
    version = "0.32.0" if launch is None else "0.26.0"
    return by_law(DENSE, "fp8", version, streams, launch=launch, gpu=gpu)


def errors(host: str, launch: float | None) -> list[float]:
    """By which share more is expected of each steady loop of a host, as a logarithm."""
    gpu = "NVIDIA-H100-80GB-HBM3" if host == H100 else "NVIDIA-H200"
    by_streams = {
        streams: expected(streams, launch, gpu) for streams in {level["streams"] for level in steady(host)}
    }
    return [math.log(by_streams[level["streams"]] / rate(level)) for level in steady(host)]


def fitted(hosts: Iterable[str]) -> float:
    """Microseconds a layer in which a host launches kernels: least squares, each host of the same weight."""
    judged = list(hosts)

    def loss(values: dict[str, float]) -> float:
        return sum(fmean(error**2 for error in errors(host, values["launch"])) for host in judged)

    return least_squares({"launch": IN_TURN}, loss)["launch"]


def held_out() -> dict[str, list[float]]:
    """Errors of each host's loops by a law that is fitted to the other hosts."""
    return {host: errors(host, fitted(other for other in HOSTS if other != host)) for host in HOSTS}


def _percent(error: float) -> float:
    return 100 * (math.exp(error) - 1)


def _span(found: list[float]) -> str:
    least, most = (round(_percent(error)) for error in (min(found), max(found)))
    return f"{least:+d} to {most:+d} %"


def sizes(found: Iterable[list[float]]) -> list[float]:
    """Errors without their signs, in percent, ascending."""
    return sorted(abs(_percent(error)) for each in found for error in each)


def rates() -> Iterator[str]:
    for model, title in MODELS.items():
        for streams in STREAMS[model]:
            for form, named in FORMS.items():
                for end, graphs in (("", ""), (CAPTURED, ", captured")):
                    for level in loops(model + form + end, streams):
                        assert level["steady"], (model, form, streams)
                        yield row(
                            title,
                            f"{named}{graphs}",
                            str(streams),
                            number(rate(level)),
                            pair(level["ttft_ms"]),
                            pair(level["tpot_ms"], 1),
                        )


def only(name: str, streams: int) -> dict[str, Any]:
    (found,) = loops(name, streams)
    return found


def gained(name: str, streams: int) -> float:
    """Percent that a captured loop has more than the fastest by default."""
    return 100 * (rate(only(name + CAPTURED, streams)) / max(map(rate, loops(name, streams))) - 1)


def times() -> tuple[float, float]:
    """How many times the tokens with 64 streams captured experts have, beside another host's default and
    this one's.
    """
    captured = rate(only(MOE + TENSOR + CAPTURED, 64))
    (elsewhere,) = levels(ELSEWHERE, 64)
    return captured / rate(elsewhere), captured / rate(only(MOE + TENSOR, 64))


def hosts() -> Iterator[str]:
    for host, found in held_out().items():
        yield row(host, str(len(found)), _span(errors(host, IN_TURN)), _span(found))
    alone = errors(H100, None)
    yield row(H100, str(len(alone)), _span(errors(H100, IN_TURN)), _span(alone))


def experts() -> Iterator[str]:
    for form in (TENSOR, CHANNEL, BLOCK):
        for end, tokens in (("", None), (CAPTURED, MOST_TOKENS)):
            for streams in STREAMS[MOE]:
                for level in loops(MOE + form + end, streams):
                    of = by_law(MOE, "fp8", "0.32.0", streams, tokens)
                    title = FORMS[form] + (", captured" if end else "")
                    error = signed(of / rate(level) - 1)
                    yield row(title, str(streams), number(rate(level)), f"{number(of)} ({error})")


def plain() -> float:
    """By how many percent the law is off a loop in 16 bits at most."""
    return max(
        abs(100 * (by_law(DENSE, "none", "0.32.0", streams) / rate(only(f"{DENSE}-16-bits", streams)) - 1))
        for streams in STREAMS[DENSE]
    )


def weights(form: str) -> float:
    return float(logged(DENSE + form, r"Model loading took ([\d.]+) GiB", FOLDER))


def page() -> str:
    assert round(fitted(HOSTS)) == FP8_IN_TURN
    before = sizes(errors(host, IN_TURN) for host in HOSTS)
    after = sizes(held_out().values())
    moe, captured = only(MOE + TENSOR, 64), only(MOE + TENSOR + CAPTURED, 64)
    forms = [
        rate(per_channel) / rate(per_tensor) - 1
        for streams in STREAMS[DENSE]
        for per_tensor, per_channel in zip(
            loops(DENSE + TENSOR, streams), loops(DENSE + CHANNEL, streams), strict=True
        )
    ]
    return fill(
        "h200_fp8",
        rates=rates(),
        forms=f"{100 * min(forms):+.0f} to {100 * max(forms):+.0f}",
        more_weights=weights(CHANNEL) - weights(TENSOR),
        dense=f"{gained(DENSE + TENSOR, 64):.0f} and {gained(DENSE + TENSOR, 16):.0f}",
        fewer=f"{-gained(DENSE + TENSOR, 256):.0f}",
        early=number(only(DENSE + TENSOR, 256)["ttft_ms"]["p50"]),
        late=number(only(DENSE + TENSOR + CAPTURED, 256)["ttft_ms"]["p50"]),
        fewer_times=times()[0],
        times=times()[1],
        elsewhere=number(rate(levels(ELSEWHERE, 64)[0])),
        per_channel=number(rate(only(MOE + CHANNEL, 64))),
        moe=number(rate(moe)),
        captured=number(rate(captured)),
        tpot=moe["tpot_ms"]["p50"],
        tpot_captured=captured["tpot_ms"]["p50"],
        ttft=number(moe["ttft_ms"]["p50"]),
        ttft_captured=number(captured["ttft_ms"]["p50"]),
        experts=experts(),
        hosts=hosts(),
        launch=number(FP8_IN_TURN),
        launch_before=number(IN_TURN),
        before=median(before),
        before_worst=before[-1],
        plain=plain(),
        after=median(after),
        after_worst=after[-1],
    )
