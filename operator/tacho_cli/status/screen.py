"""Prints a resource's status on the terminal: the row of ``kubectl get``, problems, and the measurement."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table
from rich.text import Text

from tacho_cli.figures.messages import show_figures
from tacho_cli.figures.read import MeasurementView, measurement_view
from tacho_cli.output import Format, console, grid, print_document, table_of
from tacho_cli.status.rows import document, document_of, resource_name, row
from tacho_contract.codec import from_dict
from tacho_contract.launch import ServiceLevel
from tacho_contract.text import visible_document
from tacho_operator.core.measurement.states import STALE

if TYPE_CHECKING:
    from tacho_operator.core.types import Manifest


def show_status(
    raw: Manifest, status: Manifest, *, whole: bool = False, plotted: bool = False, wide: bool = False
) -> None:
    """Prints the row of ``kubectl get``, the problems, and the measurement.

    ``whole``: with every condition and the probe's budget; Planned has the plan. ``plotted``: with the
    charts. ``wide``: with more columns.
    """
    screen, status = console(), visible_document(status)
    screen.print(table_of([row({**raw, "status": status}, wide=wide)]))
    if whole:
        screen.print()
        rows = _condition_rows(status)
        screen.print(grid(("CONDITION", "STATUS", "REASON", "MESSAGE"), rows, wrap=("MESSAGE",)))
        if budget := _probe_budget(status):
            screen.print()
            screen.print(Text(budget))
    else:
        for line in _unexplained(raw, status):
            screen.print(Text(line))
    show_scaling(screen, status)
    for found in current_measurements(raw, status):
        screen.print()
        picture = ""
        if plotted:
            from tacho_cli.figures.terminal import plot  # with a library that few ask for

            picture = plot(found, screen.width)
        message = (
            " ".join(item.get("message", "") for item in status.get("conditions") or ()) if whole else ""
        )
        show_figures(screen, found, picture=picture, shown_message=message)


def _condition_rows(status: Manifest) -> Iterator[tuple[str, ...]]:
    """A row for each condition. If it has the message of an earlier condition, it refers to that one."""
    first: dict[str, str] = {}
    for item in status.get("conditions") or ():
        message = item.get("message", "")
        first_type = first.setdefault(message, item["type"])
        repeated = message and first_type != item["type"]
        text = f"See {first_type}." if repeated else message
        yield (item["type"], *(item.get(key, "") for key in ("status", "reason")), text)


def _probe_budget(status: Manifest) -> str:
    """The probe's budget and its reason; "" where it is not known."""
    plan = status.get("plan") or {}
    seconds, why = plan.get("probeBudgetSeconds"), plan.get("probeBudgetMessage", "")
    return f"Probe: {seconds} s. {why}" if seconds else ""


def current_measurements(raw: Manifest, status: Manifest) -> list[MeasurementView]:
    """The current measurements; where none is current, the newest stale one."""
    entries = status.get("measurements") or []
    current = [item for item in entries if item.get("state") != STALE]
    level = service_level(raw)
    return [measurement_view(item, level) for item in current or entries[:1]]


def _unexplained(raw: Manifest, status: Manifest) -> list[str]:
    """Messages of conditions that the values shown below do not explain."""
    lines = remarks(status)
    messages = [
        found.entry.message.rstrip(".") for found in current_measurements(raw, status) if found.entry.message
    ]
    return [line for line in lines if not any(message in line for message in messages)]


def remarks(status: Manifest) -> list[str]:
    """Messages of the conditions Ready, Measured and ScalingActive that are not True, and of a refused
    rollout.
    """
    return [
        f"{item['type']}={item['status']} {item['reason']}: {item.get('message', '')}"
        for item in status.get("conditions") or ()
        if (item["type"] in ("Ready", "Measured", "ScalingActive") and item["status"] != "True")
        or (item["type"], item["status"]) == ("RolloutAccepted", "False")
    ]


def service_level(raw: Manifest) -> ServiceLevel:
    """The SLO in the resource's ``spec.slo``."""
    return from_dict(ServiceLevel, (raw.get("spec") or {}).get("slo") or {})


def show_scaling(screen: Console, status: Manifest) -> None:
    """Prints the autoscaling status; nothing without autoscaling."""
    found: Manifest = status.get("autoscaling") or {}
    if not found:
        return
    screen.print()
    screen.print(_scaling_table(status, found))
    if found.get("reason"):
        screen.print(Text(found["reason"]))
    if found.get("decisions"):
        screen.print()
        screen.print(_decisions_table(found["decisions"]))


def _scaling_table(status: Manifest, found: Manifest) -> Table:
    ready, desired = status.get("readyReplicas", 0), found.get("desiredReplicas", "")
    cells = {
        "REPLICAS": f"{ready}; {desired} recommended" if found.get("mode") else f"{ready} of {desired}",
        "BOUNDS": f"{found.get('minReplicas', '')} to {found.get('maxReplicas', '')}",
        "DEMAND": str(found.get("demandReplicas", "unknown")),
        "USE %": str(found.get("utilizationPercent", "unknown")),
        "REQ/S EACH": str(found.get("requestsPerSecondPerReplica", "not measured")),
        "CORRECTION %": str(found.get("capacityCorrectionPercent", "")),
        "SLO MET %": _attained(found.get("attainment") or {}),
        "START S": str(found.get("coldStartSeconds", "")),
    }
    return table_of([cells])


def _attained(found: Manifest) -> str:
    """The lower bound of the SLO attainment in percent; without a histogram, the targets themselves."""
    if "percent" in found:
        return str(found["percent"])
    sources = {"TTFT": found.get("ttftSource"), "TPOT": found.get("tpotSource")}
    missing = [name for name, source in sources.items() if source not in (None, "Histogram")]
    return f"unknown ({', '.join(missing)})" if missing else "unknown"


def _decisions_table(decisions: list[Manifest]) -> Table:
    rows = []
    for item in decisions:
        replicas = (str(item.get(key, 0)) for key in ("fromReplicas", "toReplicas"))
        why = f"{'Recommended: ' if item.get('mode') else ''}{item.get('reason', '')}"
        rows.append((item.get("time", ""), *replicas, why))
    return grid(("CHANGED", "FROM", "TO", "WHY"), rows, wrap=("WHY",))


def show(
    resources: Sequence[Manifest], output: Format, *, one: bool, plotted: bool, everywhere: bool
) -> None:
    """Prints resources as the API server has them. ``one``: the user named the resource, so it is shown in
    full."""
    if output == "name":
        for raw in resources:
            print(resource_name(raw["metadata"]["name"]))
    elif output in ("json", "yaml"):
        print_document(document(resources[0]) if one else document_of(resources), output)
    elif one:
        status = resources[0].get("status") or {}
        show_status(resources[0], status, whole=True, plotted=plotted, wide=output == "wide")
    else:
        wide = output == "wide"
        shown = [{**raw, "status": visible_document(raw.get("status") or {})} for raw in resources]
        console().print(table_of([row(raw, wide=wide, everywhere=everywhere) for raw in shown]))
