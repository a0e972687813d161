"""The latency curve of one server, over windows long enough for medians, as an entry that ``curves`` reads.

    python -m benchmarks.autoscaling.streams URL OUT.json [--levels 1,2,4,8] [--seconds 80] [--slots 8]
        [--workload 32:48] [--setting "what served"]

Streams that each send their next request when the last one has ended, with prompts that nobody has seen and
answers of 0.75 to 1.25 times the length, as the probe's are. A probe has seconds for a level and asks no more
than an interval needs; medians of a queue need hundreds of requests. Nothing else must run on the machine.
From end to end each counts as if its answer was of the workload's length, as with the probe. A prompt's
speed is the slope over two lengths, alone.
"""

from __future__ import annotations

import argparse
import http.client
import json
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from random import Random
from statistics import median
from typing import Any
from urllib.parse import urlsplit

WARM_SHARE = 0.15
"""Of a level's time, at its beginning: streams are out of step by then."""
ALONE_REQUESTS = 12
SHORT, LONG = 1, 4
"""Prompts of so many times the workload's."""
SPREAD = 0.25
TOKENS = (1000, 40_000)
"""From which prompts are drawn: words of the vocabulary, none of them special."""


@dataclass(frozen=True, slots=True)
class Answer:
    sent: float
    first: float
    last: float
    tokens: int


class Server:
    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._host, self._port = parts.hostname or "127.0.0.1", parts.port or 80

    def send(self, prompt: list[int], tokens: int) -> Answer:
        """Raises OSError, HTTPException or ValueError where there is no whole answer."""
        body = {
            "prompt": prompt,
            "max_tokens": tokens,
            "ignore_eos": True,
            "stream": True,
            "cache_prompt": False,
        }
        connection = http.client.HTTPConnection(self._host, self._port, timeout=300)
        sent = time.monotonic()
        connection.request("POST", "/v1/completions", json.dumps(body), {"Content-Type": "application/json"})
        times = []
        with connection.getresponse() as answer:
            if answer.status != http.HTTPStatus.OK:
                raise ValueError(f"{answer.status}: {answer.read()[:200]!r}")
            for line in answer:
                if line.startswith(b"data: {") and b'"finish_reason":null' in line.replace(b" ", b""):
                    times.append(time.monotonic())
        connection.close()
        if not times:
            raise ValueError("an answer without a token")
        return Answer(sent, times[0], times[-1], tokens)


def level(server: Server, streams: int, seconds: float, shape: tuple[int, int]) -> dict[str, Any]:
    """What so many streams see."""
    found: list[Answer] = []
    ends = time.monotonic() + seconds
    counting = set(range(streams))

    def stream(number: int) -> None:
        rng = Random(1000 * streams + number)
        while True:
            if time.monotonic() >= ends:
                counting.discard(number)
            if not counting:  # till then those that count have the company of all
                return
            least = round((1 - SPREAD) * shape[1])
            tokens = rng.randint(least, 2 * shape[1] - least)
            found.append(server.send([rng.randrange(*TOKENS) for _ in range(shape[0])], tokens))

    began = time.monotonic()
    threads = [threading.Thread(target=stream, args=(number,)) for number in range(streams)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    since = began + WARM_SHARE * seconds
    whole = [item for item in found if item.sent >= since and item.sent < ends]
    within = [item for item in found if since <= item.last < ends]
    gaps = [(item.last - item.first) / (item.tokens - 1) for item in whole]
    taken = [item.first - item.sent + (shape[1] - 1) * gap for item, gap in zip(whole, gaps, strict=True)]
    rate = sum(item.tokens for item in within) / (ends - since)
    return {
        "concurrency": streams,
        "requests": len(whole),
        "windowSeconds": str(round(ends - since, 1)),
        "outputTokensPerSecond": str(round(rate, 2)),
        "requestsPerSecond": str(round(len(within) / (ends - since), 3)),
        "ttftMillisecondsP50": str(round(1000 * median(item.first - item.sent for item in whole), 2)),
        "tpotMillisecondsP50": str(round(1000 * median(gaps), 3)),
        "endToEndMillisecondsP50": str(round(1000 * median(taken), 1)),
        "countedBy": "Client",
        "steady": True,
    }


def alone(server: Server, shape: tuple[int, int]) -> tuple[float, float]:
    """Seconds to the first token of a short and of a long prompt, with nothing else to do."""
    rng = Random(0)
    found = []
    for times in (SHORT, LONG):
        prompts = [[rng.randrange(*TOKENS) for _ in range(times * shape[0])] for _ in range(ALONE_REQUESTS)]
        answers = [server.send(prompt, 2) for prompt in prompts]
        found.append(median(item.first - item.sent for item in answers))
    return found[0], found[1]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("url")
    parser.add_argument("out", type=Path)
    parser.add_argument("--levels", default="1,2,4,8")
    parser.add_argument("--seconds", type=float, default=80)
    parser.add_argument("--slots", type=int, default=8)
    parser.add_argument("--workload", default="32:48")
    parser.add_argument("--setting", default="")
    given = parser.parse_args()
    prompt, answer = map(int, given.workload.split(":"))
    server, shape = Server(given.url), (prompt, answer)
    server.send(list(range(*TOKENS))[:prompt], answer)
    short, long = alone(server, shape)
    curve = []
    for streams in map(int, given.levels.split(",")):
        curve.append(level(server, streams, given.seconds, shape))
        print(json.dumps(curve[-1]), flush=True)
    single = {
        "requests": curve[0]["requests"],
        "ttftMillisecondsP50": str(round(1000 * short, 2)),
        "tpotMillisecondsP50": curve[0]["tpotMillisecondsP50"],
        "prefillTokensPerSecond": str(round((LONG - SHORT) * prompt / (long - short), 2)),
    }
    entry = {
        "fingerprint": "streams",
        "engine": "llamacpp",
        "workload": {"inputTokens": prompt, "outputTokens": answer, "outputSpreadPercent": "25"},
        "singleStream": single,
        "curve": curve,
    }
    document = {
        "setting": given.setting,
        "spec": {"context": {"concurrency": given.slots}},
        "status": {"measurements": [entry]},
    }
    given.out.write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main()
