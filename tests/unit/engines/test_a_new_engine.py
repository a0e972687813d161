"""Adding an engine is one folder and one line: planned, offered by the API, held to its own rules."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

PLAN = '''
"""The planner's adapter of an engine that does not exist."""

from __future__ import annotations

from tacho_engines.base import Context, EngineRefusal, Placement, PlannerAdapter
from tacho_engines.profile import (
    CacheTypes,
    DeniedOptions,
    EngineImage,
    EngineProfile,
    EngineRules,
    EngineSpeed,
    MethodRule,
    MethodSupport,
)
from tacho_engines.memory.account import Account
from tacho_engines.shared.compatibility import plain_refusal

ROW = EngineProfile(
    name="swift",
    title="Swift",
    image=EngineImage(
        reference="registry.example/swift:v2.1.0",
        version="2.1.0",
        entrypoint=("swift", "serve"),
        uid=1000,
    ),
    devices=("gpu", "cpu"),
    formats=("safetensors",),
    methods=(
        MethodSupport(method="none", how="stored", capability=(7, 0), quality=100.0, source="a test"),
        MethodSupport(method="int6", how="either", capability=(7, 0), quality=99.9, source="a test"),
    ),
    speed=EngineSpeed(efficiency=1.0, batching=True),
    rules=EngineRules(
        method=MethodRule(
            cel="(self.quantization.method == 'int6') == (self.engine.name == 'swift')",
            message="int6 is swift's; change quantization.method or engine.name",
        ),
        cache_types=CacheTypes(names=("bfloat16",), cel="startsWith('bf')"),
        denied=DeniedOptions(
        switches={"backdoor": ("it opens the back door", "close it")},
        variables={"SWIFT_KEY": ("a key in it is no secret", "leave it out")},
    ),
    ),
)


class SwiftPlan(PlannerAdapter):
    def refusal(self, placement: Placement) -> EngineRefusal | None:
        return plain_refusal(self.profile, placement)

    def account(self, placement: Placement, context: Context) -> Account:
        weights = placement.facts.files.total_bytes // (1 if placement.method.method == "none" else 2)
        return Account(
            weights_bytes=weights,
            cache_bytes=context.concurrency * context.max_model_len,
            cache_tokens=context.concurrency * context.max_model_len,
            concurrency=float(context.concurrency),
            activation_bytes=1024,
            other_bytes=0,
            budget_bytes=placement.device.part_bytes,
            fixed_bytes=weights + 1024,
            request_bytes=context.max_model_len,
        )

    def arguments(self, placement: Placement, context: Context) -> tuple[str, ...]:
        return ("--streams", str(context.concurrency))


