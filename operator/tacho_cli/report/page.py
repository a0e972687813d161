"""Runs ``tacho report``: writes one HTML page on a deployment, or on all of them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from tacho_cli.figures import times
from tacho_cli.figures.page import breakable, measurement_sections, raw as markup, render
from tacho_cli.report.charts import ChartRow, Run, bar_chart, history_chart, replicas_chart
from tacho_cli.status.rows import bounded, condition, row
from tacho_cli.status.screen import current_measurements, remarks
from tacho_contract.text import visible_document
from tacho_contract.units import GIB, counted, gib, parse_time
from tacho_operator.core.measurement.states import CLEAN, STALE
from tacho_operator.core.types import Manifest

Section = dict[str, Any]
"""A section of the page: ``title``, perhaps ``terms``, ``chart``, ``table`` (name, headings, rows), notes."""
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
        amount = bounded(summary["costShown"], status, "≤")
        terms.append(("a million output tokens", f"{amount}, at {load}"))
    if price := spec.get("pricePerGPUHour"):
        currency, gpus = spec.get("currency", "USD"), gpus_of(status)
        terms.append(("a GPU for an hour", f"{price} {currency}"))
        if not rolls_out(status):
            terms.append((f"now: {gpus} GPUs for an hour", f"{gpus * float(price):.2f} {currency}"))
    return {"title": "Cost", "terms": terms}


def rolls_out(status: Manifest) -> bool:
    """Whether a candidate starts beside the active revision: its GPUs, and their price, may be others."""
    phases = {item.get("phase") for item in status.get("revisions") or ()}
    return {"Active", "Candidate"} <= phases


def gpus_of(status: Manifest) -> int:
    """The number of GPUs that all server pods hold together, if they are of one revision."""
    gpu = (status.get("plan") or {}).get("gpu") or {}
    return int(status.get("replicas") or 0) * int(gpu.get("count") or 0)


def _timed(items: Iterable[Manifest]) -> list[tuple[datetime, Manifest]]:
    """The items with a time that can be read, oldest first."""
    known = ((parse_time(item.get("time")), item) for item in items)
    return sorted(((at, item) for at, item in known if at), key=lambda pair: pair[0])


def _cells(items: Iterable[Manifest], keys: Iterable[str]) -> list[list[str]]:
    names = tuple(keys)
    return [[str(item.get(key, "")) for key in names] for item in items]


MOST_BARS = 40


def deployment_page(raw: Manifest) -> str:
    """The HTML page of one LLMDeployment."""
    raw = visible_document(raw)
    status: Manifest = raw.get("status") or {}
    entries = status.get("measurements") or []
    measured: Manifest = next((item for item in entries if item.get("state") != STALE), {})
    plan = status.get("plan") or {}
    cells = row(raw, wide=True)
    terms = [(heading.lower(), cell) for heading, cell in cells.items() if cell]
    found = [
        {
            "title": "Now",
            "terms": terms,
            "notes": list(filter(None, (plan.get("message", ""), *remarks(status)))),
        },
        memory(status, measured),
        cold_start(status.get("startup") or {}),
        history(status, measured),
        scaling(status),
        cost(raw),
    ]
    metadata = raw["metadata"]
    title = f"{metadata.get('namespace', '')}/{metadata['name']}"
    return _page(title, found, measurement_sections(title, current_measurements(raw, status)))


def fleet_page(resources: Sequence[Manifest], scope: str) -> str:
    """The HTML page of several LLMDeployments. ``scope``: the namespace, or all, for its title."""
    found = [visible_document(raw) for raw in resources]
    sections = [_models(found), _gpus(found), _utilization(found), _stale(found)]
    return _page(f"LLMDeployments of {scope}", sections, fleet=True)


def _page(
    title: str, found: Sequence[Section], measured: Sequence[Section] = (), *, fleet: bool = False
) -> str:
    empty: Section = {"terms": [], "chart": "", "table": ("", [], []), "notes": []}
    shown = [
        {**section, "chart": markup(section["chart"])}
        for section in ({**empty, **given} for given in found)
        if section["terms"] or section["chart"] or section["notes"] or section["table"][2]
    ]
    return render("report", title=title, sections=shown, measured=measured, fleet=fleet)


def _name(raw: Manifest) -> str:
    return f"{raw['metadata'].get('namespace', '')}/{raw['metadata']['name']}"


def _models(resources: Sequence[Manifest]) -> Section:
    """The section with a row for each resource. Columns that exceed a usual screen, such as the URL, are on
    the page of the resource.
    """
    rows = []
    for raw in resources:
        cells = row(raw, wide=True)
        rows.append(
            {
                "NAME": _name(raw),
                "ENGINE, QUANT": f"{cells['ENGINE']} {cells['QUANT']}".strip(),
                **{heading: cells[heading] for heading in ("GPU", "REPLICAS")},
                "READY": breakable(f"{cells['READY']} {cells['REASON']}"),
                **{heading: cells[heading] for heading in ("TOK/S", "TTFT MS", "USE %", "COST/MTOK")},
                "MEASURED": breakable(cells["MEASURED"]),
            }
        )
    serving = sum(condition(raw.get("status") or {}, "Ready").get("status") == "True" for raw in resources)
    return {
        "title": "Models",
        "table": ("models", list(rows[0]) if rows else [], [list(cells.values()) for cells in rows]),
        "notes": [f"{serving} of {counted(len(rows), 'model')} ready."],
    }


def _gpus(resources: Sequence[Manifest]) -> Section:
    """The section with the GPUs by product, and their cost per hour where a price is known."""
    held: dict[str, int] = defaultdict(int)
    prices: dict[str, float] = defaultdict(float)
    settled = [raw for raw in resources if not rolls_out(raw.get("status") or {})]
    for raw in settled:
        status, price = raw.get("status") or {}, (raw.get("spec") or {}).get("cost") or {}
        if gpus := gpus_of(status):
            held[status["plan"]["gpu"].get("product", "")] += gpus
            if price.get("pricePerGPUHour"):
                prices[price.get("currency", "USD")] += gpus * float(price["pricePerGPUHour"])
    bars = [ChartRow(product, 0, count, str(count)) for product, count in sorted(held.items())]
    notes = [
        f"{amount:.2f} {currency} an hour, by the prices in spec." for currency, amount in prices.items()
    ]
    if moving := len(resources) - len(settled):
        notes.append(f"Without {counted(moving, 'model')} in a rollout, whose revisions may differ in GPUs.")
    return {"title": "GPUs", "chart": bar_chart("GPUs of server pods", bars, "GPUs"), "notes": notes}


def _utilization(resources: Sequence[Manifest]) -> Section:
    """The section with the load of sampled resources, in percent of the measured capacity, highest first."""
    known = []
    for raw in resources:
        percent = ((raw.get("status") or {}).get("autoscaling") or {}).get("utilizationPercent")
        if percent is not None:
            known.append(ChartRow(_name(raw), 0, float(percent), f"{percent} %"))
    known.sort(key=lambda bar: -bar.length)
    chart = bar_chart("Load, in percent of the measured capacity", known[:MOST_BARS], "percent")
    more = len(known) - MOST_BARS
    return {"title": "Utilization", "chart": chart, "notes": [f"{more} with less load."] if more > 0 else []}


def _stale(resources: Sequence[Manifest]) -> Section:
    """The section with the resources that have no current, clean measurement; for those that never started,
    with the reason.
    """
    rows = []
    for raw in resources:
        status = raw.get("status") or {}
        measured = condition(status, "Measured")
        if measured.get("status") != "True":
            newest = next((item.get("observedTime", "") for item in status.get("measurements") or ()), "")
            why = measured or condition(status, "Ready")
            rows.append([_name(raw), newest, why.get("reason", ""), why.get("message", "")])
    return {
        "title": "Figures that are stale or missing",
        "table": ("stale", ["NAME", "MEASURED", "REASON", "WHY"], rows),
    }
