"""How near the bounds: of plans as the planner makes them, and figures as an H200 gave them."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from benchmarks.planner.models import facts
from tacho_contract.measurement import INVALIDATING, LIMITING, Measurement, SingleStream, Workload
from tacho_operator.core.manifests.pod_template import pod_template
from tacho_operator.core.measurement.efficiency import (
    ABOVE_ROOFLINE,
    LOW_EFFICIENCY,
    Efficiency,
    decode_bound,
    efficiency,
)
from tacho_operator.core.measurement.entry import PodReport, measurement_entry
from tacho_operator.core.planner.plan import plan_model
from tacho_operator.core.planner.types import ModelPlan
from tacho_operator.core.revisions.controller_revision import Revision
from tools.harness.documents import plain_measurement, plain_report
from tools.harness.resources import CLAIM_SPEC, changed, resource
from tools.mock.specs import CONFIG, spec


def planned(model: str = "llama-3.1-8b", product: str = "NVIDIA-H200", **more: Any) -> ModelPlan:
    asked = spec(**{"engine": {"name": "vllm"}, "gpu": {"products": [product]}, **more})
    plan = plan_model(asked, facts(model), nodes=None, history=(), config=CONFIG)
    assert isinstance(plan, ModelPlan), plan
    return plan


def revision(plan: ModelPlan, template: dict[str, Any] | None = None) -> Revision:
    return Revision(
        name="r",
        number=1,
        plan=plan,
        plan_key="p",
        facts_key="f",
        pod_template=template or {},
        tacho_image="t",
        measure_key="m",
    )


def measured(
    decode: float, prefill: float | None = None, inputs: int = 128, outputs: int = 200
) -> Measurement:
    return plain_measurement(
        workload=Workload(input_tokens=inputs, output_tokens=outputs),
        single_stream=SingleStream(
            decode_tokens_per_second=decode,
            tpot_milliseconds_p50=1.0,
            ttft_milliseconds_p50=1.0,
            prefill_tokens_per_second=prefill,
        ),
    )


@pytest.mark.parametrize(
    ("model", "product", "bound"),
    [
        ("llama-3.1-8b", "NVIDIA-H200", 317),
        ("llama-3.1-8b", "NVIDIA-L4", 19.8),
        ("llama-3.1-8b-awq", "NVIDIA-H200", 969),
        ("llama-3.1-8b-awq", "NVIDIA-L4", 62.4),
    ],
)
def test_the_bound_of_a_frozen_plan_is_the_rooflines_at_that_context(
    model: str, product: str, bound: float
) -> None:
    """Worked by hand from the weights that a step reads, 128 KiB of cache a token, and the data sheets; on an
    H200 the linear weights are 3.74 GB, as Machete keeps zero points in 16 bits, and 3.63 on an L4."""
    found = decode_bound(planned(model, product), 1024)
    assert found == pytest.approx(bound, rel=0.025)


@pytest.mark.parametrize(
    ("model", "decode", "percent", "flags"),
    [
        ("llama-3.1-8b", 204, 64, []),
        ("llama-3.1-8b", 86, 27, [LOW_EFFICIENCY]),
        ("llama-3.1-8b-awq", 253, 25.3, []),
        ("llama-3.1-8b", 322, 101, []),
        ("llama-3.1-8b", 330, 103.5, [ABOVE_ROOFLINE]),
    ],
    ids=["bf16", "eager", "awq", "at-the-bound", "above"],
)
def test_one_stream_on_an_h200(model: str, decode: float, percent: float, flags: list[str]) -> None:
    """vLLM 0.26, 128 tokens in and 200 out, Llama-3.1-8B: 204 tok/s in bf16, 86 of them in eager mode, 253 in
    AWQ, where what a step costs whatever it reads is most of it, as the plan expects."""
    found = efficiency(measured(decode), revision(planned(model)))
    assert found.decode is not None
    assert 100 * found.decode == pytest.approx(percent, rel=0.02)
    assert list(found.flags()) == flags


@pytest.mark.parametrize(("decode", "said"), [(322, False), (340, True)])
def test_what_the_flag_means_stands_in_the_message(decode: float, said: bool) -> None:
    """The CLI's text of the flag points there."""
    found, plan = measured(decode), planned()
    report = plain_report(measurement=found)
    entry = measurement_entry(PodReport(report=report, image_id="i"), revision(plan))
    assert entry is not None
    assert (ABOVE_ROOFLINE in entry.flags) == said
    assert ("one stream would use 107 % of the GPU's memory bandwidth" in (entry.message or "")) == said


