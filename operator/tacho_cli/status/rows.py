"""Formats LLMDeployments as rows, one each, like ``kubectl get``. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from tacho_operator.core.measurement.states import FLOOR, USABLE

if TYPE_CHECKING:
    from tacho_operator.core.types import Manifest


def row(raw: Manifest, *, wide: bool = False, everywhere: bool = False) -> dict[str, str]:
    """The cells of one resource, by heading.

    ``wide``: with further columns to compare resources. ``everywhere``: with the namespace.
    """
    status = raw.get("status") or {}
    plan, summary, scaling = (status.get(key) or {} for key in ("plan", "summary", "autoscaling"))
    ready = condition(status, "Ready")
    cells = {"NAMESPACE": raw["metadata"].get("namespace", "")} if everywhere else {}
    cells |= {
        "NAME": raw["metadata"]["name"],
        "ENGINE": (plan.get("engine") or {}).get("name", ""),
        "QUANT": plan.get("quantizationMethod", ""),
        "GPU": plan["gpu"].get("product", "") or "CPU" if plan.get("gpu") else "",
        "READY": ready.get("status", ""),
        "REASON": ready.get("reason", ""),
        "TOK/S": speed(status),
        "TTFT MS": figure(summary, "ttftMilliseconds"),
    }
    if wide:
        cells |= {
            "REPLICAS": f"{status.get('readyReplicas', 0)} of {status.get('replicas', 0)}",
            "USE %": scaling.get("utilizationPercent", ""),
            "COST/MTOK": bounded(summary.get("costShown", ""), status, "≤"),
            "MEASURED": condition(status, "Measured").get("reason", ""),
            "URL": status.get("url", ""),
        }
    return {heading: str(cell) for heading, cell in cells.items()}


def condition(status: Manifest, kind: str) -> Manifest:
    """The condition of type ``kind``; empty: there is none."""
    found: Iterator[Manifest] = (item for item in status.get("conditions") or () if item["type"] == kind)
    return next(found, {})


def figure(summary: Manifest, key: str) -> str:
    """A measured value of status.summary as text, with ``~`` where it is provisional."""
    return str(summary.get(f"{key}Shown") or summary.get(key, ""))


def speed(status: Manifest) -> str:
    """Output tokens per second of one replica, with ``≥`` where they are a lower bound."""
    return bounded(figure(status.get("summary") or {}, "outputTokensPerSecond"), status, "≥")


def bounded(text: str, status: Manifest, sign: str) -> str:
    """``text`` with ``sign`` in front where the measured capacity is only a lower bound."""
    entries: Iterable[Manifest] = status.get("measurements") or ()
    found = next((item for item in entries if item.get("state") in USABLE), {})
    is_bound = (found.get("capacity") or {}).get("boundary") == FLOOR
    return f"{sign}{text}" if text and is_bound and not text.startswith("~") else text


def resource_name(name: str) -> str:
    """The resource's name as ``kubectl -o name`` prints it."""
    return f"llmdeployment.tacho.dev/{name}"


def document(raw: Manifest) -> Manifest:
    """The resource without managedFields, which record the writer of each field."""
    metadata = {key: value for key, value in raw["metadata"].items() if key != "managedFields"}
    return {**raw, "metadata": metadata}


def document_of(resources: Iterable[Manifest]) -> Manifest:
    """The resources as one Kubernetes List, as kubectl prints several objects."""
    return {"apiVersion": "v1", "kind": "List", "items": [document(raw) for raw in resources]}
