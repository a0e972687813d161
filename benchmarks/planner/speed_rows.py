"""What vLLM 0.26 was measured to give on an H200: one stream, several streams, and the edge of a TPOT. H100s
and two more hosts of H200s judge, and nothing is fitted to them.

``h200/decode.json`` names each configuration, the file of its figures and its rate of one stream. Under load
count, by configuration:

- ``truth``: long steady loops with the server's own counter. Where a checkpoint has them or the next,
  no other loads of it are used, but those of a probe with longer prompts.
- ``loop``: loops of 8 to 14 s by ``benchmarks/gpu/speed.sh``, where they are steady and 99 of 100 tokens are
  text. The rate of one stream is by its TPOT.
- ``probe``: levels of an earlier probe, steady, with an interval of at most 6 % over at least 1.5 s.
- ``by hand``: two waves of requests, begun together.

The loads of the 0.6B, which are what their clients' cores allow, judge nothing.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

import yaml

from benchmarks.planner.placements import placement
from tacho_engines.base import Context
from tacho_engines.registry import engine_profile, planner_adapter
from tacho_operator.core.planner.expected_speed import timing
from tacho_operator.core.planner.speed import DecodeStep

ROOT = Path(__file__).resolve().parents[2]
DATA = Path(__file__).parent / "h200" / "decode.json"
H200 = "benchmarks/gpu/h200"
H100 = "benchmarks/gpu/h100"
ON_H100 = {"gpu": "NVIDIA-H100-80GB-HBM3"}
ANOTHER = {"host": "another"}
"""Hosts of H200s that judge, and to which nothing is fitted."""
LOOPS: dict[Path, dict[str, Any]] = {
    **{ROOT / H200 / name: {} for name in ("speed", "speed-four", "experts", "tensor")},
    **{ROOT / H200 / name: ANOTHER for name in ("experts-again", "experts-third")},
    **{ROOT / H100 / name: ON_H100 for name in ("speed", "experts", "experts-spread")},
}
SPREAD = "experts-spread"
"""A folder of loops whose engine draws the experts of each token."""
H100_SERVERS = {"8b-bf16": "none", "8b-fp8": "fp8"}
"""Of an 8B: the method of each."""
STORED = {
    "awq": "awq",
    "gptq": "gptq",
    "w8a8": "compressed-tensors",
    "w4a16": "compressed-tensors",
    **dict.fromkeys(("20b", "120b"), "none"),
}
"""Form of a quantized checkpoint, by the end of its name, and the method of its plan."""
NAMED = ("mistral-7b", "danube3-4b", "phi-3-mini-as-llama")
"""Models that a loop served with a vocabulary of 49,152 tokens."""
TRUTH = {
    "8b-bf16": "matrix/llama-8b-bf16-cold",
    "8b-bf16-again": "matrix/llama-8b-bf16-cold",
    "8b-fp8": "matrix/llama-8b-fp8",
}
"""Long loops, and the configuration of each."""
USUAL_TOKENS = 512
"""Of the prompts of loops."""
TPOTS_MILLISECONDS = (10, 12, 15, 20, 25)
WIDEST_PERCENT, SHORTEST_SECONDS = 6.2, 1.5
MOST_DRIFT = 0.10
"""Of a loop's TPOT while it ran, where its percentile counts: others' work on the host changes it."""


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


SHAPES = (
    *("llama-3.1-8b", "llama-3.1-70b", "llama-2-7b", "mistral-7b", "phi-2"),
    *("qwen2.5-1.5b", "qwen2.5-32b", "qwen2.5-3b", "qwen2.5-7b", "qwen3-0.6b"),
    *("qwen3-30b-a3b", "qwen3-8b", "qwen3-moe", "llama-3.2-1b", "danube3-4b", "phi-3-mini", "gpt-oss-20b"),
    *("gpt-oss-120b", "olmoe", "granite-moe", "mixtral", "phi-3.5-moe", "phi-mini-moe", "ernie-21b"),
    "glm-air",
)


@cache
def _step(text: str, input_tokens: int, output_tokens: int) -> DecodeStep:
    cell = json.loads(text)
    gpus = cell.get("gpus", 1)
    found = placement(
        "vllm",
        cell["model"],
        cell["method"],
        cell.get("gpu", "NVIDIA-H200"),
        version=cell["version"],
        count=gpus,
        tensor=gpus,
        arguments=tuple(cell["args"]),
        env=cell.get("env", {}),
    )
    adapter = planner_adapter("vllm")
    account = adapter.account(found, Context(cell["maxModelLen"], 1))
    assert account is not None
    fields: dict[str, Any] = {
        "placement": found,
        "weights_bytes": account.read_bytes * gpus,
        "key_value_bytes": adapter.cache_element_bytes(found),
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
    looped = (*_truth(), *_loops())
    covered = {checkpoint(row.cell) for row in looped if row.figure == "load"}
    others = (
        row for row in (*_probed(), *_by_hand()) if row.figure != "load" or not _measured_better(row, covered)
    )
    return (*_one_stream(), *looped, *_edges(), *others, *_another_gpu())


def _measured_better(row: Row, looped: set[str]) -> bool:
    """Whether a long loop has the same load. Waves of requests are none at other lengths either. A loop says
    nothing of a server with other switches."""
    alike = checkpoint(row.cell) in looped and timing(engine_profile("vllm").speed, row.step.placement)[2]
    return alike and (row.kind == "by hand" or row.input_tokens == USUAL_TOKENS)


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
                input_tokens=USUAL_TOKENS,
                output_tokens=200,
            )


def _loop_files() -> Iterator[tuple[Path, dict[str, Any]]]:
    for folder, gpu in LOOPS.items():
        yield from ((file, gpu) for file in sorted(folder.glob("*.json")))


def _read(file: Path) -> list[dict[str, Any]]:
    """Levels of a loop, by rising streams. Of repeated ones the last: engines compile in the first."""
    levels = json.loads(file.read_text(encoding="utf-8"))["levels"]
    return [level for _, level in sorted({int(level["streams"]): level for level in levels}.items())]


def _counts(level: dict[str, Any]) -> bool:
    return bool(level["steady"] and level["events_without_text_percent"] < 1)


def _same_experts(file: Path, cell: dict[str, Any]) -> bool:
    """Whether made-up weights send all tokens to the same experts: four streams are as fast as one."""
    experts = _step(json.dumps(cell), USUAL_TOKENS, 1).placement.architecture.experts
    alike = (experts and cell["method"] == "fp8") or cell["model"].startswith("gpt-oss")
    return bool(alike) and file.parent.name != SPREAD


def _loop_name(file: Path) -> str:
    """On an H200 with its folder's name, on others with the card's too."""
    card, folder = file.parts[-3:-1]
    return f"{folder}/{file.stem}" if card == Path(H200).name else f"{card}/{folder}/{file.stem}"


def _loop_cell(file: Path, gpu: dict[str, Any]) -> dict[str, Any]:
    stem, _, gpus = file.stem.partition("-tp")
    model, _, method = stem.rpartition("-" if "-bnb-" not in stem else "-bnb-")
    method = STORED[model.rpartition("-")[2]] if method == "stored" else method
    return {
        "model": next(
            (model.replace(name, f"{name}-49k") for name in NAMED if model.startswith(name)), model
        ),
        "method": "bnb-nf4" if method == "nf4" else method,
        "version": "0.26.0",
        "args": [],
        "maxModelLen": 2048 if model == "phi-2" else 4096,
        **({"gpus": int(gpus)} if gpus else gpu),
    }


def _loops() -> Iterator[Row]:
    for file, gpu in _loop_files():
        cell = _loop_cell(file, gpu)
        for level in _read(file):
            alone = level["streams"] == 1
            if alone or (_counts(level) and not _same_experts(file, cell)):
                yield Row(
                    name=_loop_name(file) + ("" if alone else f"@{level['streams']}"),
                    figure="one stream" if alone else "load",
                    kind="loop",
                    cell=cell,
                    measured=1e3 / level["tpot_ms"]["p50"]
                    if alone
                    else level["output_tokens_per_second"]["server"],
                    streams=level["streams"],
                    input_tokens=USUAL_TOKENS,
                    output_tokens=200,
                )


def _another_gpu() -> Iterator[Row]:
    """Long loops on an H100, two of most levels, and the median of what the probe told of one stream."""
    folder = ROOT / H100 / "goals-paired"
    for name, method in H100_SERVERS.items():
        cell = {"model": "llama-3.1-8b", "method": method, "version": "0.26.0", "args": []}
        cell["maxModelLen"] = 4096
        shared: dict[str, Any] = {
            "cell": {**cell, **ON_H100},
            "input_tokens": USUAL_TOKENS,
            "output_tokens": 200,
        }
        told = [json.loads(file.read_text(encoding="utf-8")) for file in folder.glob(f"{name}-*.json")]
        alone = median(float(one["singleStream"]["decodeTokensPerSecond"]) for one in told)
        yield Row(name=f"h100/{name}", figure="one stream", kind="probe", measured=alone, **shared)
        for level in json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))["levels"]:
            yield Row(
                name=f"h100/{name}@{level['streams']}, {level['run']}",
                figure="load",
                kind="truth",
                measured=level["output_tokens_per_second"]["server"],
                streams=level["streams"],
                **shared,
            )


def _edges() -> Iterator[Row]:
    """The rate at which a loop's 95th percentile of TPOT reaches a bound, between two levels."""
    for name, cell in TRUTH.items():
        yield from _edges_of(f"truth/{name}", "truth", cells()[cell], _levels(name))
    for file, gpu in _loop_files():
        cell = _loop_cell(file, gpu)
        levels = [level for level in _read(file) if level["streams"] > 1 and _counts(level)]
        if not _same_experts(file, cell):
            yield from _edges_of(_loop_name(file), "loop", cell, levels)


