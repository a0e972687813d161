"""A resource's status as text: the row of ``kubectl get``, problems, and the measurement."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table
from rich.text import Text

from tacho_cli.figures.read import MeasurementView, measurement_view
from tacho_cli.figures.table import show_figures
from tacho_cli.output import FigureFormat, Format, columns, console, encodes, plain_table, print_document
from tacho_contract.codec import from_dict
from tacho_contract.launch import ServiceLevel
from tacho_contract.text import visible_document
from tacho_operator.core.measurement.states import STALE

if TYPE_CHECKING:
    from tacho_operator.core.types import Manifest


def show_status(raw: Manifest, status: Manifest, *, whole: bool = False, plotted: bool = False) -> None:
    """Prints the row of ``kubectl get``, the problems, and the measurement.

    ``whole``: with every condition and the probe's budget; Planned has the plan. ``plotted``: with the
    charts.
    """
    screen, status = console(), visible_document(status)
    screen.print(_row(raw["metadata"]["name"], status))
    if whole:
        screen.print()
        screen.print(_conditions(status))
        if budget := _probe_budget(status):
            screen.print()
            screen.print(Text(budget))
    else:
        for line in _unexplained(raw, status):
            screen.print(Text(line))
    show_scaling(screen, status)
    for found in current_measurements(raw, status):
        screen.print()
        picture = _picture(screen, found) if plotted else ""
        message = (
            " ".join(item.get("message", "") for item in status.get("conditions") or ()) if whole else ""
        )
        show_figures(screen, found, picture=picture, shown_message=message)


def _probe_budget(status: Manifest) -> str:
    """The probe's budget and its reason; "" where it is not known."""
    plan = status.get("plan") or {}
    seconds, why = plan.get("probeBudgetSeconds"), plan.get("probeBudgetMessage", "")
    return f"Probe: {seconds} s. {why}" if seconds else ""


def _picture(screen: Console, found: MeasurementView) -> str:
    from tacho_cli.figures.terminal import BEYOND_ASCII, plot  # with a library that few ask for

    return plot(found, screen.width, ascii_only=not encodes(screen.encoding, BEYOND_ASCII))


def current_measurements(raw: Manifest, status: Manifest) -> list[MeasurementView]:
    """The current measurements; where none is current, the newest stale one."""
    entries = status.get("measurements") or []
    current = [item for item in entries if item.get("state") != STALE]
    level = service_level(raw)
    return [measurement_view(item, level) for item in current or entries[:1]]


def _unexplained(raw: Manifest, status: Manifest) -> list[str]:
    """The remarks that the figures below do not explain themselves."""
    lines = remarks(status)
    messages = [
        found.entry.message.rstrip(".") for found in current_measurements(raw, status) if found.entry.message
    ]
    return [line for line in lines if not any(message in line for message in messages)]


def remarks(status: Manifest) -> list[str]:
    """Messages of the conditions Ready, Measured, ScalingActive and AbleToScale that are not True."""
    return [
        f"{item['type']}={item['status']} {item['reason']}: {item.get('message', '')}"
        for item in status.get("conditions") or ()
        if item["type"] in ("Ready", "Measured", "ScalingActive", "AbleToScale") and item["status"] != "True"
    ]


def _conditions(status: Manifest) -> Table:
    table = plain_table()
    columns(table, ("CONDITION", "STATUS", "REASON", "MESSAGE"), wrap=("MESSAGE",))
    for item in status.get("conditions") or ():
        table.add_row(item["type"], item["status"], item["reason"], Text(item.get("message", "")))
    return table


def service_level(raw: Manifest) -> ServiceLevel:
    """The service level of the resource's ``spec.slo``."""
    return from_dict(ServiceLevel, (raw.get("spec") or {}).get("slo") or {})


