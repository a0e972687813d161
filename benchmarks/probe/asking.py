"""Mock engines as processes of their own, and tacho's probe run against whatever answers."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from random import Random
from typing import Any

from tacho_contract.launch import LiveConfig, ProbeSettings, ServiceLevel
from tacho_contract.measurement import Measurement, Workload
from tacho_runtime.machine.sampling import sampler
from tacho_runtime.probe.sequence import run_probe
from tacho_runtime.probe.target import ProbeTarget
from tools.cluster.ports import free_port
from tools.engines import gguf_model
from tools.mock.engine_law import Law

START_SECONDS = 600.0
SMOLLM2 = "smollm2"
SMOLLM2_CONTEXT_TOKENS = 2048
"""What ``probe`` has to know of ``llamacpp``."""


@contextlib.contextmanager
def mock(law: Law, **settings: object) -> Iterator[int]:
    """The port of a mock engine with ``law``; ``settings`` are its other options."""
    plain = Law()
    options = {
        name: value for name, value in dataclasses.asdict(law).items() if value != getattr(plain, name)
    }
    command = [sys.executable, "-m", "tools.mock.engine", "--port", "0"]
    for name, value in {**options, **settings}.items():
        flag = name.replace("_", "-")
        command += [f"--{'' if value else 'no-'}{flag}"] if isinstance(value, bool) else [f"--{flag}={value}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            if not line.startswith("listening on "):
                raise SystemExit(f"the mock engine did not start: {' '.join(command)}")
            yield int(line.split()[-1])
        finally:
            process.terminate()


def lateness_milliseconds(port: int) -> float:
    """By how much the mock's tokens came too late at the 95th percentile: a busy machine keeps no law."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/_lateness", timeout=10) as answer:
        return float(json.load(answer)["p95_ms"])


@contextlib.contextmanager
def llamacpp(threads: int, *, slots: int = 4, context: int = 8192) -> Iterator[int]:
    """The port of llama.cpp with SmolLM2-135M-Instruct that answers."""
    port = free_port()
    command = [sys.executable, "-m", "tacho_llamacpp", "-m", str(gguf_model()), "--port", str(port)]
    command += ["-c", str(context), "-np", str(slots), "--threads", str(threads), "--metrics"]
    command += ["--cache-ram", "0", "--log-verbosity", "1"]
    with served(command, port):
        yield port


@contextlib.contextmanager
def served(command: list[str], port: int, **environment: str) -> Iterator[None]:
    """``command`` until the body is over; begins once it is healthy. Raises SystemExit when it ends."""
    with subprocess.Popen(command, stderr=subprocess.DEVNULL, env={**os.environ, **environment}) as process:
        try:
            deadline = time.monotonic() + START_SECONDS
            while time.monotonic() < deadline and process.poll() is None:
                with contextlib.suppress(OSError):
                    urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=2).close()
                    break
                time.sleep(0.2)
            else:
                raise SystemExit(f"{command[2]} did not start")
            yield
        finally:
            process.terminate()


def probe(
    port: int,
    workload: Workload,
    *,
    slo: ServiceLevel | None = None,
    streams: int,
    name: str = "mock",
    engine: str = "custom",
    max_model_len: int = 4096,
    budget_seconds: int = 45,
    seed: int = 0,
    **target: Any,
) -> Measurement:
    """One full probe over sockets, as the runtime runs it."""
    aim = ProbeTarget(
        base_url=f"http://127.0.0.1:{port}",
        served_name=name,
        engine=engine,
        max_model_len=max_model_len,
        concurrency=streams,
        **target,
    )
    live = LiveConfig(
        measure_key="benchmark",
        workload=workload,
        slo=slo or ServiceLevel(),
        probe=ProbeSettings(budget_seconds=budget_seconds, timeout_seconds=2 * budget_seconds),
    )
    return asyncio.run(run_probe(aim, live, plan_key="benchmark", rng=Random(seed), machine=sampler()))
