"""What the pages of the H200 are written from: a cell's measurement, and figures in rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
RAW = ROOT / "benchmarks/gpu/h200"


def measured(place: str) -> dict[str, Any]:
    """The first measurement of a cell; {} where there is none."""
    status = yaml.safe_load((RAW / f"{place}.yaml").read_text())["status"]
    found = status.get("measurements") or [{}]
    return {**found[0], "startup": status["startup"], "predicted": status["plan"]["predicted"]}


def number(value: Any, digits: int = 0) -> str:
    return f"{float(value):,.{digits}f}"


def point(level: dict[str, Any]) -> str:
    flags = f" ({', '.join(level['flags'])})" if level.get("flags") else ""
    return f"{number(level['outputTokensPerSecond'])} ± {number(level['ciPercent'], 1)} %{flags}"


def row(*columns: str) -> str:
    return "| " + " | ".join(columns) + " |\n"


def share(predicted: float, actual: float) -> str:
    return f"{100 * (predicted / actual - 1):+.2f} %"
