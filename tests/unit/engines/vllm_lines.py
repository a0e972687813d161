"""Every kind of command line that a plan makes for vLLM."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.planner.models import facts
from benchmarks.planner.placements import host, placement
from tacho_engines.base import Context, Placement
from tacho_engines.registry import planner_adapter, runtime_adapter
from tests.launching import runtime_config

CHECKPOINTS = {
    "none": "llama-3.1-8b",
    "fp8": "llama-3.1-8b",
    "bnb-nf4": "llama-3.1-8b",
    "awq": "qwen2.5-7b-awq",
}
OPTIONS = (
    {},
    {"kv_cache_dtype": "fp8"},
    {"trust_remote_code": True},
    {"arguments": ("--gpu-memory-utilization=0.8", "--max-num-seqs", "64")},
)
ENTRYPOINTS = (("vllm", "serve"), ("python3", "-m", "vllm.entrypoints.openai.api_server"))


def placements(version: str) -> Iterator[Placement]:
    """Methods, old and new GPUs, one and several, shared memory budgets, experts, the host."""
    for method, model in CHECKPOINTS.items():
        for device in ("T4", "L4", "H200"):
            for options in OPTIONS:
                yield placement("vllm", facts(model), method, device, version=version, **options)
        yield placement("vllm", facts(model), method, "L4", version=version, tensor=2, pipeline=2, count=4)
    yield placement("vllm", facts("qwen3-30b-a3b"), "none", "H200", version=version)
    for options in (
        {},
        {"trust_remote_code": True},
        {"arguments": ("--kv-cache-memory-bytes", "1000000000")},
    ):
        yield placement(
            "vllm", facts("qwen2.5-0.5b"), "none", host(2**36), version=version, count=0, **options
        )


def lines(version: str) -> Iterator[tuple[str, ...]]:
    """The arguments as the pod's process gets them."""
    for asked in placements(version):
        for context in (Context(256, 1), Context(8192, 16), Context(1024, 3000)):
            adapter = planner_adapter("vllm")
            frozen = adapter.arguments(asked, context) + adapter.larger_graphs(asked, context).arguments
            for entrypoint in ENTRYPOINTS:
                config = runtime_config(
                    revision="r",
                    plan_key="k",
                    engine="vllm",
                    entrypoint=entrypoint,
                    model_path="/m",
                    served_name="m",
                    max_model_len=context.max_model_len,
                    concurrency=context.concurrency,
                    extra_args=(*frozen, *asked.options.arguments),
                )
                yield runtime_adapter("vllm").command(config, "/m")[len(entrypoint) :]
