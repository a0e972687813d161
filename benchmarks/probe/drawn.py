"""Laws drawn by seed, each with a workload and a service level that has its edge inside what is tried."""

from __future__ import annotations

import dataclasses
import math
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any

from benchmarks.probe.results import ROOT
from tacho_contract.launch import ServiceLevel
from tacho_contract.measurement import Workload
from tools.mock.engine_law import Law
from tools.mock.engine_simulated import quantile
from tools.mock.engine_truth import level, truth

ROOMY = Law(max_num_seqs=512, kv_tokens=10_000_000)
"""Holds whatever is asked for."""
CODE = ("runtime", "operator", "tools", "benchmarks/probe/*.py")
REACH = 4
"""Of a case's streams, up to which the truth is looked for."""
MOST_RATE = 1.5
"""Of the tokens a second that the machine can stream, at most, where the service level breaks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    name: str
    law: Law
    workload: Workload
    slo: ServiceLevel
    streams: int
    """About as many as keep the service level."""
    settings: dict[str, Any]
    """Of the mock engine, beside its law."""


@dataclass(slots=True)
class Draft:
    """What a kind of law is made of."""

    rng: Random
    law: Law
    workload: Workload
    streams: int
    settings: dict[str, Any] = field(default_factory=dict)


def plain(draft: Draft) -> Law:
    return draft.law


def knee(draft: Draft) -> Law:
    at = max(2, round(draft.streams * draft.rng.uniform(0.2, 0.5)))
    return draft.law.changed(itl_knee=at, itl_per_seq_above_ms=draft.law.itl_seconds(at) * 1000 / at)


def few_at_a_time(draft: Draft) -> Law:
    return draft.law.changed(max_num_seqs=max(2, round(draft.streams * draft.rng.uniform(0.2, 0.5))))


def small_cache(draft: Draft) -> Law:
    request = draft.workload.input_tokens + draft.workload.output_tokens
    return draft.law.changed(kv_tokens=round(request * max(2.5, draft.streams * draft.rng.uniform(0.2, 0.5))))


def preempting(draft: Draft) -> Law:
    return small_cache(draft).changed(kv_policy="preempt")


def jittery(draft: Draft) -> Law:
    return draft.law.changed(jitter_cv=draft.rng.uniform(0.05, 0.3))


def speculative(draft: Draft) -> Law:
    return draft.law.changed(tokens_per_step=draft.rng.uniform(1.5, 3.5))


def stalling(draft: Draft) -> Law:
    return draft.law.changed(stall_every_ms=draft.rng.uniform(500, 2000), stall_ms=draft.rng.uniform(60, 250))


def visited(draft: Draft) -> Law:
    streams = max(1, round(draft.streams * draft.rng.uniform(0.1, 0.4)))
    return draft.law.changed(
        foreign_streams=streams,
        foreign_from_s=draft.rng.uniform(8, 20),
        foreign_seconds=draft.rng.uniform(8, 20),
    )


def slow_front_end(draft: Draft) -> Law:
    most = 1 / draft.law.itl_seconds(draft.streams) * draft.streams
    return draft.law.changed(frontend_us=1e6 / (most * draft.rng.uniform(0.3, 0.6)))


def hitting_cache(draft: Draft) -> Law:
    return draft.law.changed(cached_share=draft.rng.uniform(0.2, 0.8))


def cold(draft: Draft) -> Law:
    return draft.law.changed(cold_ms=draft.rng.uniform(100, 600))


def counted_late(draft: Draft) -> Law:
    draft.settings["counters"] = "request"
    return draft.law


def uncached(draft: Draft) -> Law:
    return draft.law.changed(prefix_caching=False)


KINDS: tuple[Callable[[Draft], Law], ...] = (
    plain, knee, few_at_a_time, small_cache, preempting, jittery, speculative, stalling, visited,
    slow_front_end, hitting_cache, cold, counted_late, uncached,
)  # fmt: skip


def two_humps(draft: Draft) -> Law:
    """From some level on several requests in a hundred wait much longer for their first token."""
    return draft.law.changed(
        ttft_slow_share=draft.rng.choice((0.1, 0.15, 0.25)),
        ttft_slow_ms=draft.rng.uniform(3, 10) * draft.law.ttft_base_ms + 200,
        ttft_slow_from=max(2, round(draft.streams * draft.rng.uniform(0.3, 0.8))),
    )


def heavy_tails(draft: Draft) -> Law:
    return draft.law.changed(
        ttft_tail=draft.rng.uniform(0.8, 1.5), ttft_per_running_ms=draft.rng.uniform(40, 200) / draft.streams
    )


APART: tuple[Callable[[Draft], Law], ...] = (two_humps, heavy_tails)
"""Kinds judged apart: the share of requests over a limit hardly tells one level from the next."""


def drawn(
    seed: int, count: int, *, tokens_per_second: float, kinds: Sequence[Callable[[Draft], Law]] = KINDS
) -> list[Case]:
    """``count`` cases; each kind before any comes again. None exceeds ``tokens_per_second`` by much: what
    the machine that plays engine and client can stream."""
    return [
        case_of(seed, number, kinds[number % len(kinds)], tokens_per_second=tokens_per_second)
        for number in range(count)
    ]


def case_of(seed: int, number: int, kind: Callable[[Draft], Law], *, tokens_per_second: float) -> Case:
    """The same for the same arguments, whatever else is drawn."""
    rng = Random(1000 * seed + number)
    while True:
        case = _drawn_case(rng, number, kind, tokens_per_second=tokens_per_second)
        true = truth(case.law, case.workload, case.slo, most=reach(case)).capacity
        if true.boundary == "Edge" and true.output_tokens_per_second <= MOST_RATE * tokens_per_second:
            return case


def _drawn_case(rng: Random, number: int, kind: Callable[[Draft], Law], *, tokens_per_second: float) -> Case:
    alpha_ms = math.exp(rng.uniform(math.log(2.5), math.log(40)))
    workload = Workload(
        input_tokens=rng.choice((64, 128, 256, 512, 1024)), output_tokens=rng.choice((32, 64, 128, 200))
    )
    fitting = tokens_per_second * alpha_ms / 1000
    streams = max(4, min(rng.choice((16, 32, 64, 128)), round(fitting)))
    # From hardly any slowing up to three times the time of one stream at the top.
    beta_ms = alpha_ms / streams * rng.choice((0.05, 0.3, 1.0, 2.0))
    law = ROOMY.changed(
        ttft_base_ms=rng.uniform(5, 60),
        ttft_per_token_ms=math.exp(rng.uniform(math.log(0.01), math.log(0.2))),
        ttft_per_running_ms=rng.choice((0.0, 0.0, rng.uniform(0, 40) / streams)),
        itl_base_ms=alpha_ms,
        itl_per_seq_ms=beta_ms,
        seed=number,
    )
    draft = Draft(rng, law, workload, streams)
    law = kind(draft)
    return Case(
        name=f"{number:02} {kind.__name__}",
        law=law,
        workload=workload,
        slo=_slo(rng, law, workload, streams),
        streams=streams,
        settings=draft.settings,
    )


def _slo(rng: Random, law: Law, workload: Workload, streams: int) -> ServiceLevel:
    """Whole milliseconds, with an edge where latencies really change from level to level: where they hardly
    do, no measurement can tell the level at which a limit breaks, and the limits are such that none does."""
    quiet = dataclasses.replace(law, foreign_streams=0, cached_share=0.0, cold_ms=0.0)

    def p95(at: int) -> tuple[float, float]:
        found = level(quiet, workload, max(1, min(streams, at)))
        return quantile(found.ttft_milliseconds, 0.95), quantile(found.tpot_milliseconds, 0.95)

    edge = max(1, round(streams * rng.uniform(0.3, 0.8)))
    (ttft, tpot), (ttft_top, tpot_top) = p95(edge), p95(streams)
    steep = p95(round(1.1 * edge) + 1)[1] > 1.05 * p95(round(0.9 * edge))[1]
    return ServiceLevel(
        ttft_milliseconds=math.ceil(1.3 * ttft if ttft_top > 2 * ttft else 1.3 * ttft_top) + 5,
        tpot_milliseconds=_between(tpot, p95, edge) if steep else math.ceil(1.02 * tpot_top),
    )


def _between(tpot: float, p95: Callable[[int], tuple[float, float]], edge: int) -> int:
    """Of the whole milliseconds near ``tpot`` the one farthest from what any level has."""
    levels = [p95(at)[1] for at in range(edge, round(1.3 * edge) + 2)]
    wanted = range(math.ceil(tpot), max(math.ceil(tpot) + 1, math.ceil(levels[-1])))
    return max(wanted, key=lambda limit: min(abs(limit / value - 1) for value in levels))


def reach(case: Case) -> int:
    """The most streams among which the truth is looked for; the probe is told of none."""
    return REACH * case.streams


def kind_of(case: Case) -> str:
    return case.name.split()[1]


def seed_of_code() -> int:
    """From the hash of the last commit that changed code."""
    command = ["git", "log", "-1", "--format=%h", "--", *CODE]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return int(done.stdout.strip()[:7], 16)
