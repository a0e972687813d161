"""The probe over sockets against mock engines whose laws were drawn.

    python -m benchmarks.probe.laws --count 28 [--jobs 1] [--tokens-per-second 4000]

Each cell is one law and one probe of 45 s; a cell that is in the file already is not measured again unless
--again; a run that goes on keeps the seed, and each row has its commit. 28 laws take 24 minutes. The machine
must have nothing else to do: the mock's own lateness is shown with each row. The goals:
one stream within 2 %, the capacity under the service level within 5 %, every disturbance flagged, nothing
else, wherever the probe calls its figure clean.
"""

from __future__ import annotations

import argparse
import dataclasses
import statistics
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from benchmarks.probe.asking import lateness_milliseconds, mock, probe
from benchmarks.probe.drawn import APART, KINDS, Case, drawn, reach, seed_of_code
from benchmarks.probe.judged import judged
from benchmarks.probe.results import FOLDER, Cells, table
from tools.mock.engine_truth import truth

COLUMNS = (
    "law", "decode err %", "± %", "capacity err %", "± %", "streams", "true", "boundary", "true", "raised",
    "missing", "false", "late ms",
)  # fmt: skip


def one(case: Case, budget_seconds: int) -> dict[str, Any]:
    true = truth(case.law, case.workload, case.slo, most=reach(case))
    with mock(case.law, **case.settings) as port:
        found = probe(port, case.workload, slo=case.slo, streams=case.streams, budget_seconds=budget_seconds)
        late = lateness_milliseconds(port)
    asked = {"law": dataclasses.asdict(case.law), "workload": case.workload, "slo": case.slo}
    row = judged(found, true)
    return {**row, "lateMs": round(late, 2), **asked, "measurement": dataclasses.asdict(found)}


def shown(cells: dict[str, Any]) -> str:
    keys = (
        "decodeErrorPercent", "decodeCiPercent", "capacityErrorPercent", "capacityCiPercent", "streams",
        "streamsTruth", "boundary", "boundaryTruth", "raised", "missing", "false", "lateMs",
    )  # fmt: skip
    rows = [
        [name, *(" ".join(cell[key]) if isinstance(cell[key], list) else cell[key] for key in keys)]
        for name, cell in sorted(cells.items())
    ]
    return table(COLUMNS, rows)


def summary(cells: list[dict[str, Any]]) -> dict[str, Any]:
    """How many keep each goal; capacity only where the probe calls its figure clean."""
    decode = [abs(cell["decodeErrorPercent"]) for cell in cells if cell["decodeErrorPercent"] is not None]
    clean = [cell for cell in cells if cell["clean"] and cell["capacityErrorPercent"] is not None]
    capacity = [abs(cell["capacityErrorPercent"]) for cell in clean]
    intervals = [cell[key] for cell in clean for key in ("decodeCovered", "capacityCovered")]
    known = [covered for covered in intervals if covered is not None]
    return {
        "laws": len(cells),
        "decodeWithin2Percent": sum(error <= 2 for error in decode),
        "decodeMedianErrorPercent": statistics.median(decode) if decode else None,
        "clean": len(clean),
        "capacityWithin5PercentOfClean": sum(error <= 5 for error in capacity),
        "capacityMedianErrorPercent": statistics.median(capacity) if capacity else None,
        "intervalsThatCover": f"{sum(known)} of {len(known)}",
        "withMissingFlags": sum(bool(cell["missing"]) for cell in cells),
        "withFalseFlags": sum(bool(cell["false"]) for cell in cells),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--count", type=int, default=28)
    parser.add_argument(
        "--jobs", type=int, default=1, help="probes at a time; more than one needs idle cores"
    )
    parser.add_argument("--budget", type=int, default=45, help="seconds a probe")
    parser.add_argument("--tokens-per-second", type=float, default=4000, help="the most a law may stream")
    parser.add_argument("--only", default="", help="laws whose name holds this")
    parser.add_argument("--apart", action="store_true", help="two humps and heavy tails of the TTFT instead")
    parser.add_argument("--again", action="store_true", help="measure what is in the file anew")
    parser.add_argument("--out", type=Path, default=None)
    options = parser.parse_args()
    cells = Cells(
        options.out or FOLDER / ("laws-apart.json" if options.apart else "laws.json"), again=options.again
    )
    # What is gone on with keeps its laws, whatever was committed since.
    begun = [cell["seed"] for cell in cells.cells.values()]
    seed = options.seed if options.seed is not None else begun[0] if begun else seed_of_code()
    print(f"seed {seed}, {options.budget} s a probe, one try a law", flush=True)
    kinds = APART if options.apart else KINDS
    cases = drawn(seed, options.count, tokens_per_second=options.tokens_per_second, kinds=kinds)
    todo = [case for case in cases if case.name not in cells and options.only in case.name]

    def run(case: Case) -> None:
        row = {**one(case, options.budget), "seed": seed, "commit": cells.runs[-1]["commit"]}
        cells.put(case.name, row)
        print(shown({case.name: row}).splitlines()[-1], flush=True)

    with ThreadPoolExecutor(options.jobs) as pool:
        list(pool.map(run, todo))
    print(shown(cells.cells))
    cells.write(seed=seed, budgetSeconds=options.budget, **summary(list(cells.cells.values())))
    print(cells.summary)


if __name__ == "__main__":
    main()
