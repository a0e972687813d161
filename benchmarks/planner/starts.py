"""Starts of vLLM 0.26 and 0.32 and of Transformers on H200s and H100s that raw data is kept of, by part.

``h200/starts.json`` and ``h100/starts.json`` have a row a start, each with the file its figures were read
from. Starts on an H200 of one configuration (``case``) are of one part: that of benchmarks/planner/cases.py,
by the hash of the configuration's name; where a row says ``heldOut`` itself, its note says why. Starts that
were planned before they ran, when everything was fitted already, are held back whatever their configuration.
No constant of memory was fitted to a start on an H100: they are a part of their own.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from statistics import median
from typing import Any, Literal

import yaml

from benchmarks.planner.cases import Case, account, called_fitting, cases, is_held_out, predict
from benchmarks.planner.placements import placement
from tacho_contract.units import GIB
from tacho_engines.base import Context
from tacho_engines.transformers import memory as transformers
from tacho_operator.core.planner.fit import fits
from tacho_operator.core.planner.history import excess_share, history_from, stored_status
from tacho_operator.core.types import PastMeasurement
from tools import pages

ROOT = Path(__file__).resolve().parents[2]
CARDS = ("h200", "h100")
FITTED_TO = "NVIDIA-H200"
"""The product whose starts constants were fitted to."""
PLANNED_BEFORE = "planned before it ran, used for no constant"
"""The note of those."""
FIGURES = {
    "weights": "Weights",
    "kvTokens": "KV-cache tokens",
    "activation": "Activations",
    "graphs": "CUDA graphs",
    "peak": "Peak of the process",
}
"""What is judged, and its name in the page. The peak is that of Transformers: vLLM takes what it is given."""

PARTS = {
    "fit": "H200, fitted on: median, worst",
    "heldBack": "H200, held back: median, worst",
    "otherCard": "H100, nothing fitted: median, worst",
}
"""Parts of the starts, and their titles in the page."""


@dataclass(frozen=True)
class Start:
    """One start; ``errors`` are relative, of the figures that it told."""

    row: dict[str, Any]
    held_out: bool

    @property
    def part(self) -> Literal["fit", "heldBack", "otherCard"]:
        """Part of the evidence; on a card that nothing was fitted to, all starts are held back."""
        if self.row["gpu"] != FITTED_TO:
            return "otherCard"
        return "heldBack" if self.held_out else "fit"

    @property
    def name(self) -> str:
        return str(self.row["name"])

    @property
    def case(self) -> Case:
        """The same for the functions that judge published logs."""
        return Case(self.row, self.held_out)

    @property
    def errors(self) -> dict[str, float]:
        told = self.row["actual"]
        found = _vllm(self) if self.row["engine"] == "vllm" else _transformers(self)
        keys = {
            "weights": "weightsGiB",
            "kvTokens": "kvTokens",
            "activation": "activationGiB",
            "graphs": "graphGiB",
            "peak": "peakGiB",
        }
        return {figure: found[figure] / told[key] - 1 for figure, key in keys.items() if told.get(key)}


def _vllm(start: Start) -> dict[str, float]:
    found = predict(start.case)
    return {
        "weights": found.weights_bytes / GIB,
        "kvTokens": found.cache.tokens,
        "activation": found.activation_bytes / GIB,
        "graphs": found.graph_bytes / GIB,
    }


def _transformers(start: Start) -> dict[str, float]:
    """The peak is predicted for the tokens that the measured requests held, not for full contexts."""
    row = start.row
    asked = placement(
        "transformers",
        row["model"],
        row["method"],
        start.case.gpu,
        version=row["version"],
        double_quant=row.get("doubleQuant"),
    )
    context = Context(row["maxModelLen"], row["concurrency"])
    found = transformers.account(asked, context, used_tokens=row["streams"] * row["tokensOfAStream"])
    return {
        "weights": found.weights_bytes / GIB,
        "kvTokens": found.cache_tokens,
        "peak": found.total_bytes / GIB,
    }


@cache
def starts() -> tuple[Start, ...]:
    """All of them, in the order of the data."""
    recorded = {case.name: case.held_out for case in cases()}
    rows = [
        row
        for card in CARDS
        for row in json.loads((Path(__file__).parent / card / "starts.json").read_text(encoding="utf-8"))
    ]
    return tuple(
        Start(row, row["heldOut"] if "heldOut" in row else recorded.get(row["case"], _by_name(row)))
        for row in rows
    )


def _by_name(row: dict[str, Any]) -> bool:
    return row["gpu"] != FITTED_TO or is_held_out({"name": row["case"]})


def refused_but_started() -> list[str]:
    """Starts of vLLM that worked and that a plan of one request of their length refuses."""
    worked = [start for start in starts() if start.row["engine"] == "vllm" and start.row["started"]]
    return [start.name for start in worked if not called_fitting(start.case)]


def histories() -> Iterator[tuple[str, tuple[PastMeasurement, ...]]]:
    """Each single measurement that a planner could have learned from, by its source: every recorded status,
    and what the log of every start of vLLM proves, as a status of today's prediction would keep it.

    A history is used for its own product alone: that of an H200 changes no verdict about an H100.
    """
    for path in sorted(path for card in CARDS for path in ROOT.glob(f"benchmarks/**/{card}/**/*.yaml")):
        if "predictedKVCacheBytes" in (text := path.read_text(encoding="utf-8")):
            for row in history_from([stored_status(yaml.safe_load(text))]):
                yield str(path.relative_to(ROOT)), (row,)
    for start in (start for start in starts() if start.row["engine"] == "vllm"):
        told, found = start.row["actual"], account(start.case)
        if "kvGiB" in told:
            row = PastMeasurement(
                engine="vllm",
                engine_version=start.row["version"],
                gpu_product=start.row["gpu"],
                predicted_total_bytes=found.total_bytes,
                actual_total_bytes=found.total_bytes,
                predicted_known_bytes=found.weights_bytes + found.cache_bytes,
                actual_known_bytes=int((told["weightsGiB"] + told["kvGiB"]) * GIB),
            )
            yield start.name, (row,)


def learned_wrongly() -> list[str]:
    """Verdicts about starts of vLLM that any single measurement makes wrong."""
    judged = [(start, account(start.case)) for start in starts() if start.row["engine"] == "vllm"]
    wrong = []
    for source, history in histories():
        for start, found in judged:
            excess = excess_share(
                history, engine="vllm", version=start.row["version"], product=start.row["gpu"], fills=True
            )
            if fits(found, 1, excess, tight=True) is not start.row["started"]:
                wrong.append(f"{start.name} after {source}")
    return wrong


def summary(found: Iterable[Start], figure: str) -> dict[str, Any] | None:
    """Median and worst absolute error in percent; None where no start told the figure."""
    errors = {start.name: start.errors[figure] for start in found if figure in start.errors}
    if not errors:
        return None
    worst = max(errors, key=lambda name: abs(errors[name]))
    return {
        "starts": len(errors),
        "medianPercent": round(100 * median(map(abs, errors.values())), 2),
        "worstPercent": round(100 * errors[worst], 2),
        "worst": worst,
    }


def of_part(part: str) -> list[Start]:
    return [start for start in starts() if start.part == part]


def results() -> dict[str, Any]:
    """What results.json keeps of them."""
    return {
        "starts": len(starts()),
        "refusedButStarted": refused_but_started(),
        **{part: {figure: summary(of_part(part), figure) for figure in FIGURES} for part in PARTS},
    }


def table(found: dict[str, Any]) -> str:
    """Of ``results()``, as benchmarks/lab/planner.md shows it."""
    rows = ((title, *(_cell(found[part][figure]) for part in PARTS)) for figure, title in FIGURES.items())
    return pages.table(("Figure", *PARTS.values()), rows)


def _cell(part: dict[str, Any] | None) -> str:
    if part is None:
        return "not told"
    starts = f"{part['starts']} start{'s' if part['starts'] > 1 else ''}"
    return f"{part['medianPercent']} %, {part['worstPercent']:+} % ({part['worst']}; {starts})"