PLAN: PlannerAdapter = SwiftPlan(ROW)
'''

ASK = """
import json, sys
import tacho_engines
from tacho_engines import registry

tacho_engines.__path__.append(sys.argv[1])
registry.ENGINES = (*registry.ENGINES, "swift")

import dataclasses
from tools.crd import definition
from tacho_operator.api.rules.offline import validate_offline
from tacho_operator.config import load_settings
from tacho_operator.core.planner.plan import plan_model
from tools.mock.specs import CONFIG, cpu_node, spec
from benchmarks.planner.models import facts


def plan(**fields):
    found = plan_model(
        spec(**fields), facts("llama-3.1-8b"), nodes=(cpu_node(memory="64Gi"),), history=(), config=CONFIG
    )
    return json.loads(json.dumps(dataclasses.asdict(found), default=str))


def refused(engine, **quantization):
    fields = {"model": {"uri": "hf://owner/name"}, "quantization": quantization}
    if engine:
        fields["engine"] = {"name": engine}
    resource = {"apiVersion": "tacho.dev/v1alpha1", "kind": "LLMDeployment", "metadata": {"name": "x"}}
    return [str(problem) for problem in validate_offline({**resource, "spec": fields})]


def engine(**fields):
    resource = {"apiVersion": "tacho.dev/v1alpha1", "kind": "LLMDeployment", "metadata": {"name": "x"}}
    spec = {"model": {"uri": "hf://owner/name"}, "engine": {"name": "swift", **fields}}
    return [str(problem) for problem in validate_offline({**resource, "spec": spec})]


schema = definition()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
print(json.dumps({
    "gpu": plan(gpu={"products": ["L4"], "count": 1}, context={"maxModelLen": 4096}),
    "asked": plan(gpu={"products": ["T4"], "count": 1}, engine={"name": "swift"}),
    "host": plan(engine={"name": "swift"}, gpu={"count": 0}),
    "engines": schema["properties"]["engine"]["properties"]["name"]["enum"],
    "methods": schema["properties"]["quantization"]["properties"]["method"]["enum"],
    "rules": [rule["message"] for rule in schema["x-kubernetes-validations"]],
    "taken": refused("swift", method="int6"),
    "foreign": refused("swift", method="fp8"),
    "elsewhere": refused("vllm", method="int6"),
    "cache": refused("swift", method="int6", kvCacheDtype="fp8"),
    "its_cache": refused("vllm", kvCacheDtype="bfloat16"),
    "typo": refused("swyft"),
    "switch": engine(extraArgs=["--backdoor", "--back"]),
    "variable": engine(env=[{"name": "SWIFT_KEY", "value": "x"}]),
    "in_cel": "backdoor" in json.dumps(schema) and "SWIFT_KEY" in json.dumps(schema),
    "image": load_settings(
        {"TACHO_IMAGE": "t", "TACHO_ENGINE_IMAGE_SWIFT": "mirror/swift:v3"}
    ).decisions.engine_images["swift"],
}))
"""


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """What an operator says whose registry has one engine more, from a folder outside the package."""
    folder = tmp_path_factory.mktemp("engines")
    (folder / "swift").mkdir()
    (folder / "swift" / "__init__.py").touch()
    (folder / "swift" / "plan.py").write_text(PLAN)
    root = Path(__file__).parents[3]
    paths = [str(root), str(root / "operator"), str(root / "runtime")]
    done = subprocess.run(
        [sys.executable, "-c", ASK, str(folder)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_it_is_planned(answers: Any) -> None:
    found = answers["gpu"]
    assert (found["engine"], found["engine_version"], found["quantization_method"]) == (
        "swift",
        "2.1.0",
        "none",
    )
    assert found["image"] == "registry.example/swift:v2.1.0"
    assert found["entrypoint"] == ["swift", "serve"]
    assert found["arguments"] == ["--streams", str(found["concurrency"])]
    assert {item["engine"] for item in found["alternatives"]} > {"swift", "vllm"}


def test_what_fits_is_its_own_memory_models_matter(answers: Any) -> None:
    """16 GB of weights do not fit a T4; six bits do, by the engine's own account."""
    assert answers["asked"]["quantization_method"] == "int6"
    assert answers["asked"]["predicted"]["weights_bytes"] < 9 * 2**30


def test_the_host_is_one_more_device_for_it(answers: Any) -> None:
    found = answers["host"]
    assert (found["gpu_product"], found["gpu_count"]) == ("CPU", 0)
    assert found["message"].startswith("Swift on the CPU: ")


def test_the_api_offers_it(answers: Any) -> None:
    assert answers["engines"][-1] == "swift"
    assert answers["methods"][-1] == "int6"
    assert answers["typo"]


def test_its_rules_are_the_apis(answers: Any) -> None:
    message = "int6 is swift's; change quantization.method or engine.name"
    assert message in answers["rules"]
    assert any("bfloat16 is swift's" in rule for rule in answers["rules"])
    assert answers["taken"] == []
    assert any(message in problem for problem in answers["foreign"])
    assert any(message in problem for problem in answers["elsewhere"])
    assert any("kvCacheDtype" in problem for problem in answers["cache"])
    assert any("kvCacheDtype" in problem for problem in answers["its_cache"])


def test_what_it_refuses_is_refused_by_the_api_in_its_own_words(answers: Any) -> None:
    assert answers["in_cel"]
    assert (
        sum("--backdoor is refused: it opens the back door; close it" in said for said in answers["switch"])
        == 2
    )
    assert any("SWIFT_KEY is refused: a key in it is no secret" in said for said in answers["variable"])


def test_the_operators_settings_may_name_its_image(answers: Any) -> None:
    assert answers["image"] == "mirror/swift:v3"
