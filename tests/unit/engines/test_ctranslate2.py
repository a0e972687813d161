"""CTranslate2's adapters: what its flags are, what it refuses, what its log says."""

from __future__ import annotations

import dataclasses

import pytest

from benchmarks.planner.models import facts
from benchmarks.planner.placements import host, placement
from tacho_engines.base import Context, EngineRefusal, EngineStartup
from tacho_engines.registry import planner_adapter, runtime_adapter
from tacho_operator.core.manifests.containers import engine_resources
from tacho_operator.core.planner.types import Prediction
from tests.launching import runtime_config
from tools.harness.resources import plan as make_plan, resource

GIB = 2**30
PLAN, RUN = planner_adapter("ctranslate2"), runtime_adapter("ctranslate2")
CONTEXT = Context(2048, 2)


def flags(method: str, device="L4", model="llama-3.1-8b", **more) -> str:
    return " ".join(PLAN.arguments(placement("ctranslate2", model, method, device, **more), CONTEXT))


def test_flags_follow_from_method_and_device():
    assert flags("ct2-int8", host(2**36), count=0) == "--device cpu --quantization int8_float32"
    assert flags("none", host(2**36), count=0) == "--device cpu --quantization float32"
    assert flags("ct2-int8-float16") == "--device cuda --quantization int8_float16"
    assert flags("none") == "--device cuda --quantization bfloat16"
    assert flags("none", "T4") == "--device cuda --quantization float16"
    assert flags("none", trust_remote_code=True).endswith("--trust-remote-code")


def test_a_converted_model_is_not_converted():
    converted = dataclasses.replace(facts("llama-3.1-8b"), format="ct2")
    assert flags("ct2-int8", model=converted) == "--device cuda"


def test_a_cpu_has_no_int8_float16():
    found = PLAN.refusal(placement("ctranslate2", "llama-3.1-8b", "ct2-int8-float16", host(2**36), count=0))
    assert isinstance(found, EngineRefusal)
    assert found.failure_class == "UnsupportedGPU"


def test_a_container_must_hold_the_converter():
    """8B: 15 GiB of checkpoint, 8 GiB of what becomes of it, and PyTorch."""

    def refusal(limit: int) -> EngineRefusal | None:
        asked = {"count": 0, "memory_limit_bytes": limit}
        return PLAN.refusal(placement("ctranslate2", "llama-3.1-8b", "ct2-int8", host(limit), **asked))

    assert refusal(32 * GIB) is None
    unlimited = placement("ctranslate2", "llama-3.1-8b", "ct2-int8", host(20 * GIB), count=0)
    assert isinstance(PLAN.refusal(unlimited), EngineRefusal), "without a limit, by the host's memory"
    assert PLAN.refusal(placement("ctranslate2", "llama-3.1-8b", "ct2-int8")) is None, "not by the GPU's"
    found = refusal(20 * GIB)
    assert found is not None
    assert found.failure_class == "DoesNotFit"
    assert "29" in found.message
    assert "Raise engine.resources.limits.memory" in found.next_step


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (
            "tacho-ctranslate2: weights 135467509 bytes, loaded in 0.610 s, computed in int8_float32",
            EngineStartup(weights_bytes=135467509),
        ),
        (
            "tacho-ctranslate2: falls back: computes in float32, because this device has no int8_float16",
            EngineStartup(fallbacks=("computes in float32, because this device has no int8_float16",)),
        ),
        (
            "tacho-ctranslate2: chat: no (the model's tokenizer has no chat template)",
            EngineStartup(fallbacks=("no chat: the model's tokenizer has no chat template",)),
        ),
        ("tacho-ctranslate2: chat: yes", EngineStartup()),
    ],
)
def test_its_log_says_what_it_does(line, expected):
    figures = RUN.read(EngineStartup(), line)
    assert figures == expected
    assert RUN.read(figures, line) == expected


def test_of_several_loads_the_last_counts():
    line = "tacho-ctranslate2: weights {} bytes, loaded in {} s, computed in int8_float32"
    found = RUN.read(RUN.read(EngineStartup(), line.format(200, "2.0")), line.format(100, "1.0"))
    assert found == EngineStartup(weights_bytes=100)


def test_the_planned_limit_holds_the_converter():
    asked = placement("ctranslate2", "llama-3.1-8b", "ct2-int8", host(64 * GIB), count=0)
    account = PLAN.account(asked, CONTEXT)
    assert account.start_bytes > 1.5 * account.total_bytes, "or the test shows nothing"
    predicted = Prediction(total_bytes=account.total_bytes, start_bytes=account.start_bytes)
    plan = dataclasses.replace(make_plan(), gpu_count=0, predicted=predicted)
    found = engine_resources(resource(), plan)
    requested, limit = (int(found[kind]["memory"].removesuffix("Mi")) for kind in ("requests", "limits"))
    assert limit * 2**20 > account.start_bytes
    assert requested * 2**20 < account.start_bytes, "it is gone before the first request"


def test_its_command():
    config = runtime_config(
        revision="r",
        plan_key="k",
        engine="ctranslate2",
        entrypoint=("python3", "-m", "tacho_ctranslate2"),
        model_path="/m",
        served_name="smol",
        max_model_len=2048,
        concurrency=4,
        cache_dir="/cache",
        extra_args=("--device", "cpu"),
    )
    words = " ".join(RUN.command(config, "/m"))
    assert words == (
        "python3 -m tacho_ctranslate2 --model /m --served-model-name smol --host 0.0.0.0 --port 8000 "
        "--max-model-len 2048 --max-batch 4 --cache-dir /cache --device cpu"
    )
