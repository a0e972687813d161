"""benchmarks/lab/simulator.md from the results; `make generate` writes it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from benchmarks.simulator.comparison import GOALS, Compared, compared

RESULTS = Path(__file__).with_name("results")
PAGE = Path(__file__).resolve().parents[2] / "benchmarks/lab/simulator.md"
HEAD = """# The simulated replica beside its engine

`python -m benchmarks.simulator` starts an engine, measures it with `tacho probe`, and sends Poisson and
bursty arrivals (variance of the intervals: four times a Poisson process') at rates that made no part of the
model. The simulator answers the same arrivals. Each cell is the median of the runs, measured / simulated, the
difference, and half the range of the runs. **Bold** is beyond the goal by more than that range.

Goals: throughput and TPOT within 5 %, TTFT and end to end within 15 %. A run is disturbed where others had
more than 5 % of the engine's core (known of one that was started for this), or where a single request
before or after it took 10 % longer or shorter than at the measurement. Disturbed runs count only where
there are no others.

"Alone": by how much single requests took longer around the runs than at the measurement. The last figure of
a cell is the difference of a replica that is slower by as much; it decides nothing.
"""
OFF = """## What is off, and why

- **vLLM on a CPU**: the engine was 1 to 4 % faster in the runs. A replica as fast keeps every goal.
- **llama.cpp, bursty**: eight streams were measured for 5 s, with 21 requests: a TPOT of 112 ms at 66.5
  tokens/s. In a window of 26 s it was 100 ms at 71.4, of a server whose single requests took 3 % less. The
  model's step of eight falls from 67 to 49 ms. By the gaps of running streams it takes 47 to 52 ms, and
  prompts add 122 to 130 ms each, however many come at once.
- The rest is the shape of its steps, of which the model knows levels and straight lines. With one KV cache
  for all slots, steps of one, two, three, four, six and eight streams take 7, 18, 28, 30, 41 and 48 ms.
  With one for each, as here, they take 7, 19, 28, 34, 49 and 52 ms: then only slots with consecutive
  numbers share a pass (`split_equal` in `llama-batch.cpp`). Which slots are busy is no part of a
  measurement.
- Its batches gain nothing, so near saturation small differences grow: a replica that is 4 % faster has 38
  points less TPOT at 70 % of the load. Of 78 open arrivals as the probe's, one draw in ten has a median
  TPOT below 39 ms and one above 85, by chance alone; 60 were measured. So they are no level of the model.
- **vLLM on an H200**: time was over before the fifth bursty runs at 50 and 70 %. Its level of 48 streams, in
  4.4 s, is known within 12 %: 10.6 ms, where loops of 64 had 10.5 and 10.9. From levels of 25 to 29 s, of
  another host, no cell misses its goal by more than the runs' spread. Nor does one on a third host, whose own
  levels took 30 to 32 s (`vllm-h200-levels`: `--measurement` of `tacho probe` with a `--budget` of 240s and
  `--levels 1,16,32,64,96,128,192,256`). That probe sent no single prompts yet: their speed is that of
  `vllm-h200`. Levels of a search are shorter. On the H100 long ones end the misses in bursty TPOT; that
  host's TTFTs are shorter.
- **vLLM on an H100, bursty TPOT**, from its own levels: of the requests of the bursty runs, and of Poisson's
  at 50 %, TPOT is 6.5 to 7.1 ms, 0.038 for each running request, and for each prompt that comes meanwhile
  9.8 to 11.7 ms in bursts and 13.6 in Poisson arrivals. So a step with prompts takes 2 to 3 ms longer,
  however many they are: no CUDA graph ([planner](../../docs/design/planner.md)). The model has that time in
  its decoding steps. One with all of an idle replica's TTFT in each step with prompts misses 8 of 96 cells
  from engines' own levels instead of 13. It is not used: over 95 measurements on an H200, levels that are
  left out are off by 6.2 instead of 5.9 % in TPOT, and two tests' levels by 12 % and more.
- Its budget of 8,192 tokens a step, where 2,048 are simulated, moves no cell by more than 4 points. Its
  scheduler plans a step ahead, so a first token waits for one step more beside others; the levels' TTFT
  have that.
"""


def lines(name: str, document: Mapping[str, Any]) -> Iterator[str]:
    workload = document["measurement"]["workload"]
    requests = len(document["runs"][0]["requests"])
    yield f"## {name}"
    yield ""
    yield (
        f"{document['machine']}. {workload['inputTokens']} tokens in and "
        f"{workload['outputTokens']} out, {document['slots']} at a time, {requests} requests a run:"
    )
    yield ""
    yield from _table(document)
    # A title to the measurement that the page names so: of the same engine, with other levels.
    for title, entry in document.get("others", {}).items():
        yield ""
        yield f"The same runs, simulated from {title}:"
        yield ""
        yield from _table({**document, "measurement": entry})


def _table(document: Mapping[str, Any]) -> Iterator[str]:
    yield f"| arrivals | load | runs | disturbed | alone | {' | '.join(GOALS)} |"
    yield f"|{'---|' * (5 + len(GOALS))}"
    for row in compared(document):
        cells = " | ".join(_cell(row, name) for name in GOALS)
        known = f"{row.kind} | {100 * row.share:.0f} % | {row.runs} | {row.disturbed}"
        yield f"| {known} | {row.longer_percent:+.0f} % | {cells} |"


def _cell(row: Compared, name: str) -> str:
    off = f"{row.off_percent(name):+.0f} %"
    off = off if row.kept(name) else f"**{off}**"
    figures = f"{_number(row.measured[name])} / {_number(row.simulated[name])}"
    return f"{figures}: {off} (± {row.spread_percent[name]:.0f}), {row.as_fast_percent(name):+.0f} %"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"


def text() -> str:
    parts = [HEAD]
    for path in sorted(RESULTS.glob("*.json")):
        document = json.loads(path.read_text())
        parts.append("\n".join(lines(path.stem, document)) + "\n")
    parts.append(OFF)
    return "\n".join(parts)
