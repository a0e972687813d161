"""benchmarks/lab/h200/outstanding.md: figures that do not hold, and the cells that measure them again."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from benchmarks.gpu import models
from benchmarks.gpu.pages import held, later_pods, matrix, pods, switches
from benchmarks.gpu.pages.recorded import ROOT, fill, read, row

NEXT = ROOT / "benchmarks/gpu/h200-next.yaml"
REPLACES = models.NOTES + "replaces"


def replacements() -> dict[str, str]:
    """Recorded cell, such as ``more/phi-2`` or ``pods/small``, to the cell that measures it again."""
    found: dict[str, str] = {}
    for document in models.cells(NEXT):
        for place in _replaced(document).split():
            found[place] = document["metadata"]["name"]
    return found


def new_cells() -> list[str]:
    """Those of things that have no recorded figure."""
    return [document["metadata"]["name"] for document in models.cells(NEXT) if not _annotations(document)]


def _annotations(document: dict[str, Any]) -> dict[str, str]:
    return document["metadata"].get("annotations") or {}


def _replaced(document: dict[str, Any]) -> str:
    return _annotations(document).get(REPLACES, "")


def withdrawn() -> Iterable[tuple[str, str]]:
    """(recorded cell, its levels with their doubts)."""
    by_cell: dict[str, list[str]] = {}
    for place, level, doubts in (*matrix.levels(), *pods.levels()):
        if doubts:
            by_cell.setdefault(place, []).append(f"{level['concurrency']}: {', '.join(doubts)}")
    return ((place, "; ".join(levels)) for place, levels in by_cell.items())


def bench() -> Iterable[str]:
    servers = [(f"flags/{each['name']}", each["levels"]) for each in switches.servers()]
    files = ("flags/beside.json", "flags/beside-mixed.json", "later/beside-256.json")
    for name, levels in (*servers, *((file, read(file)["levels"]) for file in files)):
        failed = [level for level in levels if not held.bench_holds(level)]
        if failed:
            yield row(
                name, ", ".join(f"{level['streams']}: {held.bench_share(level):.2f}" for level in failed)
            )


def page() -> str:
    again, done = replacements(), later_pods.done()
    parts: dict[str, list[str]] = {"open": [], "again": [], "left": []}
    for place, levels in withdrawn():
        cell = again[place]
        if cell not in done:
            parts["open"].append(row(place, levels, cell))
        elif place == f"pods/{done[cell]}":
            parts["left"].append(row(place, levels))
        else:
            parts["again"].append(row(place, f"[{done[cell]}]({done[cell]})"))
    return fill(
        "outstanding",
        requests=held.LEAST_REQUESTS,
        interval=held.LARGEST_INTERVAL_PERCENT,
        window=held.LEAST_WINDOW_REQUESTS,
        **parts,
        bench=bench(),
        cells=", ".join(new_cells()),
    )
