"""How llama.cpp's threads should wait: spinning, sleeping, or as the launcher lets them, in turns.

    python -m benchmarks.llamacpp.waiting [--rounds 8] [--out FILE]

Output tokens per second of one engine, alone and beside a busy twin that waits as it does, with one and
four streams each. All engines are up from the start and stopped while they are not measured; the ways take
turns in each round. Each median is shown with how much of the machine other programs used; windows in which
that was more than --foreign are left out. With root the engines are first in line, and other programs only
fill the gaps in which threads sleep: what they use then follows from the way, so allow it (--foreign 1).
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import statistics
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.llamacpp.machine import first_in_line, own_ticks, used_ticks
from tools.engines import gguf_model

WAYS = {"active": {"OMP_WAIT_POLICY": "active"}, "passive": {"OMP_WAIT_POLICY": "passive"}, "launcher": {}}
FIXED = ("active", "passive")
CASES = ((1, 0), (4, 0), (1, 1), (4, 4), (1, 4), (4, 1))
"""Streams of the engine, streams of its twin."""
SETTLE_SECONDS, WINDOW_SECONDS = 2.5, 1.5


class Engine:
    """A server that is stopped whenever it is not measured, so that its threads do nothing at all."""

    def __init__(self, port: int, way: str, path: Path, threads: int | None) -> None:
        clean = {name: text for name, text in os.environ.items() if not name.startswith(("OMP_", "GOMP_"))}
        command = [sys.executable, "-m", "tacho_llamacpp", "-m", str(path), "--port", str(port)]
        command += ["-c", "8192", "-np", "4", "--cache-ram", "0", "--log-verbosity", "1"]
        command += ["--threads", str(threads)] if threads else []
        self.url = f"http://127.0.0.1:{port}"
        self.tokens = 0
        """Streamed so far, over all streams."""
        self.process = subprocess.Popen(command, env={**clean, **WAYS[way]}, stderr=subprocess.DEVNULL)
        for _ in range(600):
            with contextlib.suppress(OSError):
                urllib.request.urlopen(f"{self.url}/health", timeout=2).close()
                break
            time.sleep(0.1)
        self.process.send_signal(signal.SIGSTOP)

    @contextlib.contextmanager
    def loaded(self, streams: int) -> Iterator[None]:
        """``streams`` requests at a time, one after the other, cut off at the end."""
        over = threading.Event()
        threads = [threading.Thread(target=self._send, args=(over,)) for _ in range(streams)]
        self.process.send_signal(signal.SIGCONT)
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            over.set()
            for thread in threads:
                thread.join()
            self.process.send_signal(signal.SIGSTOP)

    def _send(self, over: threading.Event) -> None:
        body = {"prompt": list(range(100, 108)), "max_tokens": 128, "stream": True}
        body |= {"ignore_eos": True, "cache_prompt": False}
        request = urllib.request.Request(f"{self.url}/v1/completions", json.dumps(body).encode())
        while not over.is_set():
            with urllib.request.urlopen(request, timeout=300) as answer:
                for line in answer:
                    self.tokens += line.startswith(b"data: {")
                    if over.is_set():
                        break


@dataclass(frozen=True)
class Window:
    """One measurement."""

    round: int
    streams: int
    twin_streams: int
    way: str
    tokens_per_second: float
    foreign: float
    """Part of the machine's CPU time that neither the engines nor this program used."""


def measure(number: int, streams: int, twin_streams: int, way: str, engines: list[Engine]) -> Window:
    used = engines[: 2 if twin_streams else 1]
    with contextlib.ExitStack() as stack:
        for engine, load in zip(used, (streams, twin_streams), strict=False):
            stack.enter_context(engine.loaded(load))
        time.sleep(SETTLE_SECONDS)
        processes = [os.getpid(), *(engine.process.pid for engine in used)]
        (busy, total), own = used_ticks(), own_ticks(processes)
        tokens, start = engines[0].tokens, time.monotonic()
        time.sleep(WINDOW_SECONDS)
        tokens, took = engines[0].tokens - tokens, time.monotonic() - start
        (busy_after, total_after), own_after = used_ticks(), own_ticks(processes)
    foreign = ((busy_after - busy) - (own_after - own)) / max(1, total_after - total)
    return Window(number, streams, twin_streams, way, round(tokens / took, 1), round(max(0.0, foreign), 3))


def rounds(count: int, engines: dict[str, list[Engine]]) -> Iterator[Window]:
    for number in range(count):
        for streams, twin_streams in CASES:
            ways = list(engines)
            for way in ways[number % len(ways) :] + ways[: number % len(ways)]:
                yield measure(number, streams, twin_streams, way, engines[way])


def table(windows: list[Window], most_foreign: float) -> list[str]:
    """A line a case: each way's median and windows, and the launcher's part of the better fixed way."""
    lines = []
    for case in CASES:
        medians, words = {}, []
        for way in WAYS:
            of_case = [w for w in windows if w.way == way and (w.streams, w.twin_streams) == case]
            kept = [w for w in of_case if w.foreign <= most_foreign]
            if kept:
                medians[way] = statistics.median(w.tokens_per_second for w in kept)
            foreign = statistics.median(w.foreign for w in of_case)
            shown = f"{medians[way]:6.1f}" if way in medians else "     -"
            words.append(f"{way} {shown} (n={len(kept)}/{len(of_case)}, foreign {foreign:4.0%})")
        best = max((medians[way] for way in FIXED if way in medians), default=None)
        ratio = f"{medians['launcher'] / best:5.2f}" if best and "launcher" in medians else "    -"
        beside = f"beside {case[1]}" if case[1] else "alone"
        lines.append(f"{case[0]} stream(s) {beside:8} {'  '.join(words)}  ratio {ratio}")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument(
        "--model", type=Path, help="a GGUF file (SmolLM2-135M of the development environment)"
    )
    parser.add_argument("--threads", type=int, help="of each engine (the launcher's choice)")
    parser.add_argument("--cpus", type=int, help="use only the first CPUs of this machine")
    parser.add_argument("--foreign", type=float, default=0.1, help="most CPU use by others (0.1)")
    parser.add_argument("--port", type=int, default=18300, help="first of six (18300)")
    parser.add_argument("--out", type=Path, help="JSON file of all windows")
    asked = parser.parse_args()
    if asked.cpus:
        os.sched_setaffinity(0, set(sorted(os.sched_getaffinity(0))[: asked.cpus]))
    path, engines = asked.model or gguf_model(), {}
    with first_in_line() as rank, contextlib.ExitStack() as stack:
        conditions = (
            f"{len(os.sched_getaffinity(0))} CPUs, load {os.getloadavg()[0]:.1f} before the run, {rank}"
        )
        print(conditions, flush=True)
        for index, way in enumerate(WAYS):
            engines[way] = [Engine(asked.port + 2 * index + n, way, path, asked.threads) for n in (0, 1)]
            for engine in engines[way]:
                stack.callback(engine.process.wait)
                stack.callback(engine.process.kill)
        windows = list(rounds(asked.rounds, engines))
    lines = table(windows, asked.foreign)
    print("\n".join(lines))
    if asked.out:
        document = {"conditions": conditions, "summary": lines, "windows": [asdict(w) for w in windows]}
        asked.out.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
