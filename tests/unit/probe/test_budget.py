"""Whether a probe with the plan's budget ends its search and verifies it, in virtual time."""

from __future__ import annotations

import pytest

from tacho_contract.launch import ServiceLevel
from tacho_contract.measurement import Workload
from tacho_operator.core.planner.probe_budget import RequestTimes, budget_of
from tests.unit.probe.probing import probed
from tools.mock.engine_law import Law

ROOMY = Law(max_num_seqs=512, kv_tokens=10_000_000)
SLOW = ROOMY.changed(ttft_per_token_ms=0.1, itl_base_ms=38.0, itl_per_seq_ms=0.19)
"""As of a 70B: 63 streams at 50 ms a token."""


def budget_seconds(law: Law, tokens: int, streams: int) -> int:
    """As a plan would have it that expects just this law."""
    prompt = law.ttft_seconds(512, 0)
    times = RequestTimes(
        prompt_seconds=prompt,
        alone_seconds=prompt + tokens * law.itl_seconds(1),
        loaded_seconds=prompt + tokens * law.itl_seconds(streams),
        streams=streams,
        cohort=59,
    )
    return budget_of(times).seconds


@pytest.mark.parametrize(
    ("law", "tpot", "tokens", "streams", "budget"),
    [
        (ROOMY.changed(ttft_per_token_ms=0.02, itl_base_ms=5.6, itl_per_seq_ms=0.09), 25, 200, 204, 90),
        (ROOMY.changed(itl_base_ms=8.0, itl_per_seq_ms=0.5), 30, 200, 44, 90),
        (ROOMY.changed(ttft_per_token_ms=0.08, itl_base_ms=30.0, itl_per_seq_ms=0.2), 40, 100, 50, 90),
        (SLOW, 50, 200, 63, 120),
    ],
    ids=["8b", "four bits", "short answers", "70b"],
)
async def test_the_budget_suffices_for_the_search_and_the_arrivals(
    law: Law, tpot: int, tokens: int, streams: int, budget: int
) -> None:
    assert budget_seconds(law, tokens, streams) == budget
    shape, slo = Workload(output_tokens=tokens), ServiceLevel(tpot_milliseconds=tpot)
    for seed in range(3):
        measured = await probed(law, seed, slo, workload=shape, budget=budget)
        assert measured.capacity is not None
        assert measured.capacity.boundary in ("Edge", "Plateau"), measured.message
        assert measured.capacity.verified is not None
        assert measured.open_loop is not None
        assert measured.open_loop.requests >= 59


async def test_45_seconds_verify_nothing_of_a_70b() -> None:
    for seed in range(3):
        measured = await probed(SLOW, seed, ServiceLevel(tpot_milliseconds=50), budget=45)
        assert measured.capacity is not None
        assert measured.capacity.verified is None
