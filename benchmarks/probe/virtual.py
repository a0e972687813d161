"""The probe's own phases and statistics against simulated engines on a clock that costs nothing.

    python -m benchmarks.probe.virtual --runs 500 [--jobs 1]

Laws are drawn as for benchmarks.probe.laws, of those kinds that a simulated engine knows. Shown: how often
the interval of each figure holds the truth (the goal is nine in ten of the clean ones), errors, flags that
are missing and flags that are false.
"""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import math
import statistics
from collections import defaultdict
from concurrent.futures import ProcessPoolExecutor
from datetime import datetime, timezone
from pathlib import Path
from random import Random
from typing import Any

from benchmarks.probe.drawn import KINDS, Case, case_of, top_level
from benchmarks.probe.judged import covers, error_percent, judged
from benchmarks.probe.results import FOLDER, Cells, table
from tacho_contract.launch import LiveConfig, ProbeSettings
from tacho_contract.measurement import INVALIDATING, Measurement
from tacho_runtime.probe.load.timed_client import RequestFailed
from tacho_runtime.probe.report import assemble
from tacho_runtime.probe.sequence import CLOSING_SHARE, MeasureOptions, measure
from tacho_runtime.probe.session import SPREAD, ProbeClock, ProbeFindings
from tools.mock.engine_law import Law
from tools.mock.engine_truth import throughput, truth
from tools.mock.virtual_engine import TURNAROUND_SECONDS, VirtualEngine, VirtualLaw

KNOWN = ("plain", "knee", "few_at_a_time", "small_cache", "jittery", "speculative", "stalling", "visited")
BUDGET_SECONDS = 45
TOKENS_PER_SECOND = 6000.0
_ELSEWHERE = ("seed", "foreign_seconds")
"""The engine is given a generator of its own; the end of foreign traffic is worked out below."""
_RENAMED = {"jitter_cv": "jitter", "foreign_from_s": "foreign_from_seconds"}


def simulated(law: Law) -> VirtualLaw:
    """The same law as the simulated engine words it. ValueError where it knows nothing of a setting."""
    names = {field.name for field in dataclasses.fields(VirtualLaw)}
    values, plain = {}, dataclasses.asdict(Law())
    for name, value in dataclasses.asdict(law).items():
        known = _RENAMED.get(name, name)
        if known in names:
            values[known] = value
        elif value != plain[name] and name not in _ELSEWHERE:
            raise ValueError(f"the simulated engine knows no {name}, which is {value}")
    if law.itl_knee:
        # There the steeper slope replaces the flat one.
        values["itl_per_seq_above_ms"] += law.itl_per_seq_ms
    if law.foreign_streams:
        values["foreign_until_seconds"] = law.foreign_from_s + law.foreign_seconds
    return VirtualLaw(**values)


async def probed(case: Case, seed: int) -> Measurement:
    live = LiveConfig(
        measure_key="benchmark",
        workload=case.workload,
        slo=case.slo,
        probe=ProbeSettings(budget_seconds=BUDGET_SECONDS, timeout_seconds=2 * BUDGET_SECONDS),
    )
    engine = VirtualEngine(simulated(case.law), Random(seed))
    findings = ProbeFindings()
    clock = ProbeClock(
        now=engine.now_seconds,
        budget_ends=BUDGET_SECONDS * (1 - CLOSING_SHARE),
        timeout_ends=2 * BUDGET_SECONDS,
    )
    question = MeasureOptions(live=live, max_model_len=4096, streams=case.streams, slots=case.streams)
    try:
        await measure(engine, question, findings, clock)
    except RequestFailed as error:
        findings.failure = str(error)
    return assemble(
        findings,
        live,
        plan_key="benchmark",
        ended=datetime(2000, 1, 1, tzinfo=timezone.utc),
        probe_seconds=engine.now_seconds(),
        spread=SPREAD,
    )


