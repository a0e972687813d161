"""Steps of vLLM, from a trace of its profiler."""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path
from statistics import median

from benchmarks.gpu.step_profile import steps

ROOT = Path(__file__).resolve().parents[2]


def event(category: str, name: str, begins: float, lasts: float) -> dict[str, object]:
    return {"cat": category, "name": name, "ts": begins, "dur": lasts}


def test_a_step_is_what_its_annotations_enclose():
    name = "execute_context_2(1024)_generation_62(62)"
    found = steps(
        [
            event("user_annotation", name, 0, 9_000),
            event("gpu_user_annotation", name, 1_000, 10_000),
            event("user_annotation", "other", 0, 1),
            event("kernel", "a", 1_000, 2_000),
            event("kernel", "b", 2_000, 3_000),
            event("gpu_memcpy", "c", 10_500, 2_000),
            event("kernel", "later", 12_000, 5_000),
            event("cuda_runtime", "cudaLaunchKernel", 500, 1),
            event("cuda_driver", "cuLaunchKernelEx", 8_999, 1),
            event("cuda_runtime", "cudaGraphLaunch", 9_500, 1),
            event("cuda_runtime", "cudaMemcpyAsync", 600, 1),
        ]
    )
    assert found == [
        {"prompts": 2, "streams": 62, "gpu_ms": 10, "computing_ms": 4.5, "host_ms": 9, "launches": 2}
    ]


def test_the_page_says_what_the_recorded_steps_were():
    by_prompts = defaultdict(list)
    for step in json.loads((ROOT / "benchmarks/gpu/h100/steps/qwen2.5-3b.json").read_text()):
        by_prompts[step["prompts"]].append(step)
    middle = {
        prompts: {name: median(step[name] for step in found) for name in found[0]}
        for prompts, found in sorted(by_prompts.items())
    }
    alone, mixed = middle.pop(0), list(middle.values())
    page = " ".join((ROOT / "benchmarks/lab/planner.md").read_text().split())
    for told in (
        f"has {alone['launches']:.0f} launches, and its GPU is busy for {alone['computing_ms']:.1f} of "
        f"{alone['gpu_ms']:.1f} ms.",
        f"it has {mixed[0]['launches']:.0f}, takes {min(step['gpu_ms'] for step in mixed):.0f} to "
        f"{max(step['gpu_ms'] for step in mixed):.0f} ms",
        f"busy for {mixed[0]['computing_ms']:.1f} to {mixed[-1]['computing_ms']:.1f} ms.",
    ):
        assert told in page