def _row(name: str, status: Manifest) -> Table:
    plan, summary = status.get("plan") or {}, status.get("summary") or {}
    ready: Manifest = next((item for item in status.get("conditions") or () if item["type"] == "Ready"), {})
    row = {
        "NAME": name,
        "ENGINE": (plan.get("engine") or {}).get("name", ""),
        "QUANT": plan.get("quantizationMethod", ""),
        "GPU": (plan.get("gpu") or {}).get("product", "") or "CPU",
        "READY": ready.get("status", ""),
        "REASON": ready.get("reason", ""),
        "TOK/S": _figure(summary, "outputTokensPerSecond"),
        "TTFT MS": _figure(summary, "ttftMilliseconds"),
    }
    table = plain_table()
    columns(table, row)
    table.add_row(*row.values())
    return table


def _figure(summary: Manifest, key: str) -> str:
    """A measured value, marked as provisional where the cluster's operator marks it."""
    return str(summary.get(f"{key}Shown") or summary.get(key, ""))


def show_scaling(screen: Console, status: Manifest) -> None:
    """Prints the autoscaling status; nothing without autoscaling."""
    found: Manifest = status.get("autoscaling") or {}
    if not found:
        return
    screen.print()
    screen.print(_now(status, found))
    if found.get("reason"):
        screen.print(Text(found["reason"]))
    if found.get("decisions"):
        screen.print()
        screen.print(_changes(found["decisions"]))


def _now(status: Manifest, found: Manifest) -> Table:
    ready, desired = status.get("readyReplicas", 0), found.get("desiredReplicas", "")
    row = {
        "REPLICAS": f"{ready}; {desired} recommended" if found.get("mode") else f"{ready} of {desired}",
        "BOUNDS": f"{found.get('minReplicas', '')} to {found.get('maxReplicas', '')}",
        "DEMAND": str(found.get("demandReplicas", "unknown")),
        "USE %": str(found.get("utilizationPercent", "unknown")),
        "REQ/S EACH": str(found.get("requestsPerSecondPerReplica", "not measured")),
        "CORRECTION %": str(found.get("capacityCorrectionPercent", "")),
        "SLO MET %": _attained(found.get("attainment") or {}),
        "START S": str(found.get("coldStartSeconds", "")),
    }
    table = plain_table()
    columns(table, row)
    table.add_row(*row.values())
    return table


def _attained(found: Manifest) -> str:
    """The lower bound, or the targets without a histogram."""
    if "percent" in found:
        return str(found["percent"])
    sources = {"TTFT": found.get("ttftSource"), "TPOT": found.get("tpotSource")}
    missing = [name for name, source in sources.items() if source not in (None, "Histogram")]
    return f"unknown ({', '.join(missing)})" if missing else "unknown"


def _changes(decisions: list[Manifest]) -> Table:
    table = plain_table()
    columns(table, ("CHANGED", "FROM", "TO", "WHY"), wrap=("WHY",))
    for item in decisions:
        replicas = (str(item.get(key, 0)) for key in ("fromReplicas", "toReplicas"))
        why = f"{'Recommended: ' if item.get('mode') else ''}{item.get('reason', '')}"
        table.add_row(item.get("time", ""), *replicas, Text(why))
    return table


def show(raw: Manifest, output: FigureFormat, *, plotted: bool = False) -> None:
    """``raw``: as the API server has it. ``plotted``: the table with the curve above the levels."""
    status: Manifest = raw.get("status") or {}
    metadata = raw["metadata"]
    if output is FigureFormat.json:
        metadata = {key: value for key, value in metadata.items() if key != "managedFields"}
        print_document({**raw, "metadata": metadata}, Format.json)
    elif output is FigureFormat.html:
        from tacho_cli.figures.page import measurement_page  # with the templates' library

        title = f"{metadata['namespace']}/{metadata['name']}"
        sys.stdout.buffer.write(
            measurement_page(title, current_measurements(raw, status), remarks(status)).encode()
        )
    else:
        show_status(raw, status, whole=True, plotted=plotted)
