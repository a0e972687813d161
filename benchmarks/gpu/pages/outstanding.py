"""docs/results/h200/outstanding.md: figures that do not hold, and the cells that measure them again."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from benchmarks.gpu import models
from benchmarks.gpu.pages import held, later_pods, matrix, pods, switches
from benchmarks.gpu.pages.recorded import ROOT, read, row

NEXT = ROOT / "benchmarks/gpu/h200-next.yaml"
REPLACES = models.NOTES + "replaces"
HEAD = """# Outstanding on the H200

Written by `python -m benchmarks.gpu.pages`. A recorded level stays on the pages where its streams
are its rate x its latency, within 3 %. Else it is withdrawn. One stream needs {requests} requests, an
interval of {interval:.0f} % and no flag. Several need a clean and complete measurement, a steady level and
a window of {window:.0f} requests too. A status has no stamps of requests: what it has must leave no doubt.
Of [the later pods](README.md#alone-on-a-host) a window may be shorter: their loops begin in the
steady mix, and requests of the window are followed to their ends.

On a host with a GPU ([how](../../../benchmarks/gpu)), all of these cells, in the order of what people
run:

    bash benchmarks/gpu/session.sh run ARCHIVES OUT 560s    # by `tacho run`; with the same OUT it goes on
    bash benchmarks/gpu/session.sh pods ARCHIVES OUT 560s   # as pods

## Withdrawn

| recorded | streams: why | measured again by |
| --- | --- | --- |
"""
AGAIN = """
## Measured again

One stream and a level of at least the planned streams hold. What is recorded of earlier runs stays withdrawn
under load:

| recorded | measured again by |
| --- | --- |
"""
LEFT = """
Levels of these pods that do not hold:

| recorded | streams: why |
| --- | --- |
"""
BENCH = """
Of `vllm bench serve` beside servers by hand, rate x mean latency over the streams:

| recorded | streams: rate x latency |
| --- | --- |
"""
NEW = """
## Not measured yet

These cells replace nothing: {cells}. One without a GGUF file is first made by
`benchmarks.llamacpp.random_gguf`. `llama-8b-gguf` was tried, and its pod was [never
Ready](README.md#with-budgets-of-120-to-180-s). On an H100 it [served](../h100/gguf.md). There `llama-8b-ct2`
and `transformers-int8` were [measured once more](../h100/pods.md), and the planned streams hold of neither.
`moe-bf16` and `llama-8b-bnb-int8` were measured there too, complete and clean. `gpt-oss-20b` is provisional.
vLLM 0.32 ran [by hand](vllm-0.32.md), with its bitsandbytes plugin, and never as a pod of the default
image. CTranslate2 ran with the host's cuBLAS 13 for 12, and has no perplexity there.
"""


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
    again = replacements()
    head = HEAD.format(
        requests=held.LEAST_REQUESTS,
        interval=held.LARGEST_INTERVAL_PERCENT,
        window=held.LEAST_WINDOW_REQUESTS,
    )
    done = later_pods.done()
    parts: dict[str, list[str]] = {"open": [], "again": [], "left": []}
    for place, levels in withdrawn():
        cell = again[place]
        if cell not in done:
            parts["open"].append(row(place, levels, cell))
        elif place == f"pods/{done[cell]}":
            parts["left"].append(row(place, levels))
        else:
            parts["again"].append(row(place, f"[{done[cell]}]({done[cell]})"))
    tables = [*parts["open"], AGAIN, *parts["again"], LEFT, *parts["left"], BENCH, *bench()]
    return "".join([head, *tables, NEW.format(cells=", ".join(new_cells()))])
