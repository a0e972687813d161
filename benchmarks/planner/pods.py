"""What the measurements of pods on H200s and H100s said of their plans' speed, and say of the present plans.

A status has each measured speed in percent of the plan's (`againstPlan`). The present planner plans the same
resource on the same GPU. `make generate` writes the table in benchmarks/lab/planner.md.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from statistics import median
from typing import Any

import yaml

from benchmarks.planner.models import LLAMA_IN_Q4_0, facts
from tacho_operator.api.types import LLMDeploymentSpec
from tacho_operator.core.planner.plan import plan_model
from tacho_operator.core.planner.types import ModelPlan
from tacho_operator.core.types import Config
from tools import pages
from tools.mock.specs import gpu_node

PAGE = pages.ROOT / "benchmarks/lab/planner.md"
STATUSES = ("benchmarks/gpu/h200/pods*/*", "benchmarks/gpu/h100/pods*/*", "benchmarks/lab/h200/*")
"""Folders with a `resource.yaml` each; some pods of the first host are in the results alone."""
FIGURES = {"decode": "One stream", "output": "Planned concurrency", "capacity": "Capacity"}
GUESSED = 1.0
"""A band of a factor of two: no step was timed on such hardware."""
NAMES = {"llama-8b-q4_0": LLAMA_IN_Q4_0}
"""Models that a volume named otherwise."""


@dataclass(frozen=True, slots=True)
class Speed:
    """A measured speed as a share of the plan's, and how far it may be off."""

    share: float
    within: float

    @property
    def held(self) -> bool:
        return 1 / (1 + self.within) <= self.share <= 1 + self.within


@dataclass(frozen=True, slots=True)
class Pod:
    """One measured pod; speeds by figure, of those that its status tells."""

    place: str
    kind: str
    clean: bool
    then: dict[str, Speed]
    now: dict[str, Speed]


@cache
def pods() -> tuple[Pod, ...]:
    """Every pod whose status scores its plan."""
    found = (path for folder in STATUSES for path in sorted(pages.ROOT.glob(f"{folder}/resource.yaml")))
    return tuple(pod for path in found if (pod := _pod(path)) is not None)


def _pod(path: Path) -> Pod | None:
    resource = yaml.load(path.read_text(encoding="utf-8"), yaml.CSafeLoader)
    (measurement,) = resource["status"].get("measurements") or ({},)
    if not (scored := measurement.get("againstPlan")):
        return None
    plan = resource["status"]["plan"]
    planned = planned_now(json.dumps(resource["spec"]), json.dumps([plan["engine"], plan["gpu"]]))
    then, now = {}, {}
    for figure in FIGURES:
        if f"{figure}Percent" not in scored:
            continue
        share, before = float(scored[f"{figure}Percent"]) / 100, plan["predicted"]
        expected = float(before[f"expected{figure.capitalize()}TokensPerSecond"])
        after = getattr(planned.predicted, f"expected_{figure}_tokens_per_second")
        former = "decode" if figure == "decode" else "output"  # of several streams and the capacity alike
        then[figure] = Speed(share, float(before[f"{former}WithinPercent"]) / 100)
        now[figure] = Speed(
            share * expected / after, getattr(planned.predicted, f"{figure}_within_percent") / 100
        )
    gpus = f"{plan['gpu']['count']} x " if plan["gpu"]["count"] > 1 else ""
    model, card = _model(resource["spec"]), plan["gpu"]["product"].split("-")[1]
    kind = f"{gpus}{card}, {plan['engine']['name']}: {model}, {plan['quantizationMethod']}"
    return Pod(
        str(path.parent.relative_to(pages.ROOT)), kind, measurement["confidence"] == "Clean", then, now
    )


@cache
def planned_now(spec: str, engine_and_gpu: str) -> ModelPlan:
    """The present plan of a resource, for the engine's image and the GPU that it was planned for."""
    fields, (engine, gpu) = json.loads(spec), json.loads(engine_and_gpu)
    node = gpu_node(
        "node",
        gpu["product"],
        gpu["count"],
        memory_mib=gpu["memoryBytes"] >> 20,
        compute=gpu["computeCapability"],
    )
    found = plan_model(
        LLMDeploymentSpec.model_validate(fields),
        facts(_model(fields)),
        nodes=(node,),
        history=(),
        config=Config(tacho_image="tacho", engine_images={engine["name"]: engine["image"]}),
    )
    assert isinstance(found, ModelPlan), found
    return found


def _model(spec: dict[str, Any]) -> str:
    name = spec["model"]["uri"].rpartition("/")[2]
    return NAMES.get(name, name)


def table(found: Sequence[Pod]) -> str:
    """A row a kind, and of all pods together."""
    titles = [f"{title}, {when}" for title in FIGURES.values() for when in ("then", "now")]
    kinds = dict.fromkeys(sorted(pod.kind for pod in found))
    clean = [pod for pod in found if pod.clean]
    timed = [pod for pod in clean if all(speed.within < GUESSED for speed in pod.now.values())]
    rows = (
        *(_row(kind, [pod for pod in found if pod.kind == kind]) for kind in kinds),
        *(_row("**All**", found), _row("**All clean ones**", clean)),
        _row("**Clean, with steps that were timed**", timed),
    )
    return pages.table(("Pods", "Clean", *titles), rows)


def _row(title: str, found: Sequence[Pod]) -> tuple[str, ...]:
    cells = (
        _cell(speeds[figure] for speeds in when if figure in speeds)
        for figure in FIGURES
        for when in ([pod.then for pod in found], [pod.now for pod in found])
    )
    return (title, f"{sum(pod.clean for pod in found)} of {len(found)}", *cells)


def _cell(speeds: Iterable[Speed]) -> str:
    """How many are in the band; the median share, and the bands."""
    found = [*speeds]
    if not found:
        return "-"
    bands = sorted({round(100 * one.within) for one in found})
    told = " to ".join(str(band) for band in dict.fromkeys((bands[0], bands[-1])))
    held, share = sum(one.held for one in found), median(one.share for one in found)
    return f"{held} of {len(found)}: {100 * share:.0f} % (band {told} %)"


def page() -> str:
    """benchmarks/lab/planner.md with the table as it must be."""
    return pages.between_markers(PAGE.read_text(), "make generate", {"speed-pods": table(pods())})
