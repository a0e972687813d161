"""What the scaler says, as a person reads it: the sum of now, and the latest changes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table
from rich.text import Text

from tacho_operator.cli.output.tables import columns, plain_table

if TYPE_CHECKING:
    from tacho_operator.core.types import Manifest


def show_scaling(screen: Console, status: Manifest) -> None:
    """Nothing where nobody scales it."""
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
    row = {
        "REPLICAS": f"{status.get('readyReplicas', 0)} of {found.get('desiredReplicas', '')}",
        "BOUNDS": f"{found.get('minReplicas', '')} to {found.get('maxReplicas', '')}",
        "DEMAND": str(found.get("demandReplicas", "unknown")),
        "USE %": str(found.get("utilizationPercent", "unknown")),
        "REQ/S EACH": str(found.get("requestsPerSecondPerReplica", "not measured")),
        "LEARNED %": str(found.get("learnedPercent", "")),
        "START S": str(found.get("coldStartSeconds", "")),
    }
    table = plain_table()
    columns(table, row)
    table.add_row(*row.values())
    return table


def _changes(decisions: list[Manifest]) -> Table:
    table = plain_table()
    columns(table, ("CHANGED", "FROM", "TO", "WHY"), wrap=("WHY",))
    for item in decisions:
        replicas = (str(item.get(key, 0)) for key in ("fromReplicas", "toReplicas"))
        table.add_row(item.get("time", ""), *replicas, Text(item.get("reason", "")))
    return table
