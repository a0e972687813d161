"""Pods on one H100: which of their figures hold."""

from __future__ import annotations

import pytest

from benchmarks.gpu.pages import h100_alone, h100_pods
from benchmarks.planner.models import facts


def test_levels_of_slow_engines_hold_or_say_why_not() -> None:
    assert {name: h100_alone.holding(h100_pods.measured(name)) for name in h100_pods.MEASURED} == {
        "llama-8b-ct2": [1],
        "transformers-int8": [1, 14],
    }
    assert "Streams whose level holds: 1 of `llama-8b-ct2`, 1 and 14 of" in " ".join(h100_pods.page().split())


def test_levels_of_a_gguf_pod_hold_or_say_why_not() -> None:
    _, table = h100_alone.gguf().split("\n## The measurement\n\n")
    holds = [line.strip(" |").split(" | ") for line in table.split("\n\n")[0].splitlines()[2:]]
    assert {int(cells[0]): cells[-1] for cells in holds} == {
        1: "3 requests",
        8: "4 requests",
        48: "rate x latency is 0.95 of the streams",
        103: "yes",
        140: "rate x latency is 0.97 of the streams",
        256: "± 29.9 %, rate x latency is 1.05 of the streams",
    }
    assert "**Levels.** 1 of 6 hold: that of 103 streams." in table


def test_of_pods_of_vllm_alone_on_an_h100_two_are_clean() -> None:
    found = {name: h100_pods.measured(name) for name in h100_pods.AGAIN}
    assert {name: (each["state"], each["confidence"]) for name, each in found.items()} == {
        "gpt-oss-20b": ("Partial", "Provisional"),
        "llama-8b-bnb-int8": ("Complete", "Clean"),
        "moe-bf16": ("Complete", "Clean"),
    }
    assert {name: h100_alone.holding(h100_pods.measured(name)) for name in h100_pods.AGAIN} == {
        "gpt-oss-20b": [1],
        "llama-8b-bnb-int8": [256],
        "moe-bf16": [1],
    }


def test_experts_held_back_are_as_near_as_the_goals() -> None:
    """Their constants are fitted on H200s alone. At 256 streams the pod's cache preempted."""
    levels = {
        each["concurrency"]: float(each["outputTokensPerSecond"])
        for each in h100_pods.measured("moe-bf16")["curve"]
        if each["concurrency"] < 256
    }
    found = h100_pods.expected(facts("qwen3-30b-a3b"), "none", *levels)
    assert found[0] == pytest.approx(levels.pop(1), rel=0.08)
    assert found[1:] == pytest.approx(list(levels.values()), rel=0.2)
