"""What vLLM 0.26 was measured to give on an H200: one stream, several streams, and the edge of a TPOT.

``h200/decode.json`` names each configuration, the file of its figures and its rate of one stream. Under load
count, by configuration:

- ``truth``: long steady loops with the server's own counter. Where a configuration has them, no level of a
  probe of it is used.
- ``probe``: levels of an earlier probe whose interval is at most 6 %, over at least 1.5 s, that was steady.
- ``by hand``: two waves of requests, begun together.

The loads of the 0.6B are what their clients' cores allow. They judge nothing.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import yaml

from benchmarks.planner.placements import placement
from tacho_engines.base import Context
from tacho_engines.registry import engine_profile, plan_half
from tacho_operator.core.planner.speed import DecodeStep

ROOT = Path(__file__).resolve().parents[2]
DATA = Path(__file__).parent / "h200" / "decode.json"
H200 = "benchmarks/gpu/h200"
TRUTH = {
    "8b-bf16": "matrix/llama-8b-bf16-cold",
    "8b-bf16-again": "matrix/llama-8b-bf16-cold",
    "8b-fp8": "matrix/llama-8b-fp8",
}
"""Long loops, and the configuration of each."""
TPOTS_MILLISECONDS = (10, 12, 15, 20, 25)
WIDEST_PERCENT, SHORTEST_SECONDS = 6.2, 1.5


@dataclass(frozen=True, slots=True, kw_only=True)
class FixedStep(DecodeStep):
    """A step whose weights are counted once."""

    read_bytes: float

    def step_weights_bytes(self, _streams: int) -> float:
        return self.read_bytes


@dataclass(frozen=True, kw_only=True)
class Row:
    """One measured figure."""

    name: str
    figure: str
    """one stream | load | edge | prompt."""
    kind: str
    """truth | probe | by hand."""
    cell: dict[str, Any]
    """The configuration."""
    measured: float
    """Output tokens per second; of ``prompt`` the prompt's."""
    streams: int = 1
    input_tokens: int
    output_tokens: int
    tpot_milliseconds: int = 0
    """95th percentile that the streams of an edge keep."""

    @property
    def model(self) -> str:
        """Name of the shape; its quantized checkpoints are of the same."""
        return next(name for name in SHAPES if self.cell["model"].startswith(name))

    @property
    def step(self) -> DecodeStep:
        return _step(json.dumps(self.cell), self.input_tokens, self.output_tokens)


def checkpoint(cell: dict[str, Any]) -> str:
    return f"{cell['model']} {cell['method']}"


SHAPES = ("llama-3.1-8b", "llama-2-7b", "mistral-7b", "phi-2", "qwen3-0.6b", "qwen3-moe")


@cache
def _step(text: str, input_tokens: int, output_tokens: int) -> DecodeStep:
    cell = json.loads(text)
    gpus = cell.get("gpus", 1)
    found = placement(
        "vllm",
        cell["model"],
        cell["method"],
        "H200",
        version=cell["version"],
        count=gpus,
        tensor=gpus,
        arguments=tuple(cell["args"]),
        env=cell.get("env", {}),
    )
    half = plan_half("vllm")
    account = half.account(found, Context(cell["maxModelLen"], 1))
    assert account is not None
    fields: dict[str, Any] = {
        "placement": found,
        "weights_bytes": (account.weights_bytes - account.unread_bytes) * gpus,
        "key_value_bytes": half.cache_element_bytes(found),
        "input_tokens": input_tokens,
        "output_tokens": output_tokens,
    }
    step = DecodeStep(**fields)
    if found.architecture.experts:
        return step
    return FixedStep(**fields, read_bytes=step.step_weights_bytes(1))


@cache
def cells() -> dict[str, dict[str, Any]]:
    """Configurations of vLLM by name."""
    rows = json.loads(DATA.read_text(encoding="utf-8"))
    return {row["name"]: row for row in rows if row["engine"] == engine_profile("vllm").name}


@cache
def rows() -> tuple[Row, ...]:
    """All of them, one stream first."""
    return (*_one_stream(), *_truth(), *_edges(), *_probed(), *_by_hand())


