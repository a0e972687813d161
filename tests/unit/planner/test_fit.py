"""What fits a budget, and which context a placement is given."""

from __future__ import annotations

import pytest

from tacho_engines.base import Context
from tacho_engines.memory.account import Account
from tacho_operator.core.planner.fit import ContextRequest, fits, longest_fitting


# --- does it fit ------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("concurrency", "fields", "excess", "fitting"),
    [
        (1, {"budget_bytes": 160}, 0.0, True),
        (1, {"budget_bytes": 159}, 0.0, False),
        (2, {"budget_bytes": 169}, 0.0, False),
        (9, {"budget_bytes": None}, 0.0, True),
        (5, {"budget_bytes": 200, "cache_limit_bytes": 50}, 0.0, True),
        (1, {"budget_bytes": 199, "cache_limit_bytes": 50}, 0.0, False),
        (6, {"budget_bytes": 999, "cache_limit_bytes": 50}, 0.0, False),
        (6, {"budget_bytes": None, "cache_limit_bytes": 50}, 0.0, False),
        (1, {"budget_bytes": 160}, 0.25, True),
        (1, {"budget_bytes": 170}, 0.5, True),
        (1, {"budget_bytes": 169}, 0.5, False),
    ],
)
def test_what_fits_a_budget(concurrency, fields, excess, fitting):
    """Fixed: 140, of which 100 are weights; a quarter of the rest is the margin; a request takes 10."""
    account = Account(
        weights_bytes=100,
        cache_bytes=0,
        cache_tokens=0,
        concurrency=0,
        activation_bytes=40,
        other_bytes=0,
        fixed_bytes=140,
        request_bytes=10,
        **fields,
    )
    assert fits(account, concurrency, excess) == fitting


# --- the context ------------------------------------------------------------------------------------------
def room(tokens):
    """Fits: so many tokens in all."""
    return lambda length, concurrency: length * concurrency <= tokens


@pytest.mark.parametrize(
    ("longest", "tokens", "found"),
    [
        (1000, 1000, 1000),
        (1000, 999, 768),
        (1000, 256, 256),
        (1000, 255, None),
        (256, 255, None),
        (100, 99, None),
    ],
)
def test_the_longest_that_fits_is_in_steps_or_all_of_it(longest, tokens, found):
    assert longest_fitting(longest, 1, room(tokens)) == found


@pytest.mark.parametrize(
    ("length", "concurrency", "longest", "tokens", "found"),
    [
        (1024, 4, 8192, 4096, (1024, 4)),
        (1024, 4, 8192, 4095, None),
        (1024, None, 8192, 4096, (1024, 4)),
        (1024, None, 8192, 1023, None),
        (None, 4, 8192, 4 * 5000, (4864, 4)),
        (None, 4, 8192, 4 * 512, (512, 4)),
        (None, 4, 8192, 4 * 511, None),
        (None, None, 100_000, 2 * 8192, (8192, 2)),
        (None, None, 100_000, 2 * 8192 - 1, (16128, 1)),
        (None, None, 2048, 4 * 2048, (2048, 4)),
        (None, None, 8192, 511, None),
    ],
)
def test_the_context_that_is_chosen(length, concurrency, longest, tokens, found):
    wanted = ContextRequest(
        max_model_len=length,
        concurrency=concurrency,
        trained=longest,
        longest=longest,
        useful=512,
        default_concurrency=16,
    )
    assert wanted.choose(room(tokens)) == (found and Context(*found))


@pytest.mark.parametrize(
    ("length", "concurrency", "tokens", "least", "nearest"),
    [
        (4096, 4, 4 * 2048, (4096, 4), (2048, 4)),
        (4096, 4, 1024, (4096, 4), (256, 4)),
        (4096, 4, 1023, (4096, 4), (768, 1)),
        (4096, 4, 255, (4096, 4), None),
        (20_000, 1, 100_000, (20_000, 1), (16_384, 1)),
        (None, 1, 100_000, (512, 1), (8192, 1)),
        (None, 8, 8 * 256, (512, 8), (256, 8)),
        (None, None, 256, (512, 1), (256, 1)),
    ],
)
def test_what_comes_nearest_where_nothing_fits(length, concurrency, tokens, least, nearest):
    wanted = ContextRequest(
        max_model_len=length,
        concurrency=concurrency,
        trained=16_384,
        longest=8192,
        useful=512,
        default_concurrency=16,
    )
    assert wanted.smallest == Context(*least)
    assert wanted.nearest(room(tokens)) == (nearest and Context(*nearest))
