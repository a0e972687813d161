"""Where the probe's client stops keeping up, and whether it says so.

    python -m benchmarks.probe.ceiling [--steps 1000 5000 20000 50000] [--processes 4]

At each step mock engines that share a port stream so many chunks a second to so many streams, by a law that
no load changes; tacho probes them. A step is told truly when its highest level is within 2 % of the law, or
ClientBound says that the client was the limit. First the mock alone is measured, read by nobody: what it
could send. The mocks, and the probe's processes, need a CPU each.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import multiprocessing
import socket
import time
from pathlib import Path
from typing import Any

from benchmarks.probe.asking import lateness_milliseconds, mock, probe
from benchmarks.probe.judged import error_percent
from benchmarks.probe.results import FOLDER, Cells, table
from tacho_contract.measurement import Workload
from tools.mock.engine_law import Law
from tools.mock.engine_truth import throughput

STEPS = (1000, 2000, 5000, 10_000, 15_000, 20_000, 30_000, 40_000, 50_000)
STREAMS = 128
REQUEST_SECONDS = 2.0
QUIET = Law(ttft_base_ms=1.0, ttft_per_token_ms=0.0, itl_per_seq_ms=0.0, kv_tokens=10**12)


def counted(port: int, streams: int, seconds: float, chunks: Any) -> None:
    """Takes what comes and only counts bytes; puts the chunks a second of the later half into ``chunks``."""
    body = {"model": "mock", "prompt": [1000] * 8, "max_tokens": 10**7, "ignore_eos": True, "stream": True}
    text = json.dumps(body)
    head = f"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: {len(text)}\r\n\r\n"
    clients = [socket.create_connection(("127.0.0.1", port)) for _ in range(streams)]
    began = time.monotonic()
    for client in clients:
        client.sendall((head + text).encode())
    received, late, sample = 0, 0.0, b""
    while (now := time.monotonic()) < began + seconds:
        if now > began + seconds / 2 and not late:
            received, late = 0, now
        for client in clients:
            sample = client.recv(1 << 20)
            received += len(sample)
    chunk = len(sample) / max(1, sample.count(b"data: "))
    chunks.put(received / chunk / (time.monotonic() - late))
    for client in clients:
        client.close()


def mock_alone(processes: int, seconds: float = 6.0) -> float:
    """Chunks a second that come from the mock when its law asks for more than it can."""
    law = QUIET.changed(itl_base_ms=1000 * 32 * processes / 200_000)
    chunks: multiprocessing.Queue[float] = multiprocessing.Queue()
    with mock(law, processes=processes, max_model_len=10**8) as port:
        arguments = (port, 32 * processes, seconds, chunks)
        reader = multiprocessing.Process(target=counted, args=arguments)
        reader.start()
        rate = chunks.get()
        reader.join()
    return rate


def one(chunks_per_second: int, processes: int, budget_seconds: int) -> dict[str, Any]:
    law = QUIET.changed(itl_base_ms=1000 * STREAMS / chunks_per_second)
    # Requests of equal time: a window holds as many of them at every step.
    output_tokens = min(800, max(16, round(REQUEST_SECONDS / law.itl_seconds(1))))
    workload = Workload(input_tokens=64, output_tokens=output_tokens)
    with mock(law, processes=processes) as port:
        found = probe(port, workload, streams=STREAMS, slots=STREAMS, budget_seconds=budget_seconds)
        late = lateness_milliseconds(port)
    top = max(found.curve, key=lambda point: point.concurrency, default=None)
    true = throughput(law, workload, STREAMS)
    rate = top.output_tokens_per_second if top and top.concurrency == STREAMS else None
    error = error_percent(rate, true)
    said = "ClientBound" in found.flags
    return {
        "found": rate,
        "truth": true,
        "errorPercent": error,
        "clientBound": said,
        "told": said or (error is not None and abs(error) <= 2),
        "lateMs": round(late, 2),
        "flags": found.flags,
        "measurement": dataclasses.asdict(found),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--steps", type=int, nargs="+", default=STEPS)
    parser.add_argument("--processes", type=int, default=4, help="mock engines that share the port")
    parser.add_argument("--budget", type=int, default=45)
    parser.add_argument("--again", action="store_true", help="measure what is in the file anew")
    parser.add_argument("--out", type=Path, default=FOLDER / "ceiling.json")
    options = parser.parse_args()
    cells = Cells(options.out, again=options.again)
    alone = {str(count): round(mock_alone(count)) for count in sorted({1, options.processes})}
    print("chunks/s of the mock alone, by its processes:", alone, flush=True)
    for step in options.steps:
        if f"{step:06}" not in cells:
            cells.put(f"{step:06}", one(step, options.processes, options.budget))
    keys = ("truth", "found", "errorPercent", "clientBound", "told", "lateMs")
    print(
        table(
            ("chunks/s", *keys),
            [[int(name), *map(cell.get, keys)] for name, cell in sorted(cells.cells.items())],
        )
    )
    kept = [int(name) for name, cell in cells.cells.items() if not cell["clientBound"] and cell["told"]]
    told = all(cell["told"] for cell in cells.cells.values())
    cells.write(mockAlone=alone, keptUpTo=max(kept, default=0), allTold=told)
    print(cells.summary)


if __name__ == "__main__":
    main()
