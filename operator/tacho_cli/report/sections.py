"""Sections of the report on one LLMDeployment, from its status. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from tacho_cli.figures import times
from tacho_cli.report.charts import ChartRow, Run, bar_chart, history_chart, replicas_chart
from tacho_contract.units import GIB, gib, parse_time
from tacho_operator.core.measurement.states import CLEAN
from tacho_operator.core.types import Manifest

Section = dict[str, Any]
"""A section of the page: ``title``, and optionally ``terms``, ``chart``, ``table`` (name, headings, rows) and
``notes``.
"""
MEMORY_PARTS = (
    ("weights", "weightsBytes", "WeightsBytes"),
    ("KV cache", "kvCacheBytes", "KVCacheBytes"),
    ("activations", "activationBytes", ""),
    ("CUDA graphs", "graphBytes", "GraphBytes"),
    ("all", "totalBytes", "Bytes"),
)
"""Parts of the memory: name, key in plan.predicted, end of the key in measurements[].memory."""
START_PARTS = ("verify", "load", "compile", "graph", "probe")
"""Steps of a start that follow one another once the model's files are there."""


def memory(status: Manifest, measured: Manifest) -> Section:
    """The section on memory of the most loaded GPU: predicted and measured."""
    plan, actual = status.get("plan") or {}, measured.get("memory") or {}
    predicted = plan.get("predicted") or {}
    rows, bars, before = [], [], 0.0
    for name, key, end in MEMORY_PARTS:
        expected = predicted.get(key)
        seen = actual.get(f"actual{end}") if end else None
        size = expected if seen is None else seen
        if size is None:
            continue
        rows.append([name, *("" if value is None else gib(value) for value in (expected, seen))])
        start = 0.0 if name == "all" else before
        bars.append(ChartRow(name, start / GIB, size / GIB, gib(size)))
        before += size
    whole = (plan.get("gpu") or {}).get("memoryBytes")
    if bars and whole:
        bars.append(
            ChartRow("the GPU" if plan["gpu"].get("count") else "the host", 0, whole / GIB, gib(whole))
        )
    return {
        "title": "Memory",
        "chart": bar_chart("Memory, GiB: measured, else predicted", bars, "GiB"),
        "table": ("memory", ["PART", "PREDICTED", "MEASURED"], rows),
    }


def cold_start(startup: Manifest) -> Section:
    """The section on the latest start, as bars over time.

    The download runs while images are pulled and the machine is checked.
    """

    def part(name: str) -> float:
        return float(startup.get(f"{name}Seconds") or 0)

    image, checked = part("schedule"), part("schedule") + part("image")
    there = checked + part("preflight") + max(0.0, part("download") - part("overlap"))
    starts = {
        "schedule": 0.0,
        "image": image,
        "download": max(0.0, there - part("download")),
        "preflight": checked,
    }
    for name in START_PARTS:
        starts[name] = there
        there += part(name)
    starts["total"] = 0.0
    bars = [
        ChartRow(name, at, part(name), times.span(part(name))) for name, at in starts.items() if part(name)
    ]
    chart = bar_chart("The latest start, from the pod's creation to Ready", bars)
    return {"title": "Cold start", "chart": chart}


def history(status: Manifest, measured: Manifest) -> Section:
    """The section on the runs of the measurement, newest first, and on the revisions."""
    runs = (measured.get("history") or {}).get("runs") or []
    known = [(at, run) for at, run in _timed(runs) if run.get("outputTokensPerSecond")]
    points = []
    for at, run in known:
        rate = float(run["outputTokensPerSecond"])
        half = rate * float(run.get("ciPercent") or 0) / 100
        points.append(Run((at - known[0][0]).total_seconds(), rate, half, run.get("confidence") != CLEAN))
    keys = ("time", "pod", "kind", "confidence", "concurrency", "outputTokensPerSecond")
    revisions = [
        f"Revision {item.get('name')}: {item.get('phase', '')}. {item.get('message', '')}"
        for item in status.get("revisions") or ()
    ]
    return {
        "title": "History",
        "chart": history_chart(points),
        "table": ("runs", ["TIME", "POD", "KIND", "CONFIDENCE", "STREAMS", "TOK/S"], _cells(runs, keys)),
        "notes": revisions,
    }


def scaling(status: Manifest) -> Section:
    """The section on the scaler's latest decisions."""
    found = status.get("autoscaling") or {}
    decisions = found.get("decisions") or []
    applied = _timed(item for item in decisions if not item.get("mode"))
    changes = [
        (
            (at - applied[0][0]).total_seconds(),
            int(item.get("fromReplicas", 0)),
            int(item.get("toReplicas", 0)),
        )
        for at, item in applied
    ]
    keys = ("time", "fromReplicas", "toReplicas", "cause", "reason")
    return {
        "title": "Scaling decisions",
        "chart": replicas_chart(changes),
        "table": ("decisions", ["CHANGED", "FROM", "TO", "CAUSE", "WHY"], _cells(decisions, keys)),
        "notes": [found["reason"]] if found.get("reason") else [],
    }


def cost(raw: Manifest) -> Section:
    """The section on the cost of tokens and of the present replicas."""
    status = raw.get("status") or {}
    summary, spec = status.get("summary") or {}, (raw.get("spec") or {}).get("cost") or {}
    terms = []
    if summary.get("costShown"):
        load = "the highest load that meets the SLO" if summary.get("costBasis") == "SLO" else "saturation"
        terms.append(("a million output tokens", f"{summary['costShown']}, at {load}"))
    if price := spec.get("pricePerGPUHour"):
        currency, gpus = spec.get("currency", "USD"), gpus_of(status)
        terms.append(("a GPU for an hour", f"{price} {currency}"))
        terms.append((f"now: {gpus} GPUs for an hour", f"{gpus * float(price):.2f} {currency}"))
    return {"title": "Cost", "terms": terms}


def gpus_of(status: Manifest) -> int:
    """The number of GPUs that all server pods hold together."""
    gpu = (status.get("plan") or {}).get("gpu") or {}
    return int(status.get("replicas") or 0) * int(gpu.get("count") or 0)


def _timed(items: Iterable[Manifest]) -> list[tuple[datetime, Manifest]]:
    """The items with a time that can be read, oldest first."""
    known = ((parse_time(item.get("time")), item) for item in items)
    return sorted(((at, item) for at, item in known if at), key=lambda pair: pair[0])


def _cells(items: Iterable[Manifest], keys: Iterable[str]) -> list[list[str]]:
    names = tuple(keys)
    return [[str(item.get(key, "")) for key in names] for item in items]