def one(number: int, seed: int) -> dict[str, Any]:
    """One drawn law, one probe; what it found beside the truth, each level of the curve too."""
    kinds = [kind for kind in KINDS if kind.__name__ in KNOWN]
    case = case_of(seed, number, kinds[number % len(kinds)], tokens_per_second=TOKENS_PER_SECOND)
    found = asyncio.run(probed(case, 1000 * seed + number))
    # A client takes a moment between two requests; that is part of a closed loop's cycle.
    closed = case.law.changed(ttft_base_ms=case.law.ttft_base_ms + 1000 * TURNAROUND_SECONDS)
    row = judged(found, truth(case.law, case.workload, case.slo, most=top_level(case)))
    quiet = dataclasses.replace(closed, foreign_streams=0)
    points = []
    for point in found.curve:
        true = throughput(quiet, case.workload, point.concurrency)
        rate = point.output_tokens_per_second
        points.append(
            {
                "concurrency": point.concurrency,
                "errorPercent": error_percent(rate, true),
                "covered": covers(rate, point.ci_percent, true),
                "clean": point.steady and not INVALIDATING & set(point.flags),
            }
        )
    capacity = found.capacity
    if capacity is not None and capacity.concurrency is not None:
        # The interval is of the throughput at the streams that were found, not of their number.
        true = throughput(quiet, case.workload, capacity.concurrency)
        row["capacityCovered"] = covers(capacity.output_tokens_per_second, capacity.ci_percent, true)
    return {"kind": case.name.split()[1], **row, "curve": points}


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    clean = [row for row in rows if row["clean"]]
    points = [point for row in clean for point in row["curve"] if point["clean"]]
    errors = [abs(row["capacityErrorPercent"]) for row in clean if row["capacityErrorPercent"] is not None]
    decode = [abs(row["decodeErrorPercent"]) for row in rows if row["decodeErrorPercent"] is not None]
    return {
        "runs": len(rows),
        "clean": len(clean),
        "decodeCoverage": _share([row["decodeCovered"] for row in clean]),
        "capacityCoverage": _share([row["capacityCovered"] for row in clean]),
        "curveCoverage": _share([point["covered"] for point in points]),
        "decodeWithin2Percent": _share([error <= 2 for error in decode]),
        "capacityWithin5Percent": _share([error <= 5 for error in errors]),
        "capacityMedianErrorPercent": statistics.median(errors) if errors else None,
        "runsWithMissingFlags": sum(bool(row["missing"]) for row in rows),
        "runsWithFalseFlags": sum(bool(row["false"]) for row in rows),
        "failed": sum(row["state"] == "Failed" for row in rows),
    }


def _share(outcomes: list[bool | None]) -> float | None:
    """Of those that are known."""
    known = [outcome for outcome in outcomes if outcome is not None]
    return round(sum(known) / len(known), 4) if known else None


def shown(rows: list[dict[str, Any]]) -> str:
    """A line a kind."""
    kinds = defaultdict(list)
    for row in rows:
        kinds[row["kind"]].append(row)
    found = {kind: summary(of_kind) for kind, of_kind in sorted(kinds.items())}
    columns = list(next(iter(found.values())))
    return table(["kind", *columns], [[kind, *line.values()] for kind, line in found.items()])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--runs", type=int, default=500)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    parser.add_argument("--again", action="store_true", help="measure what is in the file anew")
    parser.add_argument("--out", type=Path, default=None)
    options = parser.parse_args()
    cells = Cells(options.out or FOLDER / f"virtual-{options.seed}.json", again=options.again)
    todo = [number for number in range(options.runs) if f"{number:04}" not in cells]
    with ProcessPoolExecutor(options.jobs) as pool:
        size = math.ceil(len(todo) / options.jobs / 8) or 1
        found = pool.map(one, todo, [options.seed] * len(todo), chunksize=min(size, 10))
        for number, row in zip(todo, found, strict=True):
            cells.cells[f"{number:04}"] = row
            if number % 20 == 19:
                cells.write()
                print(f"{number + 1} of {options.runs}", flush=True)
    rows = list(cells.cells.values())
    cells.write(**summary(rows))
    print(shown(rows))
    print(cells.summary)


if __name__ == "__main__":
    main()
