"""Open arrivals at real engines, beside the simulated replicas of their own measurements.

    python -m benchmarks.simulator [llamacpp] [vllm] [--runs 5] [--requests 60] [--shares 0.3,0.5,0.7]
    python -m benchmarks.simulator --url http://HOST:PORT --name vllm-gpu --slots 256 --workload 512:200 \\
        --requests 600                                                # a server that runs, as on a GPU

Starts each engine on one core of this CPU, measures it (``tacho probe``), and sends Poisson and bursty
arrivals at shares of the highest measured rate. Writes results/ENGINE-cpu.json and lab/simulator.md.
Half an hour an engine, in which nothing else should run on the machine.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

from benchmarks.simulator.arrivals import KINDS, drawn
from benchmarks.simulator.page import PAGE, RESULTS, lines, text
from benchmarks.simulator.server import ROOT, Server, serving
from benchmarks.simulator.traffic import ALONE, run
from tacho_contract.measurement import Workload

PROBE = "import sys; from tacho_cli.main import main; sys.exit(main())"
ENGINES = ("llamacpp", "vllm")
TRIES = 3
DIGITS = 5


def main() -> None:
    options = arguments()
    for engine in options.engines or ENGINES[: 1 if options.url else None]:
        name = options.name or f"{engine}-cpu"
        with (
            tempfile.TemporaryDirectory() as folder,
            _server(options, engine, Path(folder) / "log") as server,
        ):
            document = compare(name, server, options)
        print("\n".join(lines(name, document)))
    PAGE.parent.mkdir(parents=True, exist_ok=True)  # of a bare host, too
    PAGE.write_text(text())


def compare(name: str, server: Server, options: argparse.Namespace) -> dict[str, Any]:
    """The results of one engine, which are written as they come: cut off, each setting has its rounds."""
    entry = read(options.measurement) if options.measurement else measured(server.url, options)
    print(json.dumps(entry["curve"]), flush=True)
    document: dict[str, Any] = {
        "machine": machine(),
        "slots": options.slots,
        "measurement": entry,
        "runs": [],
    }
    shares = map(float, options.shares.split(","))
    for number, kind, share in product(range(options.runs), KINDS, shares):
        document["runs"].append(one_run(server, document, options, kind, share))
        write(name, document)
        print(f"{name}: {kind} {share} run {number + 1}", flush=True)
    return document


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("engines", nargs="*", choices=(*ENGINES, []))
    parser.add_argument("--url", default="")
    parser.add_argument("--name", default="")
    parser.add_argument("--slots", type=int, default=8)
    parser.add_argument("--workload", default="32:16")
    parser.add_argument("--budget", default="180s")
    parser.add_argument("--measurement", type=Path, help="JSON with status.measurements, instead of a probe")
    parser.add_argument("--shares", default="0.3,0.5,0.7")
    parser.add_argument("--requests", type=int, default=60)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--core", type=int, default=(os.cpu_count() or 1) - 1)
    return parser.parse_args()


@contextlib.contextmanager
def _server(options: argparse.Namespace, engine: str, log: Path) -> Iterator[Server]:
    if options.url:
        yield Server(options.url, 0, 0)
        return
    os.sched_setaffinity(0, set(range(os.cpu_count() or 1)) - {options.core} or {options.core})
    with serving(engine, options.slots, options.core, log) as server:
        yield server


def measured(url: str, options: argparse.Namespace) -> dict[str, Any]:
    """The entry of status.measurements, once a level of several streams was steady."""
    command = [sys.executable, "-c", PROBE, "probe", url, "-o", "json", "--workload", options.workload]
    command += ["--concurrency", str(options.slots), "--budget", options.budget]
    for _ in range(TRIES):
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False, cwd=ROOT)
        found: dict[str, Any] = json.loads(done.stdout)
        if any(level["steady"] and level["concurrency"] > 1 for level in found["curve"]):
            return found
    raise SystemExit("no level of several streams was steady: something else uses this machine")


def machine() -> str:
    """As the page names it: its GPU where it has one, and its CPUs."""
    cpus = f"{platform.machine()}, {os.cpu_count()} CPUs"
    try:
        command = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
        return f"{subprocess.check_output(command, text=True).splitlines()[0]}, {cpus}"
    except (OSError, subprocess.CalledProcessError, IndexError):
        return cpus


def write(name: str, document: dict[str, Any]) -> None:
    """A line for each run."""
    RESULTS.mkdir(exist_ok=True)
    rows = json.dumps(document).replace('{"arrivals"', '\n{"arrivals"')
    (RESULTS / f"{name}.json").write_text(f"{rows}\n")


def read(path: Path) -> dict[str, Any]:
    """The first entry of status.measurements in a file."""
    found: dict[str, Any] = json.loads(path.read_text())["status"]["measurements"][0]
    return found


def one_run(
    server: Server, document: dict[str, Any], options: argparse.Namespace, kind: Any, share: float
) -> dict[str, Any]:
    entry = document["measurement"]
    rate = share * max(float(level["requestsPerSecond"]) for level in entry["curve"])
    prompt, answer = entry["workload"]["inputTokens"], entry["workload"]["outputTokens"]
    workload = Workload(input_tokens=prompt, output_tokens=answer)
    seed = round(1000 * share)
    arrivals = drawn(kind, rate, options.requests, answer, seed)
    others, began = server.others_seconds() if server.pid else 0.0, time.monotonic()
    before = document["runs"][-1]["aloneSeconds"][ALONE:] if document["runs"] else []
    seed_of_prompts = len(document["runs"])
    found = run(
        server.url, arrivals, workload, seed=seed_of_prompts, cpus=os.cpu_count() or 1, alone_seconds=before
    )
    wall = time.monotonic() - began
    return {
        "arrivals": kind,
        "share": share,
        "requestsPerSecond": rate,
        "seed": seed,
        "othersPercent": round(100 * (server.others_seconds() - others) / wall, 1) if server.pid else 0.0,
        "aloneSeconds": [round(seconds, DIGITS) for seconds in found.alone_seconds],
        "requests": [
            [round(one.due, DIGITS), round(one.first, DIGITS), round(one.last, DIGITS), one.tokens]
            for one in found.answers
        ],
    }


if __name__ == "__main__":
    main()
