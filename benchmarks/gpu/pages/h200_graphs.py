"""benchmarks/lab/h200/graphs.md: what CUDA graphs for steps with a prompt gain, on an H200."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.gpu.pages.loops import levels, pair, rate
from benchmarks.gpu.pages.recorded import RAW, fill, number, row
from benchmarks.planner.speed import SPEED, predicted
from benchmarks.planner.speed_rows import Row
from tacho_operator.core.planner.expected_speed import timing

FOLDER = RAW / "graphs"
MODELS = {
    "qwen3-30b-a3b": ("Qwen3-30B-A3B, 16 bits", "qwen3-30b-a3b", "none"),
    "qwen2.5-3b": ("Qwen2.5-3B, 16 bits", "qwen2.5-3b", "none"),
    "llama-3.1-8b-fp8": ("Llama-3.1-8B, FP8", "llama-3.1-8b", "fp8"),
    "llama-3.1-8b-gptq": ("Llama-3.1-8B, GPTQ", "llama-3.1-8b-gptq", "gptq"),
}
"""By the files' names: title, model and method."""
STREAMS = (16, 64, 256)
CAPTURED = "-captured"
MOST_TOKENS = 2560
"""Largest captured step; of the rest the engine's default is 512."""


def loop(name: str, streams: int, folder: Path = FOLDER) -> dict[str, Any]:
    (found,) = levels(folder / f"{name}.json", streams)
    return found


def expected(name: str, streams: int, graph_tokens: int | None) -> float:
    """What the plan's law expects, in tokens a second; None: with the engine's default."""
    _, model, method = MODELS[name]
    return by_law(model, method, "0.26.0", streams, graph_tokens)


def by_law(
    model: str,
    method: str,
    version: str,
    streams: int,
    graph_tokens: int | None = None,
    *,
    launch: float | None = None,
    gpu: str = "NVIDIA-H200",
) -> float:
    """What the plan's law expects of a version of vLLM.

    ``graph_tokens``: of the largest CUDA graph; ``launch``: microseconds in which a host launches the kernels
    of a layer. None: those of the law.
    """
    cell = {"model": model, "method": method, "version": version, "args": [], "maxModelLen": 4096, "gpu": gpu}
    of = Row(
        name=model,
        figure="load",
        kind="loop",
        cell=cell,
        measured=0.0,
        streams=streams,
        input_tokens=512,
        output_tokens=200,
    )
    law, kernel, _ = timing(SPEED, of.step.placement)
    changed = {"graph_tokens": graph_tokens, "launch_microseconds": launch}
    own = {name: value for name, value in changed.items() if value is not None}
    return predicted(of, law, replace(kernel, **own))


def gain(name: str, streams: int, folder: Path = FOLDER) -> float | None:
    """By which share more tokens a second come; None where a loop is not steady."""
    before, after = loop(name, streams, folder), loop(name + CAPTURED, streams, folder)
    return rate(after) / rate(before) - 1 if before["steady"] and after["steady"] else None


def gains(name: str, folder: Path = FOLDER) -> list[float]:
    """In percent, of all numbers of streams whose loops are steady."""
    return [100 * more for streams in STREAMS if (more := gain(name, streams, folder)) is not None]


def span(percents: Iterable[float]) -> str:
    """The least and the most, in whole percent."""
    found = sorted(percents)
    return f"{found[0]:.0f} to {found[-1]:.0f}"


def off(name: str, streams: int, graph_tokens: int | None) -> float | None:
    """By which share more is expected than a loop had; None where it is not steady."""
    measured = loop(name + (CAPTURED if graph_tokens else ""), streams)
    return expected(name, streams, graph_tokens) / rate(measured) - 1 if measured["steady"] else None


def errors(graph_tokens: int | None) -> list[float]:
    """Of all steady loops, in ascending order."""
    found = (off(name, streams, graph_tokens) for name in MODELS for streams in STREAMS)
    return sorted(abs(error) for error in found if error is not None)


def signed(share: float | None) -> str:
    return "not steady" if share is None else f"{100 * share:+.1f} %"


def rates(titles: Mapping[str, str], folder: Path = FOLDER) -> Iterator[str]:
    """Rows of what each server has by default and captured. ``titles``: by the files' names."""
    for name, title in titles.items():
        for streams in STREAMS:
            before, after = (loop(each, streams, folder) for each in (name, name + CAPTURED))
            more = gain(name, streams, folder)
            yield row(
                title,
                str(streams),
                *(
                    number(rate(each)) + ("" if each["steady"] else ", not steady")
                    for each in (before, after)
                ),
                "-" if more is None else signed(more),
                f"{pair(before['ttft_ms'])} / {pair(after['ttft_ms'])}",
                f"{pair(before['tpot_ms'], 1)} / {pair(after['tpot_ms'], 1)}",
            )


