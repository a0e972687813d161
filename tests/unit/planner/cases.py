"""The engine-log cases, which of them are held out, and what the memory model says of each."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from tacho_contract.units import GIB
from tacho_operator.core.planner.arguments import parse_arguments
from tacho_operator.core.planner.catalog.gpus import Gpu, named_gpu
from tacho_operator.core.planner.catalog.vllm import rules_for
from tacho_operator.core.planner.sizing import vllm
from tacho_operator.core.planner.sizing.vllm_settings import vllm_settings
from tests.unit.planner.models import facts

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
    def gpu(self) -> Gpu:
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


def predict(case: Case) -> vllm.VllmMemory:
    """The account of the case's most loaded GPU."""
    row, model = case.row, facts(case.row["model"])
    architecture = model.architecture
    assert architecture is not None
    settings = vllm_settings(
        parse_arguments(row["args"]),
        row.get("env", {}),
        rules=rules_for(row["version"], row.get("env")),
        gpu=case.gpu,
        facts=model,
        tensor=row["tensor"],
        pipeline=row["pipeline"],
        max_model_len=row["maxModelLen"] or architecture.max_positions,
    )
    return vllm.memory(model, architecture, gpu=case.gpu, settings=settings, method=row["method"])


def kv_error(case: Case) -> float | None:
    """Relative error of the predicted KV-cache tokens; None where the log does not print them."""
    actual = case.actual.get("kvTokens")
    return predict(case).cache.tokens / actual - 1 if actual else None


def weights_error(case: Case) -> float | None:
    """Relative error of the predicted weights; None where the log does not print them."""
    actual = case.actual.get("weightsGiB")
    return predict(case).weights_bytes / GIB / actual - 1 if actual else None
