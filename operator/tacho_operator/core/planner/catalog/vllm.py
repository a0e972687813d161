"""vLLM's memory accounting, by version."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Literal

import tomllib
from pydantic import TypeAdapter

from tacho_operator.core.planner.catalog.engines import version_key


@dataclass(frozen=True, slots=True, kw_only=True)
class VllmRules:
    """One row of ``vllm.toml``; the fields are explained there."""

    version: str
    utilization: float
    runner: Literal["v0", "v1", "v2"]
    sampler_bytes: float
    graphs: Literal["inside", "outside"]
    chunk_above: int
    chunk_tokens: int
    large_tokens: int
    huge_tokens: int
    sequences: int
    large_sequences: int
    latent: bool
    windows: Literal["full", "window"]
    in_flight: int
    kv_size: Literal["blocks", "concurrency"]
    nf4_bits: float
    mxfp4_hopper: Literal["marlin", "triton"]
    reserve: float
    source: str


@cache
def vllm_rules() -> tuple[VllmRules, ...]:
    """Every row, oldest first."""
    text = files(__package__).joinpath("vllm.toml").read_text(encoding="utf-8")
    return TypeAdapter(tuple[VllmRules, ...]).validate_python(tomllib.loads(text)["since"])


V1 = "0.8"
"""First version whose default is the V1 engine, and the row that holds where it is switched on earlier."""
SWAP_REMOVED = "0.18"
"""From here --swap-space is no switch any more (wheels 0.17.0, 0.18.0: engine/arg_utils.py)."""
LAST_V0 = "0.7.1"
V0_REMOVED = "0.11"


def rules_for(version: str, env: Mapping[str, str] | None = None) -> VllmRules:
    """The row for ``version``: the newest not above it; an unknown version counts as the newest.

    ``VLLM_USE_V1`` chose the engine while a version had both.
    """
    key = version_key(version)
    rows = vllm_rules()
    if not key:
        return rows[-1]
    asked = (env or {}).get("VLLM_USE_V1", "")
    if asked == "1" and key < version_key(V1):
        key = version_key(V1)
    elif asked == "0" and version_key(V1) <= key < version_key(V0_REMOVED):
        key = version_key(LAST_V0)
    return next((row for row in reversed(rows) if version_key(row.version) <= key), rows[0])