def _edges_of(name: str, kind: str, cell: dict[str, Any], levels: list[dict[str, Any]]) -> Iterator[Row]:
    """Of levels by rising streams."""
    for bound in TPOTS_MILLISECONDS:
        for low, high in pairwise(levels):
            before, after = low["tpot_ms"]["p95"], high["tpot_ms"]["p95"]
            if before <= bound < after and max(drift(low), drift(high)) < MOST_DRIFT:
                part = (bound - before) / (after - before)
                streams = low["streams"] + part * (high["streams"] - low["streams"])
                gaps = [
                    level["streams"] / level["output_tokens_per_second"]["server"] for level in (low, high)
                ]
                yield Row(
                    name=f"{name}, TPOT {bound} ms",
                    figure="edge",
                    kind=kind,
                    cell=cell,
                    measured=streams / (gaps[0] + part * (gaps[1] - gaps[0])),
                    streams=round(streams),
                    input_tokens=USUAL_TOKENS,
                    output_tokens=200,
                    tpot_milliseconds=bound,
                )


def drift(level: dict[str, Any]) -> float:
    """By how much the median TPOT of one third of a loop's requests is above another third's."""
    columns = {name: index for index, name in enumerate(level["raw"]["columns"])}
    sent, first, whole, tokens = (columns[name] for name in ("sent_s", "ttft_ms", "end_to_end_ms", "tokens"))
    requests = sorted(level["raw"]["rows"], key=lambda row: float(row[sent]))
    gaps = [(row[whole] - row[first]) / (row[tokens] - 1) for row in requests if row[tokens] > 1]
    size = len(gaps) // 3
    thirds = [median(gaps[part * size : (part + 1) * size]) for part in range(3)] if size else [1.0]
    return float(max(thirds) / min(thirds) - 1)


def _probed() -> Iterator[Row]:
    """Levels and prompts of the earlier probe. Prompts of 8,192 tokens are in pieces among steps."""
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
        if cell["model"] == "qwen3-0.6b":
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
