"""How well a simulated replica has the latencies of the engine that it was measured of.

    python -m benchmarks.autoscaling.curves [FILE ...]

For each LLMDeployment that was measured (without arguments: all on the H200 that have a curve): the law
is made of its measurement, and streams at the simulated replica are told beside those at the engine.
``all``: the law knows the level. ``held out``: it was made without that level, so it shows what lies
between. ``open``: requests that came by themselves, and a law that does not know them. Writes curves.json
beside this file.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from tacho_operator.api.status.measurement import MeasurementEntry
from tacho_simulate.loops import closed_loop, open_loop
from tacho_simulate.measured_model import from_measurement
from tacho_simulate.performance_model import PerformanceModelError

HERE = Path(__file__).parent
MEASURED = sorted((HERE.parent / "engines" / "h200").glob("vllm-*.yaml")) + sorted(
    (HERE.parent / "llamacpp" / "h200").glob("*.yaml")
)
OPEN_REQUESTS = 4000
ROUNDS = 100
"""Requests of each stream: lengths of answers are drawn, and their median is to be that of all."""


def rows(name: str, entry: MeasurementEntry, slots: int | None) -> Iterator[dict[str, Any]]:
    shape = entry.workload
    assert shape is not None
    asked = {"input_tokens": shape.input_tokens or 0, "output_tokens": shape.output_tokens or 0}
    for point in entry.curve:
        others = [item for item in entry.curve if item is not point]
        without = entry.model_copy(update={"curve": others})
        inside = others and point.concurrency < max(item.concurrency for item in others)
        laws = {"all": entry, **({"held out": without} if inside and point.concurrency > 1 else {})}
        for known, source in laws.items():
            model = from_measurement(source, max_num_seqs=slots)
            found = closed_loop(
                model,
                concurrency=point.concurrency,
                pause_seconds=model.step_seconds(point.concurrency),
                rounds=ROUNDS,
                **asked,
            )
            yield {
                "engine": name,
                "streams": point.concurrency,
                "law": known,
                "ttftMs": both(found.ttft_seconds.p50, point.ttft_milliseconds_p50),
                "tpotMs": both(found.tpot_seconds.p50, point.tpot_milliseconds_p50),
                "endToEndMs": both(found.e2e_seconds.p50, point.end_to_end_milliseconds_p50),
                "tokensPerSecond": both(
                    found.output_tokens_per_second / 1000, point.output_tokens_per_second
                ),
                "ciPercent": point.ci_percent,
            }
    latency = entry.latency
    if latency and latency.open_loop and latency.offered_requests_per_second:
        model = from_measurement(entry.model_copy(update={"latency": None}), max_num_seqs=slots)
        ttft, tpot, whole = open_loop(
            model, latency.offered_requests_per_second, requests=OPEN_REQUESTS, **asked
        )
        yield {
            "engine": name,
            "requestsPerSecond": latency.offered_requests_per_second,
            "law": "open",
            "ttftMs": both(ttft, latency.ttft_milliseconds_p50),
            "tpotMs": both(tpot, latency.tpot_milliseconds_p50),
            "endToEndMs": both(whole, latency.end_to_end_milliseconds_p50),
            "requests": latency.requests,
        }


def both(seconds: float, milliseconds: float | None) -> dict[str, float] | None:
    """Simulated, measured, and how far apart in percent."""
    if milliseconds is None:
        return None
    return {
        "simulated": round(1000 * seconds, 2),
        "measured": milliseconds,
        "offPercent": round(100 * (1000 * seconds / milliseconds - 1), 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("files", nargs="*", type=Path)
    given = parser.parse_args()
    found: list[dict[str, Any]] = []
    for path in given.files or MEASURED:
        document = yaml.safe_load(path.read_text())
        slots = ((document.get("spec") or {}).get("context") or {}).get("concurrency")
        for item in (document.get("status") or {}).get("measurements") or []:
            try:
                found += rows(path.stem, MeasurementEntry.model_validate(item), slots)
            except PerformanceModelError as error:
                print(f"{path.stem}: {error}")
    for row in found:
        figures = (row.get(name) for name in ("ttftMs", "tpotMs", "endToEndMs", "tokensPerSecond"))
        off = "  ".join(f"{item['offPercent']:+6.1f}" if item else "     -" for item in figures)
        at = row.get("streams") or f"{row['requestsPerSecond']}/s"
        print(f"{row['engine']:16} {at!s:>7} {row['law']:9} {off}  (percent: TTFT, TPOT, E2E, tok/s)")
    if not given.files:
        (HERE / "curves.json").write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
