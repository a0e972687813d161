"""The probe's own phases and statistics against mock engines on a clock that costs nothing.

    python -m benchmarks.probe.virtual --runs 280 [--jobs 1] [--seed N] [--budget SECONDS|plan]

All kinds of laws of benchmarks.probe.laws, behind the same scheduler and with the same truth. The seed comes
from the hash of the last commit that changed code, unless one is given: nothing was tuned to it. The probe is
told of no law's top. Goals for laws without stalls and foreign traffic: Edge or Plateau in 9 of 10, capacity
in tokens a second within 3 % (median), 5 % (8 of 10) and 20 % (all); disturbed laws are flagged. Intervals
are judged against the true edge. ``--budget plan``: each law's default budget, as of a plan that expects it.
``--apart``: the kinds whose TTFT has two humps or a heavy tail, judged by how many levels are falsely met.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
from collections import defaultdict
from concurrent.futures import ProcessPoolExecutor
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from random import Random
from statistics import fmean
from typing import Any

from benchmarks.probe.drawn import APART, KINDS, Case, case_of, kind_of, reach, seed_of_code
from benchmarks.probe.judged import judged
from benchmarks.probe.results import FOLDER, Cells, table
from tacho_contract.launch import LiveConfig, ProbeSettings
from tacho_contract.measurement import Measurement, samples_for
from tacho_operator.core.planner.probe_budget import RequestTimes, budget_of
from tacho_runtime.probe.load.timed_client import RequestFailed
from tacho_runtime.probe.report import assemble
from tacho_runtime.probe.sequence import CLOSING_SHARE, MeasureOptions, measure
from tacho_runtime.probe.session import SPREAD, ProbeClock, ProbeFindings
from tools.mock.engine_truth import Truth, level, truth
from tools.mock.virtual_engine import VirtualEngine

TOKENS_PER_SECOND = 6000.0
DISTURBED = ("stalling", "visited")


async def probed(case: Case, seed: int, *, budget_seconds: int, given: tuple[int, ...] = ()) -> Measurement:
    """A probe of the law in virtual time. ``given``: levels to measure in place of a search."""
    live = LiveConfig(
        measure_key="benchmark",
        workload=case.workload,
        slo=case.slo,
        probe=ProbeSettings(budget_seconds=budget_seconds, timeout_seconds=2 * budget_seconds),
    )
    engine = VirtualEngine(case.law, Random(seed), by_step=case.settings.get("counters") != "request")
    findings = ProbeFindings()
    clock = ProbeClock(
        now=engine.now_seconds,
        budget_ends=budget_seconds * (1 - CLOSING_SHARE),
        timeout_ends=2 * budget_seconds,
    )
    question = MeasureOptions(live=live, max_model_len=4096, streams=case.streams, given=given)
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


def planned_seconds(case: Case, true: Truth) -> int:
    """The default budget of a plan that expects this law."""
    prompt, capacity = case.law.ttft_seconds(case.workload.input_tokens, 0), true.capacity
    alone = prompt + case.workload.output_tokens / true.decode_tokens_per_second
    times = RequestTimes(
        prompt_seconds=prompt,
        alone_seconds=alone,
        loaded_seconds=max(alone, capacity.concurrency / capacity.requests_per_second),
        streams=capacity.concurrency,
        cohort=samples_for(case.slo.percentile),
    )
    return budget_of(times).seconds


def over_ttft(case: Case, found: Measurement) -> list[tuple[float, bool | None]]:
    """Of each level of several streams: the true per cent of requests over the limit of the TTFT, and whether
    the probe took the level for met."""
    limit = case.slo.ttft_milliseconds
    levels = [(level(case.law, case.workload, point.concurrency), point.slo_met) for point in found.curve]
    return [
        (round(100 * fmean(one > limit for one in true.ttft_milliseconds), 1), met)
        for true, met in levels
        if true.concurrency > 1
    ]


def one(number: int, seed: int, budget_seconds: int | None, apart: bool = False) -> dict[str, Any]:
    """One drawn law, one probe; what it found beside the truth. ``budget_seconds`` None: the plan's."""
    kinds = APART if apart else KINDS
    case = case_of(seed, number, kinds[number % len(kinds)], tokens_per_second=TOKENS_PER_SECOND)
    true = truth(case.law, case.workload, case.slo, most=reach(case))
    budget = budget_seconds or planned_seconds(case, true)
    found = asyncio.run(probed(case, 1000 * seed + number, budget_seconds=budget))
    row = judged(found, true)
    over = {"overTtft": over_ttft(case, found)} if apart else {}
    return {"kind": kind_of(case), "levels": len(found.curve), "budgetSeconds": budget, **row, **over}


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Capacity that is not told counts as wholly wrong."""
    errors = sorted(
        100.0 if row["capacityErrorPercent"] is None else abs(row["capacityErrorPercent"]) for row in rows
    )
    decode = [abs(row["decodeErrorPercent"]) for row in rows if row["decodeErrorPercent"] is not None]
    covered = [row["capacityCovered"] for row in rows if row["capacityCovered"] is not None]
    return {
        "runs": len(rows),
        "verifiedOrRefuted": _share([row["verified"] is not None for row in rows]),
        "edgeOrPlateau": _share([row["boundary"] in ("Edge", "Plateau") for row in rows]),
        "capacityMedianErrorPercent": statistics.median(errors) if errors else None,
        "capacityWithin5Percent": _share([error <= 5 for error in errors]),
        "capacityWorstErrorPercent": max(errors, default=None),
        "capacityCoverage": _share(covered),
        "decodeWithin2Percent": _share([error <= 2 for error in decode]),
        "medianSeconds": statistics.median(row["seconds"] for row in rows) if rows else None,
        "runsWithMissingFlags": sum(bool(row["missing"]) for row in rows),
        "runsWithFalseFlags": sum(bool(row["false"]) for row in rows),
        "failed": sum(row["state"] == "Failed" for row in rows),
    }


def _share(outcomes: list[bool]) -> float | None:
    return round(sum(outcomes) / len(outcomes), 4) if outcomes else None


def of_all(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Disturbed laws apart: beside foreign traffic, how many were flagged or within 5 % all the same."""
    visited = [row for row in rows if row["kind"] == "visited"]
    stalling = [row for row in rows if row["kind"] == "stalling"]
    return {
        "undisturbed": summary([row for row in rows if row["kind"] not in DISTURBED]),
        "stallsFlagged": _share([not row["missing"] for row in stalling]),
        "trafficFlaggedOrWithin5Percent": _share(
            [not row["missing"] or abs(row["capacityErrorPercent"] or 100.0) <= 5 for row in visited]
        ),
    }


