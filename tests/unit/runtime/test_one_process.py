"""Metrics of several processes behind one port are no load: their counters fall and come back."""

from __future__ import annotations

import asyncio
import json
import random
import time
from itertools import pairwise
from pathlib import Path

import pytest

from tacho_operator.core.autoscaling.algorithm.guards import grown
from tacho_runtime.probe.load.engine_counters import EngineCounters
from tacho_runtime.supervisor.one_process import MetricsSource, OneProcess
from tests.unit.runtime.running import custom_config, running


def page(tokens: float, *, started: float | None = None, requests: float | None = None) -> str:
    lines = [f"vllm:generation_tokens_total {tokens}", "vllm:num_requests_running 1"]
    if started is not None:
        lines.append(f"process_start_time_seconds {started}")
    if requests is not None:
        lines.append(f"vllm:time_to_first_token_seconds_count {requests}")
    return "\n".join(lines)


async def read(*pages: str | None) -> list[float | None]:
    """The generated tokens that each reading has."""
    left = iter(pages)

    async def metrics() -> str | None:
        return next(left)

    source = OneProcess(metrics)
    return [(await source()).generated_tokens for _ in pages]


async def test_one_process_is_read_whatever_its_prompts_do_and_over_a_restart() -> None:
    prompts = [f"{page(tokens)}\nvllm:prompt_tokens_total {1000 - tokens}" for tokens in (1, 2, 3, 4)]
    assert await read(*prompts) == [1, 2, 3, 4]
    assert await read(page(90, started=1.0), page(5, started=2.0), page(9, started=2.0)) == [90, 5, 9]


async def test_counters_that_appear_one_by_one_after_a_restart_are_one_restart() -> None:
    """Labelled counters of Prometheus's libraries appear with the first request, or with its end."""
    start = "process_start_time_seconds"
    told = [page(90, started=1.0), f"{start} 2", page(5, started=2.0), page(6, started=2.0)]
    assert await read(*told) == [90, None, 5, 6]
    first_token = "vllm:time_to_first_token_seconds_count 1"
    assert await read(page(90, requests=9), first_token, page(5, requests=1)) == [90, None, 5]
    assert await read(page(90, requests=9), page(5), page(6, requests=1)) == [90, 5, 6]


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("told", [True, False])
async def test_of_two_in_turn_no_more_is_counted_than_was_served(seed: int, told: bool) -> None:
    chance, totals, real, pages = random.Random(seed), [0.0, 0.0], [], []
    for _ in range(60):
        totals = [totals[0] + 10, totals[1] + 15]
        real.append(sum(totals))
        which = chance.randrange(2)
        pages.append(page(totals[which], started=float(which) if told else None))
    found = await read(*pages)
    first = found.index(None)
    assert set(found[first:]) == {None}
    served = sum(grown(*pair) for pair in pairwise(found))
    assert served <= real[first]


async def test_two_of_the_same_size_are_seen_by_their_start() -> None:
    """No counter falls, and half of the load would be shown as the whole."""
    pages = [page(10.0 * number, started=float(number % 2)) for number in range(6)]
    assert await read(*pages) == [0, 10, None, None, None, None]


async def test_the_number_of_requests_shows_it_too() -> None:
    pages = [page(number, requests=requests) for number, requests in enumerate((9, 5, 10, 6))]
    assert await read(*pages) == [0, 1, 2, None]


async def test_a_page_that_is_missing_hides_no_change() -> None:
    assert await read(page(9), None, page(5), None, page(10), page(6)) == [9, None, 5, None, 10, None]
    started = [page(1, started=1.0), page(1), page(2, started=2.0), page(2), page(3, started=1.0)]
    assert await read(*started) == [1, 1, 2, 2, None]


def test_restarts_that_are_far_apart_are_restarts() -> None:
    source = MetricsSource()
    for now, tokens in enumerate((9.0, 5.0, 4.0)):
        source = source.after(EngineCounters(generated_tokens=tokens), 600.0 * now)
    assert not source.alternates(1200.0)
    source = source.after(EngineCounters(generated_tokens=3.0), 1500.0)
    assert source.alternates(1500.0)
    assert not source.alternates(1800.0), "for ten minutes there was one"


async def test_readings_do_not_overtake_each_other() -> None:
    delays, tokens = iter([0.06, 0.03, 0.0]), iter([1.0, 2.0, 3.0])

    async def metrics() -> str:
        text = page(next(tokens))
        await asyncio.sleep(next(delays))
        return text

    source = OneProcess(metrics)
    found = await asyncio.gather(*(source() for _ in range(3)))
    assert [one.generated_tokens for one in found] == [1, 2, 3]


async def test_it_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    await read(*(page(number % 2) for number in range(9)))
    assert caplog.text.count("several processes in turn") == 1


def test_a_runtime_whose_engine_has_two_workers_reports_no_load(tmp_path: Path) -> None:
    metrics = tmp_path / "metrics"
    metrics.write_text("1\nvllm:generation_tokens_total 1000")
    with running(custom_config(tmp_path, "--running", str(metrics)), tmp_path) as runtime:
        runtime.until_ready()
        for tokens in (1000, 300, 1050, 330):
            metrics.write_text(f"1\nvllm:generation_tokens_total {tokens}")
            time.sleep(1.1)  # /load is a second old at most
            load = json.loads(runtime.get("/load")[1])
        assert load.keys() == {"observedTime", "podUid"}
    assert "several processes in turn" in runtime.log()