def laws() -> Iterator[str]:
    for name, (title, _, _) in MODELS.items():
        for streams in STREAMS:
            cells = (
                f"{number(expected(name, streams, tokens))} ({signed(off(name, streams, tokens))})"
                for tokens in (None, MOST_TOKENS)
            )
            yield row(title, str(streams), *cells)


def logged(name: str, pattern: str, folder: Path = FOLDER) -> str:
    text = (folder / f"{name}.log").read_text(encoding="utf-8")
    found = re.findall(pattern, text)
    assert found, (name, pattern)
    return str(found[-1])


GRAPHS = r"Graph capturing finished in \d+ secs, took ([\d.]+) GiB"
SECONDS = r"Graph capturing finished in (\d+) secs"
CACHE = r"GPU KV cache size: ([\d,]+) tokens"


def memory() -> Iterator[str]:
    for name, (title, _, _) in MODELS.items():
        both = (name, name + CAPTURED)
        yield row(
            title,
            *(" / ".join(logged(each, pattern) for each in both) for pattern in (GRAPHS, SECONDS, CACHE)),
        )


def gain_errors() -> list[float]:
    """By how many percentage points each gain is off, in ascending order."""
    found = []
    for name in MODELS:
        for streams in STREAMS:
            measured = gain(name, streams)
            if measured is not None:
                planned = expected(name, streams, MOST_TOKENS) / expected(name, streams, None) - 1
                found.append(100 * abs(planned - measured))
    return sorted(found)


def more(pattern: str) -> list[float]:
    """By how much a figure of the log is higher with the switch, for each model, in ascending order."""
    pairs = ((logged(name + CAPTURED, pattern), logged(name, pattern)) for name in MODELS)
    return sorted(float(after) - float(before) for after, before in pairs)


def sizes() -> list[int]:
    """The captured batch sizes."""
    named = logged("qwen2.5-3b" + CAPTURED, r"'cudagraph_capture_sizes': \[([\d, ]+)\]")
    return [int(size) for size in named.split(", ")]


def switch() -> str:
    return f"--compilation-config.cudagraph_capture_sizes=[{','.join(map(str, sizes()))}]"


def page() -> str:
    spans = {
        key: span(gains(name)) for key, name in zip(("experts", "small", "fp8", "gptq"), MODELS, strict=True)
    }
    moe, small = "qwen3-30b-a3b", "qwen2.5-3b"
    elsewhere = [level for level in levels(RAW / "speed-four/qwen2.5-3b-none.json") if level["streams"] > 1]
    assert rate(elsewhere[-1]) > rate(loop(small + CAPTURED, 256))
    longer = [seconds for seconds in more(SECONDS) if seconds > 0]
    return fill(
        "h200_graphs",
        rates=rates({name: title for name, (title, _, _) in MODELS.items()}),
        switch=switch(),
        laws=laws(),
        memory=memory(),
        **spans,
        p95=loop(moe, 64)["tpot_ms"]["p95"],
        p95_captured=loop(moe + CAPTURED, 64)["tpot_ms"]["p95"],
        median=100 * median(errors(MOST_TOKENS)),
        worst=100 * errors(MOST_TOKENS)[-1],
        default_median=100 * median(errors(None)),
        default_worst=100 * errors(None)[-1],
        late=number(loop(small + CAPTURED, 256)["ttft_ms"]["p50"]),
        soon=number(loop(small, 256)["ttft_ms"]["p50"]),
        late_8b=number(loop("llama-3.1-8b-fp8" + CAPTURED, 256)["ttft_ms"]["p50"]),
        soon_8b=number(loop("llama-3.1-8b-fp8", 256)["ttft_ms"]["p50"]),
        other=", ".join(number(rate(level)) for level in elsewhere),
        gain_median=median(gain_errors()),
        gain_worst=gain_errors()[-1],
        more_gib=f"{more(GRAPHS)[0]:.2f} to {more(GRAPHS)[-1]:.2f}",
        more_seconds=f"{longer[0]:.0f} to {longer[-1]:.0f}",
        estimate=logged(moe + CAPTURED, r"Estimated CUDA graph memory: ([\d.]+) GiB"),
        took=logged(moe + CAPTURED, GRAPHS),
        estimate_default=logged(moe, r"Estimated CUDA graph memory: ([\d.]+) GiB"),
    )
