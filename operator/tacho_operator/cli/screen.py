"""What the commands print: a table for people, YAML and JSON for programs."""

from __future__ import annotations

import enum
import json

import yaml
from rich.console import Console
from rich.table import Table

from tacho_operator.core.model import Manifest


class Format(str, enum.Enum):
    """Values of ``--output``."""

    table = "table"
    yaml = "yaml"
    json = "json"


def print_document(document: Manifest, output: Format) -> None:
    """One document on stdout, complete and nothing else."""
    if output is Format.json:
        print(json.dumps(document, indent=2))
    else:
        print(yaml.safe_dump(document, sort_keys=False, allow_unicode=True), end="")


def show_status(raw: Manifest, status: Manifest, output: Format) -> None:
    """The resource with its status, or the row that ``kubectl get`` would show with the measured curve."""
    if output is not Format.table:
        metadata = {key: value for key, value in raw["metadata"].items() if key in ("name", "namespace")}
        print_document({**raw, "metadata": metadata, "status": status}, output)
        return
    console = Console()
    console.print(_summary_table(raw["metadata"]["name"], status))
    measurement = next(iter(status.get("measurements") or ()), None)
    if measurement and measurement.get("curve"):
        console.print(_curve_table(measurement))
    for condition in status.get("conditions") or ():
        if condition["type"] in ("Ready", "Measured") and condition["status"] != "True":
            console.print(
                f"{condition['type']}={condition['status']} {condition['reason']}: {condition['message']}"
            )


def _summary_table(name: str, status: Manifest) -> Table:
    plan, summary = status.get("plan") or {}, status.get("summary") or {}
    ready = next((item for item in status.get("conditions") or () if item["type"] == "Ready"), {})
    table = Table(box=None, header_style="bold", pad_edge=False)
    row = {
        "NAME": name,
        "ENGINE": (plan.get("engine") or {}).get("name", ""),
        "QUANT": plan.get("quantizationMethod", ""),
        "GPU": (plan.get("gpu") or {}).get("product", "") or "CPU",
        "READY": ready.get("status", ""),
        "REASON": ready.get("reason", ""),
        "TOK/S": summary.get("outputTokensPerSecond", ""),
        "TTFT MS": summary.get("ttftMilliseconds", ""),
    }
    for heading in row:
        table.add_column(heading, no_wrap=True)
    table.add_row(*row.values())
    return table


def _curve_table(measurement: Manifest) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False, title="Measured", title_justify="left")
    columns = {
        "CONCURRENCY": "concurrency",
        "TOK/S": "outputTokensPerSecond",
        "TTFT P50 MS": "ttftMillisecondsP50",
        "TTFT P95 MS": "ttftMillisecondsP95",
        "TPOT P50 MS": "tpotMillisecondsP50",
        "REQUESTS": "requests",
    }
    for heading in columns:
        table.add_column(heading, justify="right", no_wrap=True)
    for point in measurement["curve"]:
        table.add_row(*(str(point.get(field, "")) for field in columns.values()))
    return table
