"""The mock engine itself: its law, its limits and its failures."""

from __future__ import annotations

import asyncio
import itertools
import json
import subprocess
import sys
import urllib.error
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.fakes.engine_law import Law, Scheduler, Sequence as Request
from tests.unit.probe.engines import ask, gauge, mock_engine

KEYS = itertools.count(100)
LAW = Law(ttft_base_ms=10, ttft_per_token_ms=0.1, itl_base_ms=2, itl_per_seq_ms=1)


def submit(scheduler: Scheduler, tokens: int, *, now: float = 0.0, prompt: int = 100, **more: Any) -> Request:
    values: dict[str, Any] = {"prompt_key": next(KEYS), "min_tokens": 0, "ignore_eos": True}
    return scheduler.submit(prompt_tokens=prompt, max_tokens=tokens, arrived=now, **(values | more))


class Clock:
    """Time that stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


async def play(scheduler: Scheduler, clock: Clock, seconds: float) -> None:
    """All that is due within ``seconds``, at its due time."""
    scheduler.start()
    clock.now += seconds
    for _ in range(20):
        await asyncio.sleep(0)
    await scheduler.stop()


async def chunks_of(request: Request) -> list[int]:
    found = []
    while not request.chunks.empty():
        found.append((await request.chunks.get())[0])
    return found


async def test_a_first_token_comes_by_the_law() -> None:
    clock = Clock()
    scheduler = Scheduler(LAW, clock)
    request = submit(scheduler, 3, prompt=100)
    await play(scheduler, clock, 0.0199)
    assert request.generated == 0
    await play(scheduler, clock, 0.0002)
    assert request.generated == 1
    assert request.first_token == pytest.approx(0.020)


@pytest.mark.parametrize("streams", [1, 4])
async def test_each_later_token_costs_by_how_many_run(streams: int) -> None:
    clock = Clock()
    scheduler = Scheduler(LAW, clock)
    requests = [submit(scheduler, 1000) for _ in range(streams)]
    await play(scheduler, clock, 0.020 + 50 * (0.002 + 0.001 * streams) + 1e-6)
    assert [request.generated for request in requests] == [51] * streams


async def test_tokens_come_in_chunks_after_the_first() -> None:
    clock = Clock()
    scheduler = Scheduler(LAW.changed(tokens_per_chunk=4), clock)
    request = submit(scheduler, 11)
    await play(scheduler, clock, 1)
    assert await chunks_of(request) == [1, 4, 4, 2]


@pytest.mark.parametrize(
    ("law", "asked", "tokens", "reason"),
    [
        ({"eos_after": 5}, {"ignore_eos": False}, 5, "stop"),
        ({"eos_after": 5}, {"ignore_eos": True}, 20, "length"),
        ({"eos_after": 5}, {"ignore_eos": False, "min_tokens": 8}, 8, "stop"),
        ({"eos_after": 5, "stubborn_eos": True}, {"ignore_eos": True}, 5, "stop"),
        ({"eos_after": 50}, {"ignore_eos": False}, 20, "length"),
    ],
)
async def test_where_output_ends(
    law: dict[str, Any], asked: dict[str, Any], tokens: int, reason: str
) -> None:
    clock = Clock()
    scheduler = Scheduler(LAW.changed(**law), clock)
    request = submit(scheduler, 20, **asked)
    await play(scheduler, clock, 1)
    assert (request.generated, request.finish_reason) == (tokens, reason)
    assert scheduler.totals.finished[reason] == 1


@pytest.mark.parametrize("law", [{"max_num_seqs": 2}, {"kv_tokens": 250}])
async def test_what_does_not_fit_waits_and_begins_when_one_ends(law: dict[str, Any]) -> None:
    clock = Clock()
    scheduler = Scheduler(LAW.changed(**law), clock)
    requests = [submit(scheduler, 11, prompt=100) for _ in range(3)]
    assert (len(scheduler.running), len(scheduler.waiting)) == (2, 1)
    await play(scheduler, clock, 1)
    # The first two end at 20 + 10 x 4 ms; the third has its first token 20 ms after that.
    assert requests[2].first_token == pytest.approx(0.080)
    assert (len(scheduler.running), len(scheduler.waiting)) == (0, 0)


async def test_an_aborted_request_gives_its_place_back() -> None:
    clock = Clock()
    scheduler = Scheduler(LAW.changed(max_num_seqs=1), clock)
    first, second = submit(scheduler, 1000), submit(scheduler, 2)
    scheduler.abort(first)
    await play(scheduler, clock, 1)
    assert second.generated == 2
    assert scheduler.totals.finished == {"stop": 0, "length": 1, "abort": 1}


async def test_an_equal_prompt_is_cached_and_faster() -> None:
    clock = Clock()
    scheduler = Scheduler(LAW, clock)
    submit(scheduler, 1, prompt=1001, prompt_key=7)
    await play(scheduler, clock, 1)
    again = submit(scheduler, 1, prompt=1001, prompt_key=7, now=1.0)
    await play(scheduler, clock, 1)
    assert again.cached_tokens == 992
    assert again.first_token == pytest.approx(1.0 + 0.010 + 0.0009)


def test_the_law_changes_while_it_runs() -> None:
    with mock_engine(ttft_base_ms=1, itl_base_ms=60_000, itl_per_seq_ms=0) as port:
        assert json.loads(ask(port, "/_law")[1])["itl_base_ms"] == 60_000
        status, text = ask(port, "/_law", {"itl_base_ms": 1.0, "max_num_seqs": 3})
        assert (status, json.loads(text)["max_num_seqs"]) == (200, 3)
        body = {"model": "mock", "prompt": [1000] * 4, "max_tokens": 5}
        status, text = ask(port, "/v1/completions", body)
        assert json.loads(text)["usage"]["completion_tokens"] == 5
        for nonsense in ({"no_such": 1}, {"itl_base_ms": "fast"}, b"{"):
            assert ask(port, "/_law", nonsense)[0] == 400


def test_gauges_show_what_runs_and_waits() -> None:
    body = {"model": "mock", "prompt": [1000] * 100, "max_tokens": 400}
    with mock_engine(itl_base_ms=20, max_num_seqs=2, kv_tokens=10_000) as port, ThreadPoolExecutor(3) as pool:
        answers = [pool.submit(ask, port, "/v1/completions", body) for _ in range(3)]
        while gauge(port, "vllm:num_requests_waiting") < 1:
            pass
        assert gauge(port, "vllm:num_requests_running") == 2
        assert 0.02 <= gauge(port, "vllm:kv_cache_usage_perc") < 0.1
        ask(port, "/_law", {"itl_base_ms": 0.0, "itl_per_seq_ms": 0.0})
        assert all(answer.result()[0] == 200 for answer in answers)
        assert gauge(port, "vllm:generation_tokens_total") == 1200


@pytest.mark.parametrize(
    ("mode", "said"),
    [
        ("crash", "told to crash"),
        ("oom", "CUDA out of memory"),
        ("kv-cache", "estimated maximum model length is 4096"),
    ],
)
def test_failures_at_start(mode: str, said: str) -> None:
    command = [sys.executable, "-m", "tests.fakes.engine", "--port", "0", "--fail", mode]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 1
    assert said in ended.stderr


def test_a_crash_after_some_requests() -> None:
    body = {"model": "mock", "prompt": "hello", "max_tokens": 1}
    with mock_engine(fail="crash-after:2", ttft_base_ms=1) as port:
        assert [ask(port, "/v1/completions", body)[0] for _ in range(2)] == [200, 200]
        with pytest.raises((urllib.error.URLError, ConnectionError)):
            ask(port, "/v1/completions", body)


def test_a_key_is_wanted_where_one_is_set() -> None:
    with mock_engine(api_key="secret") as port:
        assert ask(port, "/v1/models")[0] == 401
        assert ask(port, "/health")[0] == 200


def test_it_ends_on_sigterm_and_answers_only_after_its_startup() -> None:
    command = [sys.executable, "-m", "tests.fakes.engine", "--port", "0", "--startup-seconds", "0.2"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("listening on ")
        process.terminate()
        assert process.wait(timeout=20) == 0
