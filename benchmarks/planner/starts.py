"""Every start of vLLM 0.26 and Transformers on the H200 that raw data is kept of, judged by part.

``h200/starts.json`` has a row a start, each with the file its figures were read from. Starts of one
configuration (``case``) are of one part: that of benchmarks/planner/cases.py, by the hash of the
configuration's name; where a row says ``heldOut`` itself, its note says why. Starts that were planned before
they ran, when everything was fitted already, are held back whatever their configuration.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from statistics import median
from typing import Any

import yaml

from benchmarks.planner.cases import Case, account, called_fitting, cases, is_held_out, predict
from benchmarks.planner.placements import placement
from tacho_contract.units import GIB
from tacho_engines.base import Context
from tacho_engines.transformers import memory as transformers
from tacho_operator.core.planner.fit import fits
from tacho_operator.core.planner.history import excess_share, history_from, stored_status
from tacho_operator.core.types import PastMeasurement

ROOT = Path(__file__).resolve().parents[2]
DATA = Path(__file__).parent / "h200" / "starts.json"
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


@dataclass(frozen=True)
class Start:
    """One start; ``errors`` are relative, of the figures that it told."""

    row: dict[str, Any]
    held_out: bool

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
    return tuple(
        Start(row, row["heldOut"] if "heldOut" in row else recorded.get(row["case"], _by_name(row)))
        for row in json.loads(DATA.read_text(encoding="utf-8"))
    )


def _by_name(row: dict[str, Any]) -> bool:
    return is_held_out({"name": row["case"]})


def refused_but_started() -> list[str]:
    """Starts of vLLM that worked and that a plan of one request of their length refuses."""
    worked = [start for start in starts() if start.row["engine"] == "vllm" and start.row["started"]]
    return [start.name for start in worked if not called_fitting(start.case)]


def histories() -> Iterator[tuple[str, tuple[PastMeasurement, ...]]]:
    """Each single measurement that a planner could have learned from, by its source: every recorded status,
    and what the log of every start of vLLM proves, as a status of today's prediction would keep it."""
    for path in sorted(ROOT.glob("benchmarks/**/h200/**/*.yaml")):
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


def results() -> dict[str, Any]:
    """What results.json keeps of them."""
    parts: dict[str, Callable[[Start], bool]] = {
        "fit": lambda start: not start.held_out,
        "heldBack": lambda start: start.held_out,
    }
    return {
        "starts": len(starts()),
        "refusedButStarted": refused_but_started(),
        **{
            part: {figure: summary(filter(belongs, starts()), figure) for figure in FIGURES}
            for part, belongs in parts.items()
        },
    }


def table(found: dict[str, Any]) -> str:
    """Of ``results()``, as docs/results/planner.md shows it."""
    lines = ["| Figure | Fitted on: median, worst | Held back: median, worst |", "| --- | --- | --- |"]
    for figure, title in FIGURES.items():
        cells = [_cell(found[part][figure]) for part in ("fit", "heldBack")]
        lines.append(f"| {title} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _cell(part: dict[str, Any] | None) -> str:
    if part is None:
        return "not told"
    return f"{part['medianPercent']} %, {part['worstPercent']:+} % ({part['worst']}; {part['starts']} starts)"
