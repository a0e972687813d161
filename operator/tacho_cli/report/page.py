"""Runs ``tacho report``: writes one HTML page on a deployment, or on all of them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from tacho_cli.figures.page import breakable, measurement_sections, raw as markup, render
from tacho_cli.report import sections
from tacho_cli.report.charts import ChartRow, bar_chart
from tacho_cli.report.sections import Section, gpus_of
from tacho_cli.status.rows import condition, row
from tacho_cli.status.screen import current_measurements, remarks
from tacho_contract.text import visible_document
from tacho_contract.units import counted
from tacho_operator.core.measurement.states import STALE
from tacho_operator.core.types import Manifest

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
        sections.memory(status, measured),
        sections.cold_start(status.get("startup") or {}),
        sections.history(status, measured),
        sections.scaling(status),
        sections.cost(raw),
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
    for raw in resources:
        status, price = raw.get("status") or {}, (raw.get("spec") or {}).get("cost") or {}
        if gpus := gpus_of(status):
            held[status["plan"]["gpu"].get("product", "")] += gpus
            if price.get("pricePerGPUHour"):
                prices[price.get("currency", "USD")] += gpus * float(price["pricePerGPUHour"])
    bars = [ChartRow(product, 0, count, str(count)) for product, count in sorted(held.items())]
    notes = [
        f"{amount:.2f} {currency} an hour, by the prices in spec." for currency, amount in prices.items()
    ]
    return {"title": "GPUs", "chart": bar_chart("GPUs of server pods", bars, "GPUs"), "notes": notes}


def _utilization(resources: Sequence[Manifest]) -> Section:
    """The section with the load in percent of the measured capacity, highest first, for resources whose load
    is sampled.
    """
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
