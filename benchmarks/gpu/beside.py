"""``vllm bench serve``, the server's own counters and tacho's probe, one after the other on the same server.

    python -m benchmarks.gpu.beside URL TOKENIZER OUT.json [--model NAME] [--streams 1 16 64] [--input 512]
        [--output 200] [--rounds 3] [--range-ratio 0] [--budget 60s] [--engine-python PYTHON]
        [--serve ARGUMENT ...]

For each number of streams: tokens a second as the benchmark says, and as the server counted meanwhile; at the
end the probe's whole measurement. PYTHON has vLLM; by default it is this one. Nobody else may use the
server. With --serve it is started here, of the model in TOKENIZER's folder with these arguments, and stopped
at the end.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tacho_engines.run_parts import metric_names
from tacho_runtime.probe.load.engine_counters import parse_counters

VLLM = Path(__file__).with_name("vllm_command.py")
START_SECONDS = 300
SETTLE_SECONDS = 2.0
"""Counters are written a moment after the last answer."""


def generated(url: str) -> float:
    """Output tokens since the server's start, by its own counter."""
    with urllib.request.urlopen(f"{url}/metrics", timeout=30) as answer:
        return parse_counters(answer.read().decode(), metric_names()).generated_tokens or 0.0


def bench_arguments(options: argparse.Namespace, streams: int, folder: str) -> list[str]:
    """Closed loops; what it warms up with is not among the requests that it counts.

    Requests of one length that begin together stay together: all read prompts, then all write answers.
    Lengths that differ (``range_ratio`` r: evenly from 1 - r to 1 + r of their mean) mix the two, as users do
    and the probe.
    """
    return [
        *("--backend", "openai", "--base-url", options.url, "--model", options.model),
        *("--tokenizer", options.tokenizer, "--dataset-name", "random", "--ignore-eos"),
        *("--random-input-len", str(options.input), "--random-output-len", str(options.output)),
        *("--random-range-ratio", str(options.range_ratio), "--max-concurrency", str(streams)),
        *("--num-prompts", str(streams * options.rounds), "--percentile-metrics", "ttft,tpot,itl,e2el"),
        *("--save-result", "--result-dir", folder, "--result-filename", "result.json"),
    ]


def level(options: argparse.Namespace, streams: int) -> dict[str, Any]:
    """One number of streams by the benchmark, and by the counters around its whole run."""
    with tempfile.TemporaryDirectory() as folder:
        before, began = generated(options.url), time.monotonic()
        command = [
            options.engine_python,
            str(VLLM),
            "bench",
            "serve",
            *bench_arguments(options, streams, folder),
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        wall = time.monotonic() - began
        time.sleep(SETTLE_SECONDS)
        record: dict[str, Any] = {"streams": streams, "exit_code": done.returncode}
        found = Path(folder) / "result.json"
        if not found.exists():
            return {**record, "said": done.stderr.strip().splitlines()[-5:]}
        result = json.loads(found.read_text())
    lists = ("input_lens", "output_lens", "ttfts", "itls", "generated_texts", "errors", "start_times")
    return {
        **record,
        "wall_seconds": round(wall, 2),
        "counted_output_tokens": generated(options.url) - before,
        "bench": {key: value for key, value in result.items() if key not in lists},
    }


def probe(options: argparse.Namespace) -> dict[str, Any]:
    """What `tacho probe URL` says."""
    command = [sys.executable, "-m", "tacho_cli.main", "probe", options.url, "-o", "json"]
    command += ["--workload", f"{options.input}:{options.output}", "--budget", options.budget]
    command += ["--concurrency", str(max(options.streams)), "--model", options.model]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    shown = json.loads(done.stdout) if done.stdout.strip() else None
    return {"exit_code": done.returncode, "said": done.stderr.strip().splitlines()[-3:], "measured": shown}


@contextlib.contextmanager
def server(options: argparse.Namespace) -> Iterator[None]:
    """The server that was asked for, as long as it is needed; nothing where somebody else's is measured."""
    if options.serve is None:
        yield
        return
    port = options.url.rpartition(":")[2]
    command = [
        options.engine_python,
        str(VLLM),
        "serve",
        options.tokenizer,
        "--served-model-name",
        options.model,
    ]
    with options.out.with_suffix(".log").open("w") as log:
        process = subprocess.Popen(
            [*command, "--port", port, *options.serve],
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            wait_until_healthy(options.url, process)
            yield
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
            process.wait()


def wait_until_healthy(url: str, process: subprocess.Popen[bytes]) -> None:
    """Returns when the server answers; ends the program where it never will."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(OSError), urllib.request.urlopen(f"{url}/health", timeout=2):
            return
        time.sleep(0.5)
    sys.exit("the server did not start: its log is beside OUT.json")


def main() -> int:
    parser = argparse.ArgumentParser(prog="benchmarks.gpu.beside", description=__doc__)
    parser.add_argument("url")
    parser.add_argument("tokenizer")
    parser.add_argument("out", type=Path)
    parser.add_argument("--model", default="m")
    parser.add_argument("--streams", type=int, nargs="+", default=[1, 16, 64])
    parser.add_argument("--input", type=int, default=512)
    parser.add_argument("--output", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=3, help="requests of each stream")
    parser.add_argument("--range-ratio", type=float, default=0, help="how far lengths are from their mean")
    parser.add_argument("--budget", default="60s", help="of the probe")
    parser.add_argument("--engine-python", default=sys.executable)
    parser.add_argument("--serve", nargs=argparse.REMAINDER, metavar="ARGUMENT")
    options = parser.parse_args()
    with server(options):
        record: dict[str, Any] = {
            "command": sys.argv[1:],
            "levels": [level(options, n) for n in options.streams],
        }
        options.out.write_text(json.dumps(record, indent=1))
        record["probe"] = probe(options)
    options.out.write_text(json.dumps(record, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
