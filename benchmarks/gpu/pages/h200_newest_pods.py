"""benchmarks/lab/h200/vllm-0.32-pods.md: rollouts that the gate judged, and pods, with vLLM 0.32."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import yaml

from benchmarks.gpu.pages import loops
from benchmarks.gpu.pages.h200_newest import memory
from benchmarks.gpu.pages.loops import rate
from benchmarks.gpu.pages.recorded import RAW, bullets, fill, number, read, row, share, status

FOLDER = RAW / "vllm-0.32-pods"
PODS = ("llama-8b-warm", "llama-8b-awq", "llama-8b-w4a16", "llama-8b-bnb-nf4")


def newest(name: str) -> dict[str, Any]:
    """The first measurement of a status: of the revision that serves, or of the candidate."""
    found: dict[str, Any] = status(FOLDER / name)["measurements"][0]
    return found


def page() -> str:
    changes = read(FOLDER / "rollouts/changes.json")
    started = status(FOLDER / "rollouts/first.resource.yaml")["startup"]
    answers = read(FOLDER / "rollouts/requests.json")
    failed = sum(answers.values()) - answers["answered"]
    more = newest("rollouts/front-ends.resource.yaml")["capacity"]
    capacity, (loop,) = newest("llama-8b-warm/resource.yaml")["capacity"], levels("llama-8b-warm")
    return fill(
        "h200_newest_pods",
        rollouts=rollouts(changes, started["totalSeconds"]),
        ready=started["totalSeconds"],
        load=started["loadSeconds"],
        compiled=started["compileSeconds"],
        probe=started["probeSeconds"],
        answered=answers["answered"],
        failed="None was lost." if not failed else f"{failed} had no answer.",
        more=f"{number(more['outputTokensPerSecond'])} tok/s, an {more['boundary']}",
        messages=bullets(*(f"**{change['name']}**: {change['message']}" for change in changes)),
        pods=pods(),
        loops=loop_rows(),
        edge=capacity["concurrency"],
        apart=abs(100 * (float(capacity["outputTokensPerSecond"]) / rate(loop) - 1)),
        memory=memory(FOLDER),
    )


def rollouts(changes: list[dict[str, Any]], ready_seconds: int) -> Iterator[str]:
    edits = yaml.safe_load((FOLDER / "rollouts.yaml").read_text())["changes"]
    first = carried(newest("rollouts/first.resource.yaml"))
    yield row("`kubectl apply`", str(ready_seconds), "FirstRevision", first)
    for change, edit in zip(changes, edits, strict=True):
        found = newest(f"rollouts/{change['name']}.resource.yaml")
        text = json.dumps(edit["spec"])
        yield row(f"`{text}`", str(change["seconds"]), change["reason"], carried(found))


def carried(found: dict[str, Any]) -> str:
    """The capacity in words."""
    capacity = found["capacity"]
    least = "at least " if capacity["boundary"] == "Floor" else ""
    rate = number(capacity["outputTokensPerSecond"])
    return f"{capacity['concurrency']}: {least}{rate} ± {capacity['ciPercent']} %"


def pods() -> Iterator[str]:
    for name in PODS:
        found = newest(f"{name}/resource.yaml")
        planned = status(FOLDER / name / "resource.yaml")["plan"]["predicted"]
        capacity = found["capacity"]
        flags = ", ".join(found.get("flags") or ())
        loop = next((one for one in levels(name) if one["streams"] != 48), None)
        yield row(
            name,
            f"{capacity['boundary']} {flags}".strip(),
            str(capacity["concurrency"]),
            f"{number(capacity['outputTokensPerSecond'])} ± {capacity['ciPercent']} %",
            f"{number(rate(loop))} at {loop['streams']}" if loop else "-",
            f"{number(planned['expectedCapacityTokensPerSecond'])} at "
            f"{planned['expectedCapacityConcurrency']}",
        )


def levels(name: str) -> list[dict[str, Any]]:
    path = FOLDER / name / "truth.json"
    return loops.levels(path) if path.exists() else []


def loop_rows() -> Iterator[str]:
    for name in PODS:
        curve = {one["concurrency"]: one for one in newest(f"{name}/resource.yaml")["curve"]}
        for level in levels(name):
            probed, of_probe = curve.get(level["streams"]), "-"
            if probed:
                tokens = float(probed["outputTokensPerSecond"])
                of_probe = f"{number(tokens)} ({share(tokens, rate(level))})"
            yield row(
                name,
                str(level["streams"]),
                of_probe,
                number(rate(level)),
                number(level["ttft_ms"]["p95"]),
                f"{level['tpot_ms']['p50']:.1f}, {level['tpot_ms']['p95']:.1f}",
                number(level["streams_by_littles_law"]),
            )