def test_the_cache_that_is_read_is_that_of_half_the_answer() -> None:
    """The mean context of an answer: the prompt and half of what follows it."""
    plan = planned()
    found = efficiency(measured(50, inputs=1000, outputs=20_000), revision(plan))
    assert found.decode is not None
    assert 50 / found.decode == pytest.approx(decode_bound(plan, 11_000) or 0.0, rel=1e-6)


def test_stages_of_a_pipeline_read_each_its_own_cache_in_turn() -> None:
    """As many bytes of cache on each of two stages: twice as many for the same tokens, read by one GPU after
    the other."""
    plan = planned()
    two = dataclasses.replace(plan, pipeline_parallel=2)
    weights = plan.predicted.step_weights_bytes
    assert weights
    alone, half = decode_bound(plan, 32_768), decode_bound(two, 32_768)
    assert alone is not None
    assert half is not None
    cache = 4.8e12 / alone - weights
    assert 4.8e12 / half == pytest.approx(weights + 2 * cache, rel=0.001)


def test_prefill_is_held_against_the_arithmetic_peak() -> None:
    """989 TFLOP/s over twice the 6.98 billion weights of the layers: 70,800 tok/s."""
    plan = planned()
    assert plan.predicted.prefill_tokens_per_second == pytest.approx(70_800, rel=0.01)
    found = efficiency(measured(204, 35_400), revision(plan))
    assert found.prefill == pytest.approx(0.5, rel=0.01)
    fast = efficiency(measured(204, 141_600), revision(plan))
    assert fast.prefill == pytest.approx(2, rel=0.01)
    assert list(fast.flags()) == [], "kernels may compute in 8 bits what the plan counts in 16"


def test_gpus_that_split_a_layer_read_at_once() -> None:
    one, two = planned(), planned(parallelism={"tensor": 2})
    assert two.tensor_parallel == 2
    single, double = decode_bound(one, 1024), decode_bound(two, 1024)
    assert single is not None
    assert double is not None
    assert double == pytest.approx(2 * single, rel=0.02)


def test_where_no_bound_holds_nothing_is_said() -> None:
    plan = planned()
    found = measured(204, 35_400)
    nothing = Efficiency()
    assert efficiency(found, None) == nothing
    assert efficiency(dataclasses.replace(found, single_stream=None), revision(plan)) == nothing
    for unknown in (
        dataclasses.replace(plan, gpu_count=0, gpu_product=""),
        dataclasses.replace(plan, gpu_product="NVIDIA-Z9"),
        dataclasses.replace(plan, predicted=dataclasses.replace(plan.predicted, step_weights_bytes=None)),
    ):
        assert efficiency(found, revision(unknown)) == nothing, unknown
    assert list(nothing.flags()) == []


def rendered(plan: ModelPlan, name: str, **fields: Any) -> Revision:
    """A revision with the pod template of a resource of that name."""
    owner = resource(changed(CLAIM_SPEC, gpu=None, quantization=None, **fields), name=name)
    return revision(plan, pod_template(owner, plan, revision=f"{name}-1", plan_key="p", config=CONFIG))


