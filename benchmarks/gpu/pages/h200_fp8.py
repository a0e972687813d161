"""benchmarks/lab/h200/vllm-0.32-fp8.md: FP8 that vLLM 0.32 makes at its start."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from benchmarks.gpu.pages.h200_graphs import CAPTURED, MOST_TOKENS, by_law, logged, signed
from benchmarks.gpu.pages.loops import levels, pair, rate
from benchmarks.gpu.pages.recorded import RAW, fill, number, row

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
ELSEWHERE = "vllm-0.32-experts/qwen3-30b-a3b-fp8.json"
"""Loops of the model with experts per tensor, on another host."""


def loops(name: str, streams: int) -> list[dict[str, Any]]:
    file = FOLDER / f"{name}.json"
    return levels(file, streams) if file.exists() else []


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


def experts() -> Iterator[str]:
    for form in (TENSOR, CHANNEL, BLOCK):
        for end, tokens in (("", None), (CAPTURED, MOST_TOKENS)):
            for streams in STREAMS[MOE]:
                for level in loops(MOE + form + end, streams):
                    of = by_law(MOE, "fp8", "0.32.0", streams, tokens)
                    title = FORMS[form] + (", captured" if end else "")
                    error = signed(of / rate(level) - 1)
                    yield row(title, str(streams), number(rate(level)), f"{number(of)} ({error})")


def weights(form: str) -> float:
    return float(logged(DENSE + form, r"Model loading took ([\d.]+) GiB", FOLDER))


def page() -> str:
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
    )
