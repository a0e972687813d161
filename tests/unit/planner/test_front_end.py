"""vLLM's HTTP front ends: several where one would be the limit, and never against the user."""

from __future__ import annotations

import pytest

from benchmarks.planner.models import facts
from benchmarks.planner.placements import host, placement
from tacho_contract.units import GIB
from tacho_engines.base import Tuning
from tacho_engines.vllm import arguments as front_end
from tacho_operator.core.planner.plan import plan_model
from tacho_operator.core.planner.types import ModelPlan
from tacho_operator.core.types import Config
from tools.mock.specs import CONFIG, spec

FAST = 30_000.0
SWITCH = "--api-server-count"
IMAGE = "vllm/vllm-openai:v0.26.0"


def tuned(rate: float | None = FAST, device: object = "H200", **asked: object) -> Tuning:
    asked = {"version": "0.26.0", "cpu_cores": 8.0, **asked}
    return front_end.tuned(placement("vllm", "qwen3-0.6b", "none", device, **asked), rate)


def plan(
    *args: str,
    model: str = "qwen3-0.6b",
    cpu: str | None = "8",
    concurrency: int = 256,
    image: str = IMAGE,
    config: Config = CONFIG,
) -> ModelPlan:
    resources = {"resources": {"requests": {"cpu": cpu}}} if cpu else {}
    asked = spec(
        engine={"name": "vllm", "image": image, "extraArgs": list(args), **resources},
        quantization={"method": "none"},
        gpu={"products": ["H200"], "count": 1},
        context={"maxModelLen": 1024, "concurrency": concurrency},
        workload={"inputTokens": 512, "outputTokens": 200},
    )
    found = plan_model(asked, facts(model), nodes=None, history=(), config=config)
    assert isinstance(found, ModelPlan)
    return found


def test_a_small_model_with_many_requests_gets_four_front_ends_and_is_told_why():
    found = plan()
    at = found.arguments.index(SWITCH)
    assert found.arguments[at + 1] == "4"
    assert "Set for speed: 4 HTTP front ends, as one carries about 17000 streamed tok/s" in found.message
    assert "--api-server-count=1 in engine.extraArgs keeps one" in found.message


@pytest.mark.parametrize(
    "asked",
    [
        {"model": "llama-3.1-8b"},
        {"concurrency": 16},
        {"cpu": None},
        {"cpu": "5500m"},
        {"image": "vllm/vllm-openai:v0.32.0"},
    ],
    ids=["an 8B gained nothing", "few requests", "nobody promised CPUs", "too few CPUs", "vLLM 0.32"],
)
def test_where_nothing_is_gained_or_known_the_engine_keeps_its_default(asked):
    found = plan(**asked)
    assert SWITCH not in found.arguments
    assert "Set for speed" not in found.message


@pytest.mark.parametrize("given", ["--api-server-count=1", "-asc=8", "--data-parallel-size=1"])
def test_the_users_own_switch_wins(given):
    found = plan(given)
    assert SWITCH not in found.arguments
    assert "Set for speed" not in found.message


def test_an_abbreviation_is_the_users_own_too():
    assert tuned(arguments=("--api-server=2",)) == Tuning()


def test_a_package_of_this_python_starts_one_front_end_whatever_it_is_told():
    assert SWITCH not in plan(config=Config(tacho_image="tacho:test", in_pods=False)).arguments


def test_the_limit_of_the_container_counts_where_nothing_is_requested():
    asked = spec(
        engine={"name": "vllm", "image": IMAGE, "resources": {"limits": {"cpu": "6"}}},
        quantization={"method": "none"},
        gpu={"products": ["H200"], "count": 1},
        context={"maxModelLen": 4096, "concurrency": 256},
        workload={"inputTokens": 512, "outputTokens": 200},
    )
    found = plan_model(asked, facts("qwen3-0.6b"), nodes=None, history=(), config=CONFIG)
    assert isinstance(found, ModelPlan)
    assert SWITCH in found.arguments


@pytest.mark.parametrize(
    "asked",
    [
        {"version": "0.25.1"},
        {"version": "0.32.0"},
        {"device": host(64 * GIB), "count": 0},
        {"memory_limit_bytes": 8 * GIB - 1},
        {"env": {"VLLM_ALLOW_RUNTIME_LORA_UPDATING": "1"}},
        {"env": {"VLLM_USE_RUST_FRONTEND": "1"}},
        {"rate": None},
        {"rate": 17_000.0},
    ],
    ids=lambda asked: " ".join(asked),
)
def test_what_stands_against_it(asked):
    assert tuned(**asked).arguments == ()


@pytest.mark.parametrize(
    "asked",
    [{}, {"memory_limit_bytes": 8 * GIB}, {"env": {"VLLM_USE_RUST_FRONTEND": "0"}}, {"cpu_cores": 6.0}],
)
def test_what_does_not(asked):
    assert tuned(**asked).arguments == (SWITCH, "4")


@pytest.mark.parametrize(("tensor", "pipeline", "cores"), [(2, 1, 8.0), (1, 2, 8.0), (4, 2, 14.0)])
def test_the_workers_of_several_gpus_need_cpus_of_their_own(tensor, pipeline, cores):
    spread = {"tensor": tensor, "pipeline": pipeline, "count": tensor * pipeline}
    assert tuned(cpu_cores=cores, **spread).arguments == (SWITCH, "4")
    assert tuned(cpu_cores=cores - 0.5, **spread) == Tuning(front_ends=1)
