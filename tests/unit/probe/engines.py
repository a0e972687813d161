"""Engines for the probe's tests: the mock as a process of its own, and what the probe is pointed at."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from typing import Any

from tacho_contract.launch import LiveConfig, ProbeSettings
from tacho_contract.measurement import Workload
from tacho_runtime.probe.target import ProbeTarget


@contextlib.contextmanager
def mock_engine(**options: object) -> Iterator[int]:
    """The port of a mock engine that answers; ``options`` are its command line's, with underscores.

    A process of its own: in the test's loop, its law and the probe's clock would disturb each other.
    """
    command = [sys.executable, "-m", "tools.mock.engine", "--port", "0"]
    for name, value in options.items():
        flag = "--" + name.replace("_", "-")
        command += [flag, str(value)] if not isinstance(value, bool) else [flag]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            assert line.startswith("listening on "), f"the mock engine did not start: {line!r}"
            yield int(line.split()[-1])
        finally:
            process.terminate()


def ask(port: int, path: str, body: Any = None) -> tuple[int, str]:
    """(status, body) of one request."""
    data = body if isinstance(body, bytes | None) else json.dumps(body).encode()
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", data=data)
    request.add_header("Content-Type", "application/json")
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def gauge(port: int, name: str) -> float:
    lines = ask(port, "/metrics")[1].splitlines()
    return sum(float(line.split()[-1]) for line in lines if line.startswith((name + "{", name + " ")))


def target(port: int, *, concurrency: int = 1, **changes: Any) -> ProbeTarget:
    values: dict[str, Any] = {
        "base_url": f"http://127.0.0.1:{port}",
        "served_name": "mock",
        "engine": "custom",
        "max_model_len": 4096,
        "concurrency": concurrency,
    }
    return ProbeTarget(**(values | changes))


def live(
    *, inputs: int = 64, outputs: int = 32, budget: int = 8, timeout: int = 30, policy: str = "Auto"
) -> LiveConfig:
    return LiveConfig(
        measure_key="measure",
        workload=Workload(input_tokens=inputs, output_tokens=outputs),
        probe=ProbeSettings(policy=policy, budget_seconds=budget, timeout_seconds=timeout),
    )
