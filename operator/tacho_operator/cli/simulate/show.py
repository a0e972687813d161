"""What came of the runs, on stdout: for people or for programs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tacho_operator.cli.figures.digits import plain
from tacho_operator.cli.output.formats import Format, TraceFormat, print_document
from tacho_operator.cli.output.tables import columns, console, plain_table
from tacho_operator.cli.simulate.subject import Subject
from tacho_operator.simulate.result import Quantiles, Result
from tacho_operator.simulate.trace import Trace

NONE = "-"


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    trace: Trace
    about: Subject
    seed: int
    results: tuple[Result, ...]

    def cost(self, result: Result) -> float | None:
        """None: nobody said a price."""
        price = self.about.price_per_gpu_hour
        return None if price is None else result.cost(price, self.about.gpus_per_replica)


def show(outcome: Outcome, output: TraceFormat) -> None:
    if output is TraceFormat.json:
        print_document(document(outcome), Format.json)
        return
    trace, about = outcome.trace, outcome.about
    setting = about.setting
    screen = console()
    screen.print(
        f"{trace.name}: {len(trace)} requests in {_clock(trace.duration_seconds)}, "
        f"{setting.least} to {setting.most} replicas that start in {setting.cold_start_seconds:.0f} s"
        f"{_promised(about)}",
        highlight=False,
        markup=False,
        soft_wrap=True,
    )
    table = plain_table()
    headings = ["POLICY", "KEPT %", "GPU-H"]
    if about.price_per_gpu_hour is not None:
        headings.append(about.currency)
    headings += ["MOST", "CHANGES", "LOST", "TTFT P50 S", "P95", "P99", "E2E P50 S", "P99", "TPOT P95 MS"]
    columns(table, headings, right=set(headings[1:]))
    for result in outcome.results:
        table.add_row(*_row(outcome, result))
    screen.print(table)


def _row(outcome: Outcome, result: Result) -> Iterator[str]:
    yield result.policy
    share = 100 * result.slo_attainment
    yield "100" if share == 100 else f"{min(share, 99.99):.2f}"
    yield plain(result.gpu_hours * outcome.about.gpus_per_replica)
    cost = outcome.cost(result)
    if cost is not None:
        yield f"{cost:.2f}"
    yield str(max(moment.asked for moment in result.trajectory))
    yield str(len(result.decisions))
    yield str(result.unfinished)
    ttft, whole, tpot = result.ttft_seconds, result.e2e_seconds, result.tpot_seconds
    yield from (plain(value) for value in ttft) if ttft else [NONE] * 3
    yield from (plain(whole.p50), plain(whole.p99)) if whole else [NONE] * 2
    yield plain(1000 * tpot.p95) if tpot else NONE


def _promised(about: Subject) -> str:
    slo = about.slo
    parts = [
        f"{name} ≤ {value} ms"
        for name, value in (("TTFT", slo.ttft_milliseconds), ("TPOT", slo.tpot_milliseconds))
        if value
    ]
    said = f"promised {' and '.join(parts)}" if parts else "nothing is promised: what is answered is kept"
    return f"; {said}"


def _clock(seconds: float) -> str:
    return f"{seconds / 3600:.1f} h" if seconds >= 3600 else f"{seconds / 60:.1f} min"


def document(outcome: Outcome) -> dict[str, Any]:
    about = outcome.about
    setting = about.setting
    return {
        "trace": {
            "name": outcome.trace.name,
            "requests": len(outcome.trace),
            "durationSeconds": round(outcome.trace.duration_seconds, 3),
        },
        "setting": {
            "minReplicas": setting.least,
            "maxReplicas": setting.most,
            "coldStartSeconds": setting.cold_start_seconds,
            "ttftMilliseconds": about.slo.ttft_milliseconds or None,
            "tpotMilliseconds": about.slo.tpot_milliseconds or None,
            "gpusPerReplica": about.gpus_per_replica,
            "seed": outcome.seed,
        },
        "remarks": list(about.remarks),
        "runs": [_run(outcome, result) for result in outcome.results],
    }


def _run(outcome: Outcome, result: Result) -> dict[str, Any]:
    cost = outcome.cost(result)
    priced = {} if cost is None else {"cost": round(cost, 4), "currency": outcome.about.currency}
    return {
        "policy": result.policy,
        "gpuHours": round(result.gpu_hours * outcome.about.gpus_per_replica, 6),
        **priced,
        "sloAttainmentPercent": round(100 * result.slo_attainment, 4),
        "requests": result.requests,
        "unanswered": result.unfinished,
        "preemptions": result.preemptions,
        "ttftSeconds": _quantiles(result.ttft_seconds),
        "endToEndSeconds": _quantiles(result.e2e_seconds),
        "tpotSeconds": _quantiles(result.tpot_seconds),
        "replicas": [
            {"timeSeconds": round(moment.time_seconds, 3), "asked": moment.asked, "ready": moment.ready}
            for moment in result.trajectory
        ],
        "decisions": [
            {
                "timeSeconds": round(item.time_seconds, 3),
                "from": item.before,
                "to": item.after,
                "reason": item.sentence,
            }
            for item in result.decisions
        ],
    }


def _quantiles(found: Quantiles | None) -> dict[str, float] | None:
    return None if found is None else {name: round(value, 6) for name, value in found._asdict().items()}
