"""What PromQL of the chart asks for, against what the operator exports."""

from __future__ import annotations

import re

from tests.wiring.test_metrics import metric_labels

TARGET_LABELS = frozenset({"namespace", "service", "instance"})
"""Set by Prometheus."""


def unknown(query: str) -> list[str]:
    """What an expression selects, or groups by, and the operator does not export."""
    exported = metric_labels()
    found, known = [], set(TARGET_LABELS)
    for name, selector in re.findall(r"\b(tacho_\w+)(?:\{([^}]*)\})?", query):
        labels = set(re.findall(r"(\w+)\s*=", selector))
        if name not in exported or not labels <= exported[name] | TARGET_LABELS:
            found.append(f"{name}{{{selector}}}")
        known |= exported.get(name, set())
    grouped = {
        label.strip() for group in re.findall(r"(?:by|on) \(([^)]*)\)", query) for label in group.split(",")
    }
    return found + sorted(grouped - known)
