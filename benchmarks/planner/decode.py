"""What one stream was expected to decode, and what it did: every cell on the H200 with a figure of its own.

    python -m benchmarks.planner.decode

Writes the table in docs/results/planner.md, and prints what the constants of the engines' ``speed.py`` are
by least squares over the rows of ``h200/decode.json`` that are not held back. Held back are the cells
that ran last (``more``, ``two``, ``later``), of which two are shapes that had not run and two have longer
prompts, and one of NF4, which did not run again. A cell whose interval is wider than what is claimed
judges nothing.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from benchmarks.planner.models import facts
from tacho_contract.units import GIB, MIB
from tacho_engines.hardware.gpus import rows_for
from tacho_engines.profile import StepTiming
from tacho_engines.registry import engine_profile
from tacho_operator.core.planner.plan import plan_model
from tacho_operator.core.planner.types import ModelPlan
from tools.mock.specs import CONFIG, gpu_node, spec

ROOT = Path(__file__).resolve().parents[2]
DATA = Path(__file__).parent / "h200" / "decode.json"
PAGE = ROOT / "docs/results/planner.md"
BEGIN, END = "<!-- begin decode: python -m benchmarks.planner.decode -->", "<!-- end decode -->"
GPU = "NVIDIA-H200"
TOTAL_GIB = 139.8
"""What cudaMemGetInfo calls total there."""


@dataclass(frozen=True)
class Cell:
    """One measured stream."""

    row: dict[str, Any]

    @property
    def name(self) -> str:
        return str(self.row["name"])

    @property
    def measured(self) -> float:
        """Tokens per second while decoding."""
        return float(self.row["tokensPerSecond"])

    @property
    def held_out(self) -> bool:
        return bool(self.row["heldOut"])

    @property
    def law(self) -> StepTiming | None:
        """The engine's row that covers it; None where nothing is expected."""
        if self.plan.predicted.expected_decode_tokens_per_second is None:
            return None
        scheme = facts(self.row["model"]).quantization.scheme
        rows = engine_profile(self.row["engine"]).speed.steps
        return next(row for row in rows if self.row["method"] in row.methods and scheme in row.schemes)

    @property
    def plan(self) -> ModelPlan:
        """What would be planned for it today."""
        return _plan(json.dumps(self.row))

    @property
    def best(self) -> float:
        """The bound."""
        return self.plan.predicted.decode_tokens_per_second or 0.0

    @property
    def expected(self) -> float | None:
        return self.plan.predicted.expected_decode_tokens_per_second

    @property
    def error(self) -> float | None:
        """Relative; None where nothing is expected."""
        return None if self.expected is None else self.expected / self.measured - 1


@cache
def _plan(text: str) -> ModelPlan:
    row, reserve = json.loads(text), rows_for(GPU)[0]
    shown = TOTAL_GIB * GIB / MIB + reserve.memory_mib[0] - reserve.usable_mib[0]
    bits = {"doubleQuant": row["doubleQuant"]} if "doubleQuant" in row else None
    asked = spec(
        engine={
            "name": row["engine"],
            "image": f"local:{row['version']}",
            "extraArgs": row["args"],
            "env": [{"name": name, "value": value} for name, value in row.get("env", {}).items()],
        },
        quantization={"method": row["method"], **({"bitsandbytes": bits} if bits else {})},
        gpu={"products": [GPU], "count": row.get("gpus", 1)},
        parallelism={"tensor": row.get("gpus", 1), "pipeline": 1},
        context={"maxModelLen": row["maxModelLen"], "concurrency": 1},
        workload={"inputTokens": row["inputTokens"], "outputTokens": row["outputTokens"]},
    )
    node = gpu_node("node", GPU, row.get("gpus", 1), memory_mib=round(shown))
    found = plan_model(asked, facts(row["model"]), nodes=(node,), history=(), config=CONFIG)
    if not isinstance(found, ModelPlan):
        raise ValueError(f"{row['name']}: {found.failure.message}")
    return found


@cache
def cells() -> tuple[Cell, ...]:
    """In the order of the data."""
    return tuple(Cell(row) for row in json.loads(DATA.read_text(encoding="utf-8")))


def fitted(law: StepTiming, *, layer_microseconds: float | None = None) -> tuple[float, float]:
    """(traffic, microseconds a layer) of the rows that ``law`` covers and that are not held back, by least
    squares of the relative error; the latter as given, where it is."""
    found = [cell for cell in cells() if cell.law is law and not cell.held_out]
    points = [
        (cell.measured / cell.best, cell.measured * facts(cell.row["model"]).architecture.layers / 1e6)
        for cell in found
    ]
    xx, xy, yy = (sum(p[i] * p[j] for p in points) for i, j in ((0, 0), (0, 1), (1, 1)))
    x, y = (sum(p[i] for p in points) for i in (0, 1))
    if layer_microseconds is not None:
        return (x - layer_microseconds * xy) / xx, layer_microseconds
    determinant = xx * yy - xy * xy
    return (x * yy - y * xy) / determinant, (y * xx - x * xy) / determinant


def table() -> str:
    """Of every cell, as docs/results/planner.md shows it."""
    lines = [
        "| Cell | Model, method | Measured | Expected | At best |",
        "| --- | --- | --- | --- | --- |",
    ]
    for cell in cells():
        error = f"{cell.expected:.0f} ({100 * cell.error:+.1f} %)" if cell.error is not None else "not told"
        scheme = facts(cell.row["model"]).quantization.scheme
        method = f"{cell.row['method']} {scheme}".strip()
        lines.append(
            f"| {cell.name}{' *' if cell.held_out else ''} | {cell.row['model']}, {method} "
            f"| {cell.measured:.0f} | {error} | {cell.best:.0f} |"
        )
    return "\n".join(lines)


def page(text: str) -> str:
    """``text`` with the table between its markers written anew. Raises ValueError where there are none."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError("docs/results/planner.md has no markers for decode")
    return f"{before}{BEGIN}\n{table()}\n{END}{after}"


def main(arguments: Sequence[str]) -> int:
    text = PAGE.read_text(encoding="utf-8")
    wanted = page(text)
    if "--check" in arguments:
        if wanted != text:
            print("docs/results/planner.md has drifted: run python -m benchmarks.planner.decode")
        return int(wanted != text)
    PAGE.write_text(wanted, encoding="utf-8")
    print(table())
    for engine in sorted({cell.row["engine"] for cell in cells()}):
        first, *others = engine_profile(engine).speed.steps
        traffic, layer_microseconds = fitted(first)
        print(f"\n{engine} {first.methods}: {traffic:.3f}, {layer_microseconds:.1f} us a layer")
        for law in others:
            traffic, _ = fitted(law, layer_microseconds=law.layer_microseconds)
            print(f"{engine} {law.methods} {law.schemes}: {traffic:.3f}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
