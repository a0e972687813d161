"""A resource with its status as a person reads it: the row of ``kubectl get``, and what was measured."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table
from rich.text import Text

from tacho_contract.codec import from_dict
from tacho_contract.launch import ServiceLevel
from tacho_operator.cli.figures.read import Figures, figures
from tacho_operator.cli.figures.screen import show_figures
from tacho_operator.cli.output.letters import encodes
from tacho_operator.cli.output.tables import columns, console, plain_table
from tacho_operator.cli.status.scaling import show_scaling
from tacho_operator.core.measurement.states import STALE

if TYPE_CHECKING:
    from tacho_operator.core.types import Manifest


def show_status(raw: Manifest, status: Manifest, *, whole: bool = False, plotted: bool = False) -> None:
    """The row that ``kubectl get`` would show, what is not as it should be, and the measured figures.

    ``whole``: with every condition, of which Planned tells the plan. ``plotted``: with the curve.
    """
    screen = console()
    screen.print(_row(raw["metadata"]["name"], status))
    if whole:
        screen.print()
        screen.print(_conditions(status))
    else:
        for line in _unexplained(raw, status):
            screen.print(Text(line))
    show_scaling(screen, status)
    for found in shown(raw, status):
        screen.print()
        picture = _picture(screen, found) if plotted else ""
        said = " ".join(item.get("message", "") for item in status.get("conditions") or ()) if whole else ""
        show_figures(screen, found, picture=picture, said=said)


def _picture(screen: Console, found: Figures) -> str:
    from tacho_operator.cli.figures.terminal import BEYOND_ASCII, plot  # with a library that few ask for

    return plot(found, screen.width, ascii_only=not encodes(screen.encoding, BEYOND_ASCII))


def shown(raw: Manifest, status: Manifest) -> list[Figures]:
    """What is current; where nothing is, the newest of what is stale."""
    entries = status.get("measurements") or []
    current = [item for item in entries if item.get("state") != STALE]
    level = service_level(raw)
    return [figures(item, level) for item in current or entries[:1]]


def _unexplained(raw: Manifest, status: Manifest) -> list[str]:
    """The remarks that the figures below do not explain themselves."""
    lines = remarks(status)
    told = [found.message.rstrip(".") for found in shown(raw, status) if found.message]
    return [line for line in lines if not any(message in line for message in told)]


def remarks(status: Manifest) -> list[str]:
    """What is not as it should be, in the words of the conditions."""
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
    """What the resource's ``spec.slo`` asks for."""
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
    """With the mark of a provisional one, where this cluster's operator sets it."""
    return str(summary.get(f"{key}Shown") or summary.get(key, ""))
