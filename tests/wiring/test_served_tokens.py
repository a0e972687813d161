"""The tokens that a resource has served, from counters of engines that fall now and then."""

from __future__ import annotations

import pytest

from tests.wiring.sampled import Looking
from tools.harness.world import world_of


@pytest.fixture
def looking() -> Looking:
    found = Looking(world_of())
    found.reconcile()
    return found


async def test_what_a_cache_provides_counts_no_prompt_twice(looking: Looking) -> None:
    """vLLM counts it when a prompt begins. The fall was taken for a restart: 2,003,000 tokens of 2,000."""
    prompts, outputs = (
        (1_000_000.0, 992_000.0, 1_001_000.0, 993_000.0, 1_002_000.0),
        iter(range(100_000, 100_009)),
    )
    for total in prompts:
        figures = {"prompt_tokens_total": total, "generation_tokens_total": float(next(outputs))}
        await looking.look(running=1, waiting=0, **figures)
    assert looking.sample("prompt_tokens_total") == 2000
    await looking.look(running=1, waiting=0, prompt_tokens_total=40.0, generation_tokens_total=5.0)
    assert looking.sample("prompt_tokens_total") == 2040, "the engine restarted"


async def test_an_engine_has_restarted_too_where_its_answers_are_longer_than_before(looking: Looking) -> None:
    """Else its prompts would count nothing until they are as many as all before."""
    figures = [(10.0, 10.0, 1000.0), (1.0, 500.0, 40.0), (2.0, 510.0, 80.0)]
    for requests, outputs, prompts in figures:
        await looking.look(
            running=1,
            waiting=0,
            first_tokens_total=requests,
            generation_tokens_total=outputs,
            prompt_tokens_total=prompts,
        )
    assert looking.sample("prompt_tokens_total") == 80
