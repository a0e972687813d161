"""The engine-log cases, which of them are held out, and what the memory model says of each."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from benchmarks.planner.placements import placement
from tacho_contract.units import GIB, MIB
from tacho_engines.base import Placement
from tacho_engines.hardware.device import Device
from tacho_engines.hardware.gpus import named_gpu, rows_for
from tacho_engines.memory.account import Account
from tacho_engines.vllm import memory
from tacho_engines.vllm.settings import VllmSettings, read_settings, switches
from tacho_operator.core.planner import fit
from tacho_operator.core.planner.plan import plan_model
from tacho_operator.core.planner.types import ModelPlan, PlanFailure
from tools.mock.specs import CONFIG, gpu_node, spec

DATA = Path(__file__).parent / "data" / "engine_logs.json"


@dataclass(frozen=True)
class Case:
    """One published start of vLLM."""

    row: dict[str, Any]
    held_out: bool

    @property
    def name(self) -> str:
        return str(self.row["name"])

    @property
    def actual(self) -> dict[str, float]:
        return dict(self.row["actual"])

    @property
    def gpu(self) -> Device:
        gpu = named_gpu(self.row["gpu"])
        assert gpu is not None, self.row["gpu"]
        total = self.row.get("totalGiB")
        return replace(gpu, memory_bytes=int(total * GIB)) if total else gpu


def name_hash(name: str) -> int:
    """sha256 of the case's name."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest(), "big")


def is_held_out(row: dict[str, Any]) -> bool:
    """By the hash of the case's name alone, so that adding a case moves no other.

    The first cases were split before any constant was fitted, the half whose hashes sort first held out; the
    data record that (``heldOut``). A case added later is held out when its hash is even.
    """
    recorded = row.get("heldOut")
    return name_hash(row["name"]) % 2 == 0 if recorded is None else bool(recorded)


@cache
def cases() -> tuple[Case, ...]:
    """All cases, in the order of the data."""
    rows = json.loads(DATA.read_text(encoding="utf-8"))
    return tuple(Case(row, is_held_out(row)) for row in rows)


def started(case: Case) -> tuple[Placement, VllmSettings]:
    """The case as it was started: with its switches and no others."""
    row = case.row
    found = placement(
        "vllm",
        row["model"],
        row["method"],
        case.gpu,
        count=row["gpus"],
        tensor=row["tensor"],
        pipeline=row["pipeline"],
        version=row["version"],
        arguments=tuple(row["args"]),
        env=row.get("env", {}),
    )
    length = row["maxModelLen"] or found.architecture.max_positions
    return found, read_settings(switches(found.options), found, length)


def predict(case: Case) -> memory.VllmMemory:
    """The account of the case's most loaded GPU, in the engine's own terms."""
    return memory.memory(*started(case))


def account(case: Case) -> Account:
    """The same as the planner sees it."""
    return memory.account(*started(case))


def called_fitting(case: Case) -> bool:
    """What the planner's own rule says of one request of the asked length: whether it is not refused."""
    return fit.fits(account(case), 1, tight=True)


def planned(case: Case) -> ModelPlan | PlanFailure:
    """What a plan says of one request of the asked length on a node with this GPU, with the utilization that
    the server was started with: without the switch a plan may lower it."""
    row, (found, settings) = case.row, started(case)
    label, reserve = row["gpu"], rows_for(row["gpu"])[0]
    shown = (case.gpu.memory_bytes or 0) / MIB + reserve.memory_mib[0] - reserve.usable_mib[0]
    given = () if settings.utilization_given else (f"--gpu-memory-utilization={settings.utilization}",)
    asked = spec(
        engine={
            "name": "vllm",
            "image": f"vllm/vllm-openai:v{row['version']}",
            "extraArgs": [*row["args"], *given],
            "env": [{"name": name, "value": value} for name, value in row.get("env", {}).items()],
        },
        quantization={"method": row["method"]},
        gpu={"products": [label], "count": row["gpus"]},
        parallelism={"tensor": row["tensor"], "pipeline": row["pipeline"]},
        context={"maxModelLen": settings.max_model_len, "concurrency": 1},
        workload={"inputTokens": 8, "outputTokens": 8},
    )
    node = gpu_node("node", label, row["gpus"], memory_mib=round(shown))
    return plan_model(asked, found.facts, nodes=(node,), history=(), config=CONFIG)


def kv_error(case: Case) -> float | None:
    """Relative error of the predicted KV-cache tokens; None where the log does not print them."""
    actual = case.actual.get("kvTokens")
    return predict(case).cache.tokens / actual - 1 if actual else None


def weights_error(case: Case) -> float | None:
    """Relative error of the predicted weights; None where the log does not print them."""
    actual = case.actual.get("weightsGiB")
    return predict(case).weights_bytes / GIB / actual - 1 if actual else None
