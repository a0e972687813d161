"""The whole probe against engines that are odd, slow, lying or dead."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from random import Random

import pytest

from tacho_contract.measurement import Measurement
from tacho_runtime.machine.sampling import MachineSample
from tacho_runtime.probe.sequence import run_probe
from tests.figures import BUSY
from tests.unit.probe.engines import ask, gauge, live, mock_engine, target

QUICK = {"ttft_base_ms": 10, "ttft_per_token_ms": 0.02, "itl_base_ms": 4, "itl_per_seq_ms": 0.1}


async def measured(port: int, *, concurrency: int = 2, **wanted: int) -> Measurement:
    return await run_probe(
        target(port, concurrency=concurrency, slots=concurrency),
        live(**({"inputs": 32, "outputs": 16, "budget": 2} | wanted)),
        plan_key="plan",
        rng=Random(1),
    )


async def test_nobody_listens() -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        result = await measured(held.getsockname()[1])
    assert result.state == "Failed"
    assert "cannot connect" in result.message
    assert "measure again" in result.message
    assert result.curve == ()


async def test_an_address_that_is_none() -> None:
    result = await run_probe(target(1, base_url="ftp://somewhere"), live(), plan_key="plan")
    assert result.state == "Failed"
    assert "http://" in result.message


@pytest.mark.parametrize("address", ["http://somewhere:http", "http://[::1", "somewhere:8000"])
async def test_only_an_address_that_is_none_is_told_to_be_one(address: str) -> None:
    result = await run_probe(target(1, base_url=address), live(), plan_key="plan")
    assert "set the probe's target" in result.message


async def test_an_error_of_its_own_is_not_the_addresss() -> None:
    def broken(_calibrate: bool) -> MachineSample:
        raise ValueError("no such CPU")

    with mock_engine(**QUICK) as port, pytest.raises(ValueError, match="no such CPU"):
        await run_probe(target(port), live(budget=2), plan_key="plan", machine=broken)


@pytest.mark.parametrize("mode", ["hang", "wedged"])
async def test_an_engine_that_never_answers_is_given_up_at_the_timeout(mode: str) -> None:
    began = time.monotonic()
    with mock_engine(fail=mode) as port:
        result = await measured(port, budget=1, timeout=3)
    assert result.state == "Failed"
    assert result.probe_seconds <= 3.5
    assert time.monotonic() - began < 20, "a wait without an end"
    assert "BudgetExhausted" in result.flags or "no full answer" in result.message


async def test_an_engine_that_refuses_all_is_quoted() -> None:
    with mock_engine(fail="errors") as port:
        result = await measured(port)
    assert result.state == "Failed"
    assert "refused every request format" in result.message
    assert "told to fail" in result.message


@pytest.mark.parametrize("mode", ["crash-after:12", "errors-after:12"])
async def test_what_was_found_before_a_crash_is_kept(mode: str) -> None:
    with mock_engine(**QUICK, fail=mode) as port:
        result = await measured(port)
    assert result.state == "Partial"
    assert result.message
    assert result.single_stream is not None
    assert result.curve[0].concurrency == 1


@pytest.mark.parametrize(
    "server",
    [
        {"no_token_prompts": True},
        {"no_continuous_usage": True, "tokens_per_chunk": 4},
        {"api_key": "secret"},
    ],
)
async def test_engines_with_less_are_measured_too(server: dict[str, object]) -> None:
    for _ in range(3):  # a busy machine may leave two streams without a steady rate
        with mock_engine(**QUICK, **server) as port:
            goal = target(port, concurrency=2, slots=2, api_key=str(server.get("api_key", "")))
            given = live(inputs=64, outputs=32, budget=6)
            result = await run_probe(goal, given, plan_key="plan", rng=Random(1))
        if result.state == "Complete":
            break
    assert result.workload.input_tokens == pytest.approx(64, abs=2)
    assert result.single_stream is not None
    if not BUSY.intersection(result.flags):
        assert result.state == "Complete", result.message
        assert result.single_stream.tpot_milliseconds_p50 == pytest.approx(4.1, rel=0.15)


async def test_an_engine_that_ends_early_is_flagged() -> None:
    with mock_engine(**QUICK, eos_after=9, stubborn_eos=True) as port:
        result = await measured(port)
    assert "ShortOutput" in result.flags


async def test_no_request_hits_the_cache() -> None:
    with mock_engine(**QUICK) as port:
        result = await measured(port, inputs=64)
        assert gauge(port, "vllm:prefix_cache_hits_total") == 0
        assert gauge(port, "vllm:prompt_tokens_total") >= 5 * 64, "there were requests to hit it"
    assert "CacheHit" not in result.flags


@pytest.mark.parametrize(("shared", "hit"), [(4, False), (40, True)])
async def test_a_cache_by_the_token_knows_how_every_text_begins(shared: int, hit: bool) -> None:
    """One token marks the beginning of a text here, and a few words may be others' by chance."""
    with mock_engine(**QUICK, no_token_prompts=True, shared_tokens=shared) as port:
        result = await measured(port, inputs=64, budget=3)
        assert gauge(port, "vllm:prefix_cache_hits_total") > 20
    assert ("CacheHit" in result.flags) == hit


