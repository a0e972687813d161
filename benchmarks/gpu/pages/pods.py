"""Rows of pods: how they ended, what they needed, and what tacho adds to a start."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from benchmarks.gpu.pages import held
from benchmarks.gpu.pages.recorded import (
    MIXED_PODS,
    PODS,
    number,
    paragraph,
    pod,
    read,
    row,
    share,
)
from tacho_contract.units import GIB

TIMELINES = (*PODS, "vllm-w4a16-first", "small-4-api-servers", "refused")
"""Recorded changes of conditions, of all that were placed."""


def levels(names: Iterable[str] = (*PODS, *MIXED_PODS)) -> list[tuple[str, dict[str, Any], list[str]]]:
    """(cell, level, doubts) of every level that a pod measured."""
    found = []
    for name in names:
        measurement = pod(name)
        for level in measurement["curve"]:
            doubts = held.doubts(measurement, level, began_mixed=name in MIXED_PODS)
            found.append((f"pods/{name}", level, doubts))
    return found


def served(names: Iterable[str]) -> Iterable[str]:
    for name in names:
        found = pod(name)
        phases = [found["startup"].get(f"{phase}Seconds") for phase in ("load", "compile", "graph", "probe")]
        provisional = found["confidence"] == "Provisional"
        state = "provisional" if provisional else found["state"].lower()
        if found.get("flags"):
            state += f" ({', '.join(found['flags'])})"
        start = " + ".join(str(each) for each in phases if each is not None)
        yield row(f"[{name}]({name})", f"Ready; measurement {state}", start)


MEMORY = (
    ("weights GiB", "WeightsBytes", GIB, 3),
    ("KV-cache tokens", "KVCacheTokens", 1, 0),
    ("CUDA graphs GiB", "GraphBytes", GIB, 2),
    ("process GiB", "Bytes", GIB, 1),
)
"""Title, key in a measurement, unit and digits of each part of what was planned."""


def memory(found: dict[str, Any], of_weights: int = 3) -> dict[str, tuple[str, str]]:
    """Planned, and found with the plan's error, by part, of those that a measurement has both of.

    ``of_weights``: digits.
    """
    pairs = {}
    for title, key, unit, digits in MEMORY:
        planned, actual = (found.get(f"{side}{key}") for side in ("predicted", "actual"))
        if planned and actual:
            error = share(planned, actual)
            digits = of_weights if key == "WeightsBytes" else digits
            pairs[title] = number(planned / unit, digits), f"{number(actual / unit, digits)} ({error})"
    return pairs


def fits(names: Iterable[str]) -> Iterable[str]:
    for name in names:
        pairs = memory(pod(name)["memory"])
        yield row(name, *(" / ".join(pairs.get(title, "-")) for title, *_ in MEMORY))


def expected_capacity(predicted: dict[str, Any]) -> str:
    """Streams, and tokens a second."""
    rate = number(predicted["expectedCapacityTokensPerSecond"])
    return f"{predicted['expectedCapacityConcurrency']}, {rate}"


def capacity(found: dict[str, Any]) -> str:
    """The same as it was measured, with half of its interval."""
    rate, error = number(found["outputTokensPerSecond"]), number(found["ciPercent"], 1)
    return f"{found['concurrency']}, {rate} ± {error} %"


def seconds_of(name: str) -> dict[str, float]:
    """Seconds after `kubectl apply` of the plan, the pod's node, and the engine's first sign of life."""
    events = read(f"{name}/timeline.json")

    def first(kind: str, *reasons: str, text: str = "") -> float:
        return next(
            float(event["seconds"])
            for event in events
            if event["type"] == kind and event["reason"] in reasons and text in event["message"]
        )

    return {
        "planned": first("Planned", "PlanReady"),
        "placed": first("Ready", "PullingImages"),
        "loading": first("Ready", "Loading", text="the engine loads the model"),
    }


def starts() -> str:
    times = {name: seconds_of(name) for name in TIMELINES}
    plans = sorted(each["planned"] for each in times.values())
    engines = {name: each["loading"] - each["placed"] for name, each in times.items()}
    slowest = max(engines, key=lambda name: engines[name])
    ends = times[slowest]
    return paragraph(
        f"From `kubectl apply` to the plan {plans[0]:.1f} to {plans[-1]:.1f} s. From the pod's node to "
        f"its engine "
        f"{min(engines.values()):.1f} to {engines[slowest]:.1f} s (`{slowest}`: node at "
        f"{ends['placed']:.1f} s, "
        f"loading at {ends['loading']:.1f} s; timeline.json of each cell). The engine by hand beside "
        f"`tacho run`: "
        "[tacho's share of a start](matrix.md#starts)."
    )


def refused_after_seconds() -> float:
    """From its engine's start to the refusal of a pod."""
    events = read("refused/timeline.json")
    failed = next(event["seconds"] for event in events if event["reason"] == "InvalidConfig")
    return float(failed) - seconds_of("refused")["loading"]
