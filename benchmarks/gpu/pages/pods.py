"""docs/results/h200/README.md: what a node of Kubernetes with one H200 gave, and what it says of starts."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from benchmarks.gpu.pages import held
from benchmarks.gpu.pages.recorded import (
    MIXED_PODS,
    PODS,
    RESULTS,
    number,
    paragraph,
    pod,
    read,
    resource,
    row,
    share,
)

TITLE = """# tacho on one NVIDIA H200

Written by `python -m benchmarks.gpu.pages`. How: [benchmarks/gpu](../../../benchmarks/gpu). The probe
beside long loops: [probe.md](probe.md).
"""
HEAD = """
## Small models, on the first host

A Kubernetes 1.36.3 node (containerd 1.6.20, runc 1.1.5) on a
bare host: Ubuntu 24.04, kernel 6.18, 16 virtual cores, cgroup v2, driver 580.159.04, torch 2.11.0 (CUDA
13.0), Python 3.12. The chart is as `helm template` renders it. A device plugin
(`tools/cluster/go-tools/device-plugin`) offers the GPU. The namespace enforces Pod Security `restricted`.
vLLM 0.26.0, Transformers 5.19.0 and bitsandbytes 0.50.2 are wheels in images whose lower layer is the
host's root. Models are random weights in the shapes of Llama 3.2 1B and Qwen3 0.6B. One run of each, on
2026-11-21.

| folder | ended as | start s: load + compile + graphs + probe |
| --- | --- | --- |
"""
ENDED = """| [does-not-fit](does-not-fit) | DoesNotFit, before a pod was made | |
| [refused](refused) | InvalidConfig, {refused:.1f} s after its engine started | |
| [Unschedulable](transformers-bnb-nf4/taken-describe.txt) | while vllm-bf16 had the GPU; it served after | |

Each served cell answered a chat completion through its Service. Each folder holds what was applied,
`kubectl get` and `describe`, the resource with its status, the events and the answer. Logs of engines and
the operator, pods and every change of a condition in seconds:
[benchmarks/gpu/h200](../../../benchmarks/gpu/h200).

"""
WITHDRAWN = """**Withdrawn.** None of the {levels} levels that these pods measured is shown: see
[outstanding](outstanding.md). Two GPUs and long steady loops are in [the matrix](matrix.md).

### Predicted before the start, and what the engine then said

Predicted / found, GiB beside tokens:

| folder | weights | KV-cache tokens | graphs | process |
| --- | --- | --- | --- | --- |
"""
FITTED = """
This was predicted at the time. The last two ran later that day, with graphs fitted on the others.
Transformers is planned for full contexts, and its requests held a fraction of them.
[Planner](../planner.md#memory) has what was learned since.

### What tacho adds to a start

"""
NOTES = """Most of a start is importing on these cores. Nothing compiled was kept, as no `spec.cache` was
given. Scheduling of all but the first includes the seconds in which the previous pod stopped.
"""
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


def spec(name: str) -> dict[str, Any]:
    """Of the resource."""
    found: dict[str, Any] = resource(RESULTS / f"h200/{name}/resource.yaml")["spec"]
    return found


def served(names: Iterable[str] = PODS) -> Iterable[str]:
    for name in names:
        found = pod(name)
        phases = [found["startup"].get(f"{phase}Seconds") for phase in ("load", "compile", "graph", "probe")]
        provisional = found["confidence"] == "Provisional"
        state = "provisional" if provisional else found["state"].lower()
        if found.get("flags"):
            state += f" ({', '.join(found['flags'])})"
        start = " + ".join(str(each) for each in phases if each is not None)
        yield row(f"[{name}]({name})", f"Ready; measurement {state}", start)


def fits(names: Iterable[str] = PODS) -> Iterable[str]:
    for name in names:
        memory = pod(name)["memory"]
        yield row(
            name,
            _pair(memory, "WeightsBytes", 2**30, 3),
            _pair(memory, "KVCacheTokens", 1, 0),
            _pair(memory, "GraphBytes", 2**30, 2),
            _pair(memory, "Bytes", 2**30, 1),
        )


def _pair(memory: dict[str, Any], what: str, unit: int, digits: int) -> str:
    predicted, actual = memory.get(f"predicted{what}"), memory.get(f"actual{what}")
    if not predicted or not actual:
        return "-"
    return (
        f"{number(predicted / unit, digits)} / {number(actual / unit, digits)} ({share(predicted, actual)})"
    )


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


def page(later: Iterable[str]) -> str:
    """``later``: the parts about the later hosts."""
    every = levels(PODS)
    shown = [name for name, _, doubts in every if not doubts]
    if shown:
        raise ValueError(f"levels of {shown} hold: the page has no place for them")
    failed = next(
        event["seconds"] for event in read("refused/timeline.json") if event["reason"] == "InvalidConfig"
    )
    after = failed - seconds_of("refused")["loading"]
    parts = [
        TITLE,
        *later,
        HEAD,
        *served(),
        ENDED.format(refused=after),
        WITHDRAWN.format(levels=len(every)),
        *fits(),
    ]
    return "".join([*parts, FITTED, starts(), "\n", NOTES])
