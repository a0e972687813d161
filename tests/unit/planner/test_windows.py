"""Models whose layers have windows: how many requests run, in words too, and what their steps read."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from benchmarks.planner.models import facts
from benchmarks.planner.placements import host, placement
from benchmarks.planner.windows import DATA, fewest_blocks, planned
from tacho_contract.units import GIB
from tacho_engines.base import Context
from tacho_engines.registry import planner_adapter
from tacho_engines.vllm.kv_blocks import WindowGroups
from tacho_operator.core.planner.speed import DecodeStep
from tests.unit.planner.choosing import fitting, refused

ROWS = json.loads(DATA.read_text(encoding="utf-8"))
VLLM = planner_adapter("vllm")
ON_H200 = {"gpu": {"products": ["H200"], "count": 1}, "engine": {"name": "vllm"}}
STORED = {**ON_H200, "quantization": {"method": "none"}}


def gemma(context: Context, device: str = "H200", **more):
    found = host(256 * GIB) if device == "host" else device
    return VLLM.account(
        placement("vllm", "gemma-3-27b-text", "none", found, version="0.32.0", **more), context
    )


# --- by vLLM's own scheduler ------------------------------------------------------------------------------
@pytest.mark.parametrize("name", sorted({row["name"] for row in ROWS}))
def test_vllms_scheduler_ran_what_the_planner_says_and_preempted_nothing(name: str) -> None:
    rows = [row for row in ROWS if row["name"] == name]
    assert len(rows) > 40
    for row in rows:
        length, step, requests = row["length"], row["step"], row["requests"]
        pool, in_flight_tokens = planned(name, length, step)
        assert row["inFlight"] == in_flight_tokens
        assert row["worst"] == pool.blocks_per_request(length, in_flight_tokens)
        assert row["blocks"] == fewest_blocks(name, length, step, requests) * row["share"] // 100
        if row["share"] == 100:
            assert row["preempted"] == 0, row
        else:
            assert row["running"] < requests or row["preempted"], row


def test_a_pool_as_planned_is_used_to_its_end() -> None:
    """Twelve requests of 16,384 tokens, in as many blocks as the planner says."""
    full = [row["usage"] for row in ROWS if row["requests"] == 12 and row["output"] == 64 and row["gap"] == 5]
    assert len(full) >= 6
    assert min(full) > 0.99


@pytest.mark.parametrize(
    ("window", "chunked", "tokens", "held", "most"),
    [
        (1024, False, 16384, 65, 577),
        (1024, False, 512, 33, 33),
        (1000, False, 16384, 64, 576),
        (8192, True, 16384, 512, 1024),
        (8192, True, 4096, 256, 256),
    ],
)
def test_blocks_of_windows(window: int, chunked: bool, tokens: int, held: int, most: int) -> None:
    """Blocks of 16 tokens, and 8,192 in flight: a window may have parts of one block more, a chunk not."""
    groups = WindowGroups(1, 16, window, chunked)
    assert (groups.held(tokens), groups.most(tokens, 8192)) == (held, most)


# --- the plan ---------------------------------------------------------------------------------------------
def test_gemma_3_27b_with_16_requests_of_16384_tokens_takes_what_was_seen() -> None:
    account = gemma(Context(16384, 16))
    assert account.requests_bytes(16) / GIB == pytest.approx(34.65, abs=0.01)
    assert 16 * account.request_bytes / GIB == pytest.approx(140.1, abs=0.1)
    assert account.requests_bytes(1) == account.request_bytes
    assert account.concurrency == pytest.approx(38, abs=0.5)


@pytest.mark.parametrize(("length", "concurrency"), [(16384, 16), (16384, 32), (32768, 16), (65536, 8)])
def test_what_was_refused_for_tokens_in_flight_fits(length: int, concurrency: int) -> None:
    context = {"maxModelLen": length, "concurrency": concurrency}
    found = fitting("gemma-3-27b-text", context=context, **STORED)
    assert found.predicted.max_concurrency > concurrency


def test_the_default_context_is_the_longest_with_windows() -> None:
    found = fitting("gemma-3-27b-text", **STORED)
    assert (found.max_model_len, found.concurrency) == (45824, 16)
    longer = refused("gemma-3-27b-text", context={"maxModelLen": 46080, "concurrency": 16}, **STORED)
    assert longer.failure.details["fitsMaxModelLen"] == "45824"
    assert f"KV cache {gemma(Context(46080, 16)).requests_bytes(16) / GIB:.1f} GiB" in longer.failure.message


def test_vllms_own_figures_are_named_as_such() -> None:
    found = fitting("gemma-3-27b-text", context={"maxModelLen": 16384, "concurrency": 16}, **STORED)
    assert "for 38.0 concurrent requests of 16384 tokens (vLLM logs 135744 tokens and 8.3x)" in found.message
    plain = fitting("llama-3.1-8b", context={"maxModelLen": 8192}, **ON_H200)
    assert "vLLM logs" not in plain.message
    assert plain.predicted.kv_cache_workload_tokens is None


def test_short_requests_keep_their_windows_whole() -> None:
    """45 blocks of 712 tokens in the full layers, and 46 of each of six groups: not a share of long ones."""
    found = fitting("gemma-3-27b-text", context={"maxModelLen": 16384, "concurrency": 16}, **STORED)
    seen = found.predicted
    blocks = seen.kv_cache_bytes / (10 * 16 * 256 * 2 * 16)
    assert seen.kv_cache_workload_tokens / 712 == pytest.approx(blocks / (45 + 6 * 46), rel=0.001)


def test_windows_charged_in_full_stay_so() -> None:
    account = gemma(Context(16384, 4), arguments=("--disable-hybrid-kv-cache-manager",))
    assert (account.in_flight_bytes, account.logged_concurrency) == (0, None)


def test_the_host_reserves_no_more_than_requests_hold() -> None:
    one, four = (gemma(Context(8192, count), "host") for count in (1, 4))
    assert one.cache_bytes == one.request_bytes
    assert four.cache_bytes == four.requests_bytes(4) < 4 * four.request_bytes
    assert four.cache_tokens == int(8192 * four.cache_bytes / four.request_bytes)


# --- what a step reads ------------------------------------------------------------------------------------
@pytest.mark.parametrize(("tokens", "gigabytes"), [(8192, 1.12), (512, 0.26)])
def test_a_step_reads_no_more_than_the_window(tokens: int, gigabytes: float) -> None:
    """52 of 62 layers look back 1,024 tokens; 8,192 bytes a token and layer."""
    asked = placement("vllm", "gemma-3-27b-text", "none", "H200")
    step = DecodeStep(
        placement=asked, weights_bytes=0, key_value_bytes=2.0, input_tokens=tokens, output_tokens=1
    )
    read = step.cache_bytes(1)
    assert read / 1e9 == pytest.approx(gigabytes, rel=0.02)
    whole = facts("gemma-3-27b-text").architecture
    wide = replace(whole, layer_groups=tuple(replace(g, window_tokens=0) for g in whole.layer_groups))
    unlimited = replace(step, placement=replace(asked, architecture=wide)).cache_bytes(1)
    assert (unlimited > read) is (tokens > 1024)