def falsely_met(rows: list[dict[str, Any]]) -> dict[str, str]:
    """How many levels with so many per cent of requests or more over the limit of the TTFT counted as met."""
    levels = [one for row in rows for one in row["overTtft"]]
    found = {}
    for percent in (8, 10, 15):
        verdicts = [met for over, met in levels if over >= percent]
        found[f"metOver{percent}Percent"] = f"{sum(map(bool, verdicts))} of {len(verdicts)}"
    return found


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
    parser.add_argument("--runs", type=int, default=280)
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--budget", default="45", help="seconds a probe, or plan")
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    parser.add_argument("--again", action="store_true", help="measure what is in the file anew")
    parser.add_argument("--apart", action="store_true", help="two humps and heavy tails of the TTFT instead")
    parser.add_argument("--out", type=Path, default=None)
    options = parser.parse_args()
    seed = seed_of_code() if options.seed is None else options.seed
    budget = None if options.budget == "plan" else int(options.budget)
    asked = "the plan's budget" if budget is None else f"{budget} s"
    print(f"seed {seed}, {asked} a probe, one try a law", flush=True)
    out = options.out or FOLDER / ("virtual-apart.json" if options.apart else "virtual.json")
    cells = Cells(out, again=options.again)
    cells.keep_only(seed=seed, budgetSeconds=budget)
    todo = [number for number in range(options.runs) if f"{number:04}" not in cells]
    with ProcessPoolExecutor(options.jobs) as pool:
        found = pool.map(partial(one, seed=seed, budget_seconds=budget, apart=options.apart), todo)
        for number, row in zip(todo, found, strict=True):
            cells.cells[f"{number:04}"] = row
            if number % 20 == 19:
                cells.write(seed=seed, budgetSeconds=budget)
                print(f"{number + 1} of {options.runs}", flush=True)
    rows = list(cells.cells.values())
    told = {**summary(rows), **falsely_met(rows)} if options.apart else of_all(rows)
    cells.write(seed=seed, budgetSeconds=budget, **told)
    print(shown(rows))
    print(cells.summary)


if __name__ == "__main__":
    main()
