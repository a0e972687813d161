"""A real engine: llama.cpp on this machine's CPU, measured and compared with its own timings."""

from __future__ import annotations

import contextlib
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from tacho_runtime.probe.load import requests
from tacho_runtime.probe.load.socket_engine import SocketEngine
from tacho_runtime.probe.sequence import run_probe
from tests.unit.probe.engines import ask, live, target
from tools.engines import gguf_model

SLOTS, SLOT_TOKENS = 2, 1024


@contextlib.contextmanager
def llama_server(log: Path) -> Iterator[int]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    command = [
        sys.executable,
        "-m",
        "tacho_llamacpp",
        "--model",
        str(gguf_model()),
        "--alias",
        "smollm2",
        "--metrics",
    ]
    command += ["--port", str(port), "--ctx-size", str(SLOTS * SLOT_TOKENS), "--parallel", str(SLOTS)]
    with log.open("wb") as output, subprocess.Popen(command, stdout=output, stderr=output) as process:
        try:
            for _ in range(600):
                assert process.poll() is None, log.read_text()
                with contextlib.suppress(OSError):
                    if ask(port, "/health")[0] == 200:
                        break
                time.sleep(0.1)
            yield port
        finally:
            process.kill()


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    with llama_server(tmp_path_factory.mktemp("llama") / "log") as port:
        yield port


async def test_the_probe_agrees_with_the_engines_own_timings(port: int) -> None:
    goal = target(
        port,
        concurrency=SLOTS,
        slots=SLOTS,
        served_name="smollm2",
        engine="llamacpp",
        max_model_len=SLOT_TOKENS,
    )
    measured = await run_probe(
        goal, live(inputs=64, outputs=48, budget=10, timeout=90), plan_key="plan", rng=Random(1)
    )
    assert measured.state in ("Complete", "Partial"), measured.message
    single = measured.single_stream
    assert single is not None, measured.message
    own = re.search(r"own timings one stream ran at ([\d.]+) tokens per second", measured.message)
    assert own is not None, measured.message
    # The engine's timings include stalls, the reported rate leaves them out.
    with_stalls = single.decode_tokens_per_second * (1 - single.stalled_percent / 100)
    assert with_stalls == pytest.approx(float(own[1]), rel=0.15)
    assert measured.workload.input_tokens == 64
    assert measured.curve[0].concurrency == 1
    assert measured.capacity is not None
    assert {"CacheHit", "ShortOutput", "OtherTraffic"}.isdisjoint(measured.flags), measured.flags


async def test_each_request_is_exact_and_never_cached(port: int) -> None:
    goal = target(port, served_name="smollm2", engine="llamacpp", max_model_len=SLOT_TOKENS)
    engine = await SocketEngine.open(goal, Random(2))
    await engine.first_request(60)
    assert engine.max_model_len == SLOT_TOKENS
    assert engine.requests.request_format.dialect.name == "llamacpp"
    assert engine.requests.request_format.vocabulary == 49152
    for size in (17, 17, 40):
        stream = await engine.complete(size, 24, 60)
        assert stream.prompt_tokens == size
        assert stream.cached_tokens == 0
        assert stream.output_tokens == 24
        assert stream.finish_reason == "length"
        assert stream.engine_tpot_milliseconds is not None
        assert stream.tpot_milliseconds == pytest.approx(stream.engine_tpot_milliseconds, rel=0.15)


async def test_text_prompts_come_out_near_the_wanted_length(
    port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    offered = requests.request_formats
    monkeypatch.setattr(
        requests,
        "request_formats",
        lambda *a, **k: tuple(one for one in offered(*a, **k) if not one.token_ids),
    )
    goal = target(port, served_name="smollm2", engine="llamacpp", max_model_len=SLOT_TOKENS)
    measured = await run_probe(goal, live(inputs=100, outputs=16, budget=4, timeout=90), plan_key="plan")
    assert measured.single_stream is not None, measured.message
    assert measured.workload.input_tokens == pytest.approx(100, rel=0.1)
