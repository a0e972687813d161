"""docs/results/h200/vllm-0.32-pods.md: rollouts that the gate judged, and pods, with vLLM 0.32."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import yaml

from benchmarks.gpu.pages.h200_newest import memory
from benchmarks.gpu.pages.recorded import RAW, number, paragraph, resource, row

FOLDER = RAW / "vllm-0.32-pods"
PODS = ("llama-8b-warm", "llama-8b-awq", "llama-8b-w4a16", "llama-8b-bnb-nf4")
HEAD = """# Rollouts and pods with vLLM 0.32 on H200s

Written by `python -m benchmarks.gpu.pages` from [raw data](../../../benchmarks/gpu/h200/vllm-0.32-pods),
where the commands are. 2026-11-28, one host of two H200s with 32 cores as a Kubernetes node: vLLM 0.32 in a
stand-in image of the host's files, Llama-3.1-8B of random or made-up weights, 512 tokens in and 200 out.

## A server's rollouts, judged by its gate

`spec.rollout.gate: {}`, with a TTFT of 1 s and a TPOT of 25 ms for 95 of 100 requests. Each change was a
`kubectl patch`. The candidate started on the second GPU while the active revision served.

| change | decided after s | RolloutAccepted | measured: requests at once, tok/s |
| --- | --- | --- | --- |
"""
ROLLOUTS = """
- **First measurement** {ready} s after `kubectl apply`, from nothing: {load} s until the engine answered,
  {compiled} of them to compile, and {probe} s of probe.
- **{answered} short requests** went through the Service from the first measurement on, one each second.
  {failed}
- **Eager mode** alone misses the TPOT. It was measured twice, its pod was deleted, and the first revision
  served on.
- **More front ends** are no regression: {more}, where the first revision had a lower bound.
- **FP8** is another quantization method, so no default tolerance holds: it had to meet the service level.

The messages, as `kubectl` shows them:

"""
MEASURED = """
## Pods, one after the other

| pod | probe ends at | requests at once | tok/s | loop after it | expected by the plan |
| --- | --- | --- | --- | --- | --- |
"""
LOOPS = """
A loop of 30 s ran after each probe, on the same pod:

| pod | streams | probe, tok/s | loop, tok/s | TTFT p95 ms | TPOT p50, p95 ms | by Little's law |
| --- | --- | --- | --- | --- | --- | --- |
"""
END = """
- `llama-8b-warm` has the service level of the rollouts, and found compiled code. At 204 streams its loop
  still keeps both bounds, so the probe's {edge} streams are a little low. The rates differ by {apart:.1f} %.
- `llama-8b-bnb-nf4` says `Contended`: another pod was started on the node meanwhile. Its figures are
  provisional, and nothing acts on them.

## Memory

KV-cache tokens. The pods planned them before they started:

| start | weights GiB | planned before | planned now | found |
| --- | --- | --- | --- | --- |
"""


def status(name: str) -> dict[str, Any]:
    found: dict[str, Any] = resource(FOLDER / name)["status"]
    return found


def newest(name: str) -> dict[str, Any]:
    """The first measurement of a status: of the revision that serves, or of the candidate."""
    found: dict[str, Any] = status(name)["measurements"][0]
    return found


def page() -> str:
    return "".join([HEAD, *rollouts(), MEASURED, *pods(), LOOPS, *loops(), end(), *memory(FOLDER)])


def rollouts() -> Iterator[str]:
    folder = FOLDER / "rollouts"
    changes = json.loads((folder / "changes.json").read_text())
    edits = yaml.safe_load((FOLDER / "rollouts.yaml").read_text())["changes"]
    first, started = newest("rollouts/first.resource.yaml"), status("rollouts/first.resource.yaml")["startup"]
    yield row("`kubectl apply`", str(started["totalSeconds"]), "FirstRevision", carried(first))
    for change, edit in zip(changes, edits, strict=True):
        found = newest(f"rollouts/{change['name']}.resource.yaml")
        text = json.dumps(edit["spec"])
        yield row(f"`{text}`", str(change["seconds"]), change["reason"], carried(found))
    answers = json.loads((folder / "requests.json").read_text())
    failed = sum(answers.values()) - answers["answered"]
    more = newest("rollouts/front-ends.resource.yaml")["capacity"]
    yield ROLLOUTS.format(
        ready=started["totalSeconds"],
        load=started["loadSeconds"],
        compiled=started["compileSeconds"],
        probe=started["probeSeconds"],
        answered=answers["answered"],
        failed="None was lost." if not failed else f"{failed} had no answer.",
        more=f"{number(more['outputTokensPerSecond'])} tok/s, an {more['boundary']}",
    )
    for change in changes:
        yield paragraph(f"**{change['name']}**: {change['message']}", "- ")


def carried(found: dict[str, Any]) -> str:
    """The capacity in words."""
    capacity = found["capacity"]
    least = "at least " if capacity["boundary"] == "Floor" else ""
    rate = number(capacity["outputTokensPerSecond"])
    return f"{capacity['concurrency']}: {least}{rate} ± {capacity['ciPercent']} %"


def pods() -> Iterator[str]:
    for name in PODS:
        told = status(f"{name}/resource.yaml")
        found, planned = told["measurements"][0], told["plan"]["predicted"]
        capacity = found["capacity"]
        flags = ", ".join(found.get("flags") or ())
        loop = next((one for one in levels(name) if one["streams"] != 48), None)
        yield row(
            name,
            f"{capacity['boundary']} {flags}".strip(),
            str(capacity["concurrency"]),
            f"{number(capacity['outputTokensPerSecond'])} ± {capacity['ciPercent']} %",
            f"{number(rate(loop))} at {loop['streams']}" if loop else "-",
            f"{number(float(planned['expectedCapacityTokensPerSecond']))} at "
            f"{planned['expectedCapacityConcurrency']}",
        )


def levels(name: str) -> list[dict[str, Any]]:
    path = FOLDER / name / "truth.json"
    found: list[dict[str, Any]] = json.loads(path.read_text())["levels"] if path.exists() else []
    return found


def rate(level: dict[str, Any]) -> float:
    return float(level["output_tokens_per_second"]["server"])


def loops() -> Iterator[str]:
    for name in PODS:
        curve = {one["concurrency"]: one for one in newest(f"{name}/resource.yaml")["curve"]}
        for level in levels(name):
            probed = curve.get(level["streams"])
            tokens = float(probed["outputTokensPerSecond"]) if probed else None
            apart = "" if tokens is None else f" ({100 * (tokens / rate(level) - 1):+.2f} %)"
            yield row(
                name,
                str(level["streams"]),
                "-" if tokens is None else f"{number(tokens)}{apart}",
                number(rate(level)),
                number(level["ttft_ms"]["p95"]),
                f"{level['tpot_ms']['p50']:.1f}, {level['tpot_ms']['p95']:.1f}",
                number(level["streams_by_littles_law"]),
            )


def end() -> str:
    capacity = newest("llama-8b-warm/resource.yaml")["capacity"]
    (loop,) = levels("llama-8b-warm")
    apart = abs(100 * (float(capacity["outputTokensPerSecond"]) / rate(loop) - 1))
    return END.format(edge=capacity["concurrency"], apart=apart)