def _one_stream() -> Iterator[Row]:
    for name, cell in cells().items():
        lengths = {"input_tokens": cell["inputTokens"], "output_tokens": cell["outputTokens"]}
        yield Row(
            name=name,
            figure="one stream",
            kind="probe" if cell["source"].endswith(".yaml") else "by hand",
            cell=cell,
            measured=cell["tokensPerSecond"],
            **lengths,
        )


def _levels(name: str) -> list[dict[str, Any]]:
    """Of a long loop, by rising streams."""
    text = (ROOT / H200 / "truth" / f"{name}.json").read_text(encoding="utf-8")
    return sorted(json.loads(text)["levels"], key=lambda level: int(level["streams"]))


def _truth() -> Iterator[Row]:
    for name, cell in TRUTH.items():
        for level in _levels(name):
            yield Row(
                name=f"truth/{name}@{level['streams']}",
                figure="load",
                kind="truth",
                cell=cells()[cell],
                measured=level["output_tokens_per_second"]["server"],
                streams=level["streams"],
                input_tokens=512,
                output_tokens=200,
            )


def _edges() -> Iterator[Row]:
    """The rate at which a long loop's 95th percentile of TPOT reaches a bound, between two levels."""
    for name, cell in TRUTH.items():
        levels = _levels(name)
        for bound in TPOTS_MILLISECONDS:
            for low, high in pairwise(levels):
                before, after = low["tpot_ms"]["p95"], high["tpot_ms"]["p95"]
                if before <= bound < after:
                    part = (bound - before) / (after - before)
                    streams = low["streams"] + part * (high["streams"] - low["streams"])
                    gaps = [
                        level["streams"] / level["output_tokens_per_second"]["server"]
                        for level in (low, high)
                    ]
                    yield Row(
                        name=f"truth/{name}, TPOT {bound} ms",
                        figure="edge",
                        kind="truth",
                        cell=cells()[cell],
                        measured=streams / (gaps[0] + part * (gaps[1] - gaps[0])),
                        streams=round(streams),
                        input_tokens=512,
                        output_tokens=200,
                        tpot_milliseconds=bound,
                    )


def _probed() -> Iterator[Row]:
    """Levels and prompts of the earlier probe. Prompts of 8,192 tokens are in pieces among steps."""
    with_truth = {checkpoint(cells()[name]) for name in TRUTH.values()}
    for name, cell in cells().items():
        if not cell["source"].endswith(".yaml"):
            continue
        status = yaml.safe_load((ROOT / cell["source"]).read_text(encoding="utf-8"))["status"]
        found = status["measurements"][0]
        lengths = {
            "input_tokens": found["workload"]["inputTokens"],
            "output_tokens": found["workload"]["outputTokens"],
        }
        rate = found["singleStream"].get("prefillTokensPerSecond")
        if rate and lengths["input_tokens"] <= 2048:
            yield Row(name=name, figure="prompt", kind="probe", cell=cell, measured=float(rate), **lengths)
        usual = lengths["input_tokens"] == 512
        if cell["model"] == "qwen3-0.6b" or (usual and checkpoint(cell) in with_truth):
            continue
        for level in found.get("curve") or ():
            steady = "NotSteady" not in (level.get("flags") or ())
            known = float(level.get("ciPercent") or 100) <= WIDEST_PERCENT
            long = float(level["windowSeconds"]) >= SHORTEST_SECONDS
            if level["concurrency"] > 1 and steady and known and long:
                yield Row(
                    name=f"{name}@{level['concurrency']}",
                    figure="load",
                    kind="probe",
                    cell=cell,
                    measured=float(level["outputTokensPerSecond"]),
                    streams=level["concurrency"],
                    **lengths,
                )


def _by_hand() -> Iterator[Row]:
    text = (ROOT / H200 / "by-hand/results.json").read_text(encoding="utf-8")
    for run, found in json.loads(text)["runs"].items():
        cell = cells().get(f"by-hand/{run}")
        for load in found.get("loads", ()) if cell else ():
            if 1 < load["concurrency"] <= 256 and cell:
                yield Row(
                    name=f"by-hand/{run}@{load['concurrency']}",
                    figure="load",
                    kind="by hand",
                    cell=cell,
                    measured=load["output_tok_s"],
                    streams=load["concurrency"],
                    input_tokens=load["in"],
                    output_tokens=load["out"],
                )