@pytest.mark.parametrize(
    ("name", "fields", "guesses"),
    [
        ("smol", {"engine": {"name": "vllm"}}, False),
        ("draft-mails", {"engine": {"name": "vllm"}}, False),
        ("smol", {"engine": {"name": "vllm"}, "model": {"uri": "pvc://models/speculative-coder"}}, False),
        ("smol", {"engine": {"name": "vllm", "extraArgs": ["--speculative-config", '{"a": "$b"}']}}, True),
        ("smol", {"engine": {"name": "vllm", "extraArgs": ["--chat-template=/draft.jinja"]}}, False),
        ("smol", {"engine": {"name": "vllm", "extraArgs": ["--lora-modules", "draft-a=/a"]}}, False),
        ("smol", {"engine": {"name": "vllm", "env": [{"name": "A", "value": "speculative"}]}}, False),
        ("smol", {"engine": {"name": "vllm", "extraArgs": ["--per-request-spec-decode-metrics"]}}, False),
        ("smol", {"engine": {"name": "vllm", "extraArgs": ["--num_speculative_tokens=3"]}}, True),
        ("smol", {"engine": {"name": "vllm", "extraArgs": ["--speculative-config.method=ngram"]}}, True),
        ("smol", {"engine": {"name": "vllm", "extraArgs": ["--spec-method", "ngram"]}}, True),
        ("smol", {"engine": {"name": "llamacpp", "extraArgs": ["-md", "/models/small.gguf"]}}, True),
        ("smol", {"engine": {"name": "vllm", "extraArgs": ["-sc", "{}"]}}, True),
        (
            "smol",
            {"engine": {"name": "llamacpp", "env": [{"name": "LLAMA_ARG_MODEL_DRAFT", "value": "x"}]}},
            True,
        ),
        (
            "smol",
            {"engine": {"name": "custom", "image": "i", "custom": {"command": ["run", "--draft-max"]}}},
            True,
        ),
    ],
)
def test_speculative_decoding_is_seen_in_what_the_engine_is_started_with(
    name: str, fields: dict[str, Any], guesses: bool
) -> None:
    """A resource named draft-mails had no bound, and was shown as Clean at 107 % of the bandwidth."""
    found = efficiency(measured(340), rendered(planned(), name, **fields))
    assert (found == Efficiency()) == guesses
    assert list(found.flags()) == ([] if guesses else [ABOVE_ROOFLINE])


def test_the_flags_are_of_the_kinds_that_they_are() -> None:
    assert ABOVE_ROOFLINE in INVALIDATING
    assert LOW_EFFICIENCY in LIMITING


@pytest.mark.parametrize(("share", "flags"), [(1.0, []), (0.81, []), (0.79, [LOW_EFFICIENCY])])
def test_what_is_as_fast_as_its_plan_was_timed_is_no_fault_however_little_bandwidth_it_uses(
    share: float, flags: list[str]
) -> None:
    plan = planned("qwen3-0.6b", engine={"name": "vllm", "image": "vllm/vllm-openai:v0.26.0"})
    assert plan.predicted.decode_within_percent == 9
    expected = plan.predicted.expected_decode_tokens_per_second
    assert expected is not None
    found = efficiency(measured(share * expected), revision(plan))
    assert found.decode is not None
    assert found.decode < 0.2
    assert list(found.flags()) == flags


@pytest.mark.parametrize(("share", "flags"), [(0.54, []), (0.52, [LOW_EFFICIENCY])])
def test_what_is_within_the_band_of_a_plan_is_no_fault(share: float, flags: list[str]) -> None:
    """A small model with vLLM 0.32 waits for its host: a Llama-3.2-1B had 61 % of what was expected."""
    plan = planned("qwen3-0.6b")
    assert plan.predicted.decode_within_percent == 90
    expected = plan.predicted.expected_decode_tokens_per_second
    assert expected is not None
    assert list(efficiency(measured(share * expected), revision(plan)).flags()) == flags


def test_without_a_timed_rate_little_bandwidth_is_flagged() -> None:
    plan = planned("qwen3-0.6b", product="NVIDIA-L4")
    assert plan.predicted.decode_within_percent == 100
    bound = decode_bound(plan, context_tokens=228)
    assert bound is not None
    assert list(efficiency(measured(0.39 * bound), revision(plan)).flags()) == [LOW_EFFICIENCY]
