"""Recorded measurements of one configuration on one kind of machine, in groups."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from tacho_operator.api.status.measurement import MeasurementEntry
from tacho_operator.core.gate.judge import comparable
from tacho_operator.core.measurement.states import STALE

ROOT = Path(__file__).resolve().parents[2]
PODS = ("benchmarks/gpu", "benchmarks/lab/h200", "benchmarks/lab/h100")
"""Folders of resources as the API server had them, and of what `tacho run` printed."""
PROBES = (
    "h100/goals", "h100/goals-one-run", "h100/goals-paired", "h100/probe", "h200/goals", "h200/goals-edges",
    "h200/goals-small", "h200/probe", "h200/vllm-0.32/goals", "h200/vllm-0.32-unseen/goals",
)  # fmt: skip
"""Folders below benchmarks/gpu of probes of servers that ran for a session."""
SERVER = re.compile(r"(.+?)(?:-(?:warm|old\d|new\d))?-(?:levels|ttft|tpot)\b(?P<fixed>-(?!again)\d+)?")
Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
Group = tuple[MeasurementEntry, ...]


def groups() -> dict[str, Group]:
    """Clean measurements of the same configuration, two or more, by a name."""
    found: dict[str, dict[str, MeasurementEntry]] = defaultdict(dict)
    for name, entry in (*_of_pods(), *_of_probes()):
        if comparable(entry) and entry.single_stream is not None:
            found[name].setdefault(entry.observed_time or "", entry)
    return {
        name: tuple(entries[time] for time in sorted(entries))
        for name, entries in sorted(found.items())
        if len(entries) > 1
    }


def _of_pods() -> Iterator[tuple[str, MeasurementEntry]]:
    for folder in PODS:
        for path in sorted((ROOT / folder).rglob("*.yaml")):
            text = path.read_text(encoding="utf-8")
            if "singleStream" not in text:
                continue
            for document in _measured(yaml.load(text, Loader)):
                entry = MeasurementEntry.model_validate(document)
                machine = entry.environment
                if machine is None or not machine.gpu_product:
                    continue
                where = (machine.gpu_product, machine.engine_version, machine.cpu_count)
                yield f"pod {entry.plan_key} {entry.measure_key} {where}", entry


def _of_probes() -> Iterator[tuple[str, MeasurementEntry]]:
    for folder in PROBES:
        for path in sorted((ROOT / "benchmarks/gpu" / folder).glob("*.json")):
            match = SERVER.match(path.stem)
            for document in _measured(json.loads(path.read_text(encoding="utf-8"))):
                entry = MeasurementEntry.model_validate(document)
                # Of given levels the highest is no capacity.
                kept = {"capacity": None} if match and match["fixed"] else {}
                if match:
                    yield f"probe {folder} {match[1]}", entry.model_copy(update=kept)


def _measured(document: Any) -> Iterator[dict[str, Any]]:
    """Every entry of status.measurements in ``document``, and a document that is one."""
    if isinstance(document, list):
        for item in document:
            yield from _measured(item)
    elif isinstance(document, dict):
        if {"singleStream", "planKey", "fingerprint"} <= document.keys():
            yield document | {"state": STALE}
        for value in document.values():
            yield from _measured(value)


def servers(found: dict[str, Group]) -> dict[str, list[Group]]:
    """The sessions of probes of the same server on hosts of the same GPU product, where there are several.

    Sessions of vLLM 0.32 are left out, as the others had 0.26.
    """
    sessions: dict[str, list[Group]] = defaultdict(list)
    for name, group in found.items():
        kind, _, rest = name.partition(" ")
        folder, _, server = rest.partition(" ")
        if kind == "probe" and "0.32" not in folder:
            sessions[f"{folder.split('/')[0]} {server.removesuffix('-slow-cores')}"].append(group)
    return {name: groups for name, groups in sessions.items() if len(groups) > 1}