async def test_a_workload_beyond_the_context_is_shortened_and_said() -> None:
    with mock_engine(**QUICK, max_model_len=128) as port:
        result = await measured(port, inputs=300, outputs=100, budget=4)
    assert result.state == "Complete", result.message
    assert result.workload.input_tokens + result.workload.output_tokens <= 128
    assert "300+100" in result.message
    assert "maxModelLen" in result.message
    assert all(clause and not clause.startswith("raise") for clause in result.message.split("; "))


async def test_others_traffic_is_noticed() -> None:
    async def chatter(port: int) -> None:
        body = {"model": "mock", "prompt": "hello", "max_tokens": 4000, "ignore_eos": True}
        await asyncio.gather(*(asyncio.to_thread(ask, port, "/v1/completions", body) for _ in range(2)))

    with mock_engine(**QUICK, max_model_len=8192) as port:
        others = asyncio.ensure_future(chatter(port))
        result = await measured(port)
        ask(port, "/_law", {"itl_base_ms": 0.0, "itl_per_seq_ms": 0.0})
        await others
    assert "OtherTraffic" in result.flags


async def test_cancelling_leaves_no_request_behind() -> None:
    with mock_engine(itl_base_ms=50) as port:
        probe = asyncio.ensure_future(measured(port, outputs=400, budget=30))
        while gauge(port, "vllm:num_requests_running") < 1:
            await asyncio.sleep(0.05)
        probe.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await probe
        for _ in range(100):
            if gauge(port, "vllm:num_requests_running") == 0:
                break
            await asyncio.sleep(0.05)
        assert gauge(port, "vllm:num_requests_running") == 0


async def test_after_a_probe_nothing_runs_any_more() -> None:
    said: list[str] = []
    with mock_engine(**QUICK) as port:
        await run_probe(
            target(port, concurrency=3, slots=3),
            live(inputs=32, outputs=16, budget=6),
            plan_key="plan",
            progress=said.append,
        )
        for _ in range(100):
            if gauge(port, "vllm:num_requests_running") == 0:
                break
            await asyncio.sleep(0.05)
        assert gauge(port, "vllm:num_requests_running") == 0
    assert said[-1].startswith("measuring ")
    assert "measuring 3 streams" in said


@contextlib.contextmanager
def _garbage(answer: bytes) -> Iterator[int]:
    """A server that says ``answer`` to whatever it is asked, once a connection."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.2)
        over = threading.Event()

        def run() -> None:
            while not over.is_set():
                with contextlib.suppress(OSError):
                    connection, _ = server.accept()
                    with connection:
                        connection.recv(65536)
                        connection.sendall(answer)

        thread = threading.Thread(target=run)
        thread.start()
        try:
            yield server.getsockname()[1]
        finally:
            over.set()
            thread.join()


@pytest.mark.parametrize(
    "answer",
    [
        b"SSH-2.0-OpenSSH_9\r\n",
        b"",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: {broken\n\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    ],
)
async def test_what_is_no_engine_fails_in_words(answer: bytes) -> None:
    with _garbage(answer) as port:
        result = await measured(port, budget=2, timeout=5)
    assert result.state == "Failed"
    assert result.message
