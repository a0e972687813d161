"""The status of ``tacho run`` as a person reads it: the row of ``kubectl get``, and the measured curve."""

from __future__ import annotations

from rich.table import Table

from tacho_operator.cli.output.formats import Format, print_document
from tacho_operator.cli.output.tables import columns, console, plain_table
from tacho_operator.core.types import Manifest


def show_status(raw: Manifest, status: Manifest, output: Format) -> None:
    """The resource with its status, or the row that ``kubectl get`` would show with the measured curve."""
    if output is not Format.table:
        metadata = {key: raw["metadata"][key] for key in ("name", "namespace")}
        print_document({**raw, "metadata": metadata, "status": status}, output)
        return
    screen = console()
    screen.print(_summary_table(raw["metadata"]["name"], status))
    measurement = next(iter(status.get("measurements") or ()), None)
    if measurement and measurement.get("curve"):
        screen.print()
        screen.print(_curve_table(measurement))
    for line in remarks(status):
        screen.print(line, markup=False, highlight=False)


def remarks(status: Manifest) -> list[str]:
    """What is not as it should be, in the words of the conditions, and what taints the figures."""
    lines = [
        f"{item['type']}={item['status']} {item['reason']}: {item['message']}"
        for item in status.get("conditions") or ()
        if item["type"] in ("Ready", "Measured") and item["status"] != "True"
    ]
    for measurement in status.get("measurements") or ():
        flags = measurement.get("flags") or ()
        if measurement.get("state") != "Complete" or flags:
            said = f" ({', '.join(flags)})" if flags else ""
            why = measurement.get("message") or "the engine serves, but these figures are not whole"
            lines.append(f"The measurement is {measurement.get('state')}{said}: {why}.")
    return lines


def _summary_table(name: str, status: Manifest) -> Table:
    plan, summary = status.get("plan") or {}, status.get("summary") or {}
    ready: Manifest = next((item for item in status.get("conditions") or () if item["type"] == "Ready"), {})
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
    table = plain_table()
    columns(table, row)
    table.add_row(*row.values())
    return table


def _curve_table(measurement: Manifest) -> Table:
    fields = {
        "CONCURRENCY": "concurrency",
        "TOK/S": "outputTokensPerSecond",
        "TTFT P50 MS": "ttftMillisecondsP50",
        "TTFT P95 MS": "ttftMillisecondsP95",
        "TPOT P50 MS": "tpotMillisecondsP50",
        "REQUESTS": "requests",
    }
    table = plain_table(title="Measured")
    columns(table, fields, right=fields)
    for point in measurement["curve"]:
        table.add_row(*(str(point.get(field, "")) for field in fields.values()))
    return table
