"""Every preset's command line, held against the options that its server was recorded to take."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.planner.placements import host, placement
from tacho_contract.launch import CustomEngine
from tacho_engines.base import Context, EngineOptions, Placement
from tacho_engines.profile import Preset
from tacho_engines.registry import planner_adapter, presets, runtime_adapter
from tacho_operator.core.planner.search import unlisted_method
from tests.launching import runtime_config
from tests.unit.engines.rendering import rendered
from tests.unit.engines.test_effects import UNPARSED
from tools.mock.specs import gpu_node

RECORDED = Path(__file__).resolve().parents[2] / "fixtures" / "presets"
PRESETS = tuple(presets().values())
CONTEXT = Context(8192, 12)
ANY = {"<int>": r"\d+", "<float>": r"\d+(\.\d+)?", "<human_readable_int>": r"\d+[kKmM]?"}


def options_of(name: str) -> dict[str, str]:
    """What each switch takes: "" nothing, {a,b} one of those, <type> a value."""
    found = {}
    for line in (RECORDED / f"{name}.txt").read_text().splitlines():
        if not line.startswith("#"):
            names, _, value = re.fullmatch(r"((?:[^\s,]+, )*[^\s,]+)( (.*))?", line).groups(default="")
            found.update(dict.fromkeys(names.split(", "), value))
    return found


def specs(preset: Preset) -> Iterator[tuple[EngineOptions, int, str]]:
    """EngineOptions, number of GPUs and method, over everything that the preset takes."""
    caches = ("", *preset.cache_types)
    splits = [(1, None, None), (4, None, None), (4, 4, 1)]
    splits += [(4, 2, 2), (2, None, 2)]
    for method, cache, (gpus, tensor, pipeline), trust in itertools.product(
        preset.methods, caches, splits, (False, True)
    ):
        options = EngineOptions(
            preset=preset.name,
            kv_cache_dtype=cache,
            tensor=tensor,
            pipeline=pipeline,
            trust_remote_code=trust,
        )
        yield options, gpus, method


def asked(options: EngineOptions, method: str, gpus: int = 1, device="L4") -> Placement:
    found = placement("vllm", "llama-3.1-8b", "none", device, count=gpus, image="x")
    return replace(found, method=unlisted_method(method), options=options)


def command_line(preset: Preset, options: EngineOptions, gpus: int, method: str) -> tuple[str, ...]:
    """As the runtime makes it from the plan."""
    adapter, spread = planner_adapter("custom"), asked(options, method, gpus)
    assert adapter.refusal(spread) is None
    ((tensor, pipeline),) = adapter.splits(spread)
    assert tensor * pipeline == gpus
    spread = replace(spread, tensor=tensor, pipeline=pipeline)
    config = runtime_config(
        revision="r",
        plan_key="k",
        engine="custom",
        entrypoint=preset.profile.image.entrypoint,
        model_path="/models/m",
        served_name="mistral",
        max_model_len=CONTEXT.max_model_len,
        concurrency=CONTEXT.concurrency,
        extra_args=(*adapter.arguments(spread, CONTEXT), "--of-the-user"),
        custom=CustomEngine(command=(), health_path=preset.health_path),
    )
    return runtime_adapter("custom").command(config, "/models/m")


@pytest.mark.parametrize("preset", PRESETS, ids=lambda preset: preset.name)
def test_every_switch_is_one_the_server_takes_with_a_value_it_takes(preset):
    known, seen = options_of(preset.name), 0
    for options, gpus, method in specs(preset):
        words = list(command_line(preset, options, gpus, method))
        assert words.pop() == "--of-the-user", "the user's arguments come last"
        assert not any("$(" in word or "{" in word for word in words)
        switches = words[next(i for i, word in enumerate(words) if word.startswith("--")) :]
        while switches:
            switch = switches.pop(0)
            assert switch in known, switch
            takes = known[switch]
            if takes:
                check(switch, takes, switches.pop(0))
            seen += 1
    assert seen > 4 * len(preset.methods)


def check(switch: str, takes: str, value: str) -> None:
    if takes.startswith("{"):
        assert value in takes[1:-1].split(","), (switch, value)
    else:
        assert re.fullmatch(ANY.get(takes, ".+"), value), (switch, value)
        assert not value.startswith("-")


@pytest.mark.parametrize("preset", PRESETS, ids=lambda preset: preset.name)
def test_what_is_set_shows_in_the_command(preset):
    """Each method, cache type, spread and trust is in the words; nothing is taken silently."""
    lines = [command_line(preset, *spec) for spec in specs(preset)]
    assert any("8192" in word for word in lines[0])
    assert any(re.search(r"\b12\b", word) for word in lines[0])
    for options, gpus, method in specs(preset):
        words = command_line(preset, options, gpus, method)
        assert set(preset.methods[method]) <= set(words)
        assert set(preset.cache_types.get(options.kv_cache_dtype, ())) <= set(words)
        assert set(preset.trust_remote_code if options.trust_remote_code else ()) <= set(words)


@pytest.mark.parametrize("preset", PRESETS, ids=lambda preset: preset.name)
def test_it_is_told_the_model_the_host_and_the_port_by_what_only_the_pod_knows(preset):
    words = " ".join(preset.profile.image.entrypoint)
    for variable in ("$(TACHO_MODEL_PATH)", "$(TACHO_HOST)", "$(TACHO_PORT)"):
        assert variable in words
    assert preset.health_path.startswith("/")
    assert preset.profile.image.version
    assert preset.source
    assert preset.profile.image.reference.rpartition(":")[2].removeprefix("v") == preset.profile.image.version


@pytest.mark.parametrize(
    ("preset", "options", "method", "field"),
    [
        ("sglang", {}, "bnb-int8", "quantization.method"),
        ("trtllm", {}, "fp8", "quantization.method"),
        ("sglang", {"kv_cache_dtype": "q8_0"}, "none", "quantization.kvCacheDtype"),
        ("trtllm", {"kv_cache_dtype": "fp8"}, "none", "quantization.kvCacheDtype"),
    ],
)
def test_a_plan_refuses_by_name_what_has_no_switch(preset, options, method, field):
    refusal = planner_adapter("custom").refusal(
        asked(EngineOptions(preset=preset, **options), method, gpus=2)
    )
    assert refusal is not None
    assert field in f"{refusal.message}. {refusal.next_step}"


@pytest.mark.parametrize(
    ("preset", "version_path", "key"),
    [
        ("sglang", "/server_info", ""),
        ("trtllm", "/version", ""),
        ("", "/version", "VLLM_API_KEY"),
    ],
)
def test_the_runtime_asks_each_server_for_its_version_with_its_own_key(preset, version_path, key):
    """What another server's variable holds is no key of this one, and a path of another's is not asked."""
    custom = {"preset": preset} if preset else {"command": ["serve"], "port": 8000}
    found = rendered(
        {
            "model": {"uri": "pvc://models/m"},
            "engine": {"name": "custom", "image": "registry.example/x:1", "custom": custom},
            "gpu": {"count": 1},
        },
        UNPARSED,
        (gpu_node("a", "NVIDIA-L4"),),
    )
    assert found.refusals == ()
    adapter = runtime_adapter("custom")
    assert adapter.version_path(found.config) == version_path
    assert adapter.api_key_variable(found.config) == key


def test_a_preset_runs_on_gpus():
    refusal = planner_adapter("custom").refusal(
        asked(EngineOptions(preset="sglang"), "none", gpus=0, device=host())
    )
    assert refusal is not None
    assert "gpu.count" in refusal.next_step


@pytest.mark.parametrize(
    ("tensor", "pipeline", "gpus", "spread"),
    [(None, None, 1, (1, 1)), (None, None, 4, (4, 1)), (2, None, 4, (2, 2)), (None, 2, 4, (2, 2))],
)
def test_what_is_not_said_of_the_spread_follows_from_the_gpus(tensor, pipeline, gpus, spread):
    options = EngineOptions(tensor=tensor, pipeline=pipeline)
    assert planner_adapter("custom").splits(asked(options, "none", gpus)) == (spread,)


@pytest.mark.parametrize("method", ["awq", "gptq"])
def test_sglang_is_asked_for_its_fast_kernels(method: str) -> None:
    """SGLang 0.5.23: "however you specified quantization=awq explicitly, so forcing awq. Use
    quantization=awq_marlin for faster inference" (srt/layers/quantization/awq/awq.py)."""
    preset = presets()["sglang"]
    words = command_line(preset, EngineOptions(preset=preset.name), 1, method)
    assert words[words.index("--quantization") + 1] == f"{method}_marlin"
