"""Rendered children: golden files for review, and the properties that must hold of every one."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from tacho_contract import codec
from tacho_contract.fetch import FetchConfig
from tacho_contract.launch import ENV_CPU_REQUEST, LiveConfig, RuntimeConfig
from tacho_contract.pod import CACHE_DIR
from tacho_operator.core.manifests.helper_pods import inspect_pod, probe_pod
from tacho_operator.core.manifests.objects import (
    deployment,
    disruption_budget,
    facts_config_map,
    live_config_map,
    network_policy,
    service,
    url,
)
from tacho_operator.core.manifests.pod_template import pod_template
from tacho_operator.core.planner.types import ModelPlan
from tacho_operator.core.revisions.identity import live_config
from tacho_operator.core.revisions.inspection import inspect_config
from tacho_operator.core.rollout.record import Serving
from tacho_operator.core.types import Config
from tests.unit.core.golden import assert_golden
from tests.unit.core.network_evaluator import admits, selects
from tests.unit.core.pod_security import violations
from tools.harness.resources import CLAIM_SPEC, CONFIG, HUB_SPEC, changed, hub_plan, plan, resource

CUSTOM_SPEC = changed(
    CLAIM_SPEC,
    engine={
        "name": "custom",
        "image": "registry.example/mock:1",
        "env": [{"name": "HOME", "value": "/somewhere"}, {"name": "TACHO_RUNTIME_CONFIG", "value": "{}"}],
        "resources": {"requests": {"cpu": "1"}, "limits": {"memory": "1Gi"}},
        "volumeMounts": [{"name": "law", "mountPath": "/etc/law"}],
        "custom": {
            "command": ["serve", "$(TACHO_MODEL_PATH)", "--price", "$$5", "--port=$(TACHO_PORT)"],
            "port": 9000,
            "python": "/opt/venv/bin/python",
        },
    },
    podTemplate={
        "metadata": {"labels": {"team": "search"}, "annotations": {"sidecar.istio.io/inject": "false"}},
        "spec": {
            "nodeSelector": {"pool": "cpu"},
            "tolerations": [{"key": "llm", "operator": "Exists"}],
            "topologySpreadConstraints": [
                {"maxSkew": 1, "topologyKey": "kubernetes.io/hostname", "whenUnsatisfiable": "ScheduleAnyway"}
            ],
            "imagePullSecrets": [{"name": "pull"}],
            "terminationGracePeriodSeconds": 30,
            "volumes": [{"name": "law", "configMap": {"name": "law"}}],
        },
    },
)
GPU_SPEC = changed(HUB_SPEC, gpu={"count": 2, "products": ["NVIDIA-L4"]}, engine={"name": "vllm"})


def gpu_plan() -> ModelPlan:
    return hub_plan(engine="vllm", image="vllm/vllm-openai:v0.32.0", gpu_count=2, gpu_product="NVIDIA-L4")


def custom_plan() -> ModelPlan:
    return plan(engine="custom", image="registry.example/mock:1", entrypoint=())


COMPILED_SPEC = changed(
    CLAIM_SPEC,
    gpu={"count": 2, "products": ["NVIDIA-L4"]},
    engine={"name": "vllm"},
    cache={"persistentVolumeClaim": {"claimName": "compiled", "subPath": "team"}},
)


def compiled_plan() -> ModelPlan:
    return plan(engine="vllm", image="vllm/vllm-openai:v0.32.0", gpu_count=2, gpu_product="NVIDIA-L4")


CASES: dict[str, tuple[dict[str, Any], ModelPlan]] = {
    "claim": (CLAIM_SPEC, plan()),
    "hub": (HUB_SPEC, hub_plan()),
    "custom": (CUSTOM_SPEC, custom_plan()),
    "gpu": (GPU_SPEC, gpu_plan()),
    "compiled": (COMPILED_SPEC, compiled_plan()),
}


def template(case: str, config: Config = CONFIG) -> dict[str, Any]:
    spec, planned = CASES[case]
    return pod_template(resource(spec), planned, revision="smol-0123456789", plan_key="k" * 10, config=config)


def containers(spec: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {item["name"]: item for item in [*spec["initContainers"], *spec["containers"]]}


def environment(container: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {item["name"]: item for item in container["env"]}


def kubelet_expands(value: str, known: dict[str, str]) -> str:
    """The kubelet's expansion of an environment value (third_party/forked/golang/expansion)."""
    out, index = "", 0
    while index < len(value):
        if value[index] == "$" and index + 1 < len(value):
            if value[index + 1] == "$":
                out, index = out + "$", index + 2
                continue
            end = value.find(")", index)
            if value[index + 1] == "(" and end > 0:
                name = value[index + 2 : end]
                out, index = out + known.get(name, f"$({name})"), end + 1
                continue
        out, index = out + value[index], index + 1
    return out


def runtime_of(spec: dict[str, Any]) -> RuntimeConfig:
    value = environment(containers(spec)["engine"])["TACHO_RUNTIME_CONFIG"]["value"]
    return codec.loads(RuntimeConfig, kubelet_expands(value, {"TACHO_PORT": "WRONG", "HOME": "WRONG"}))


@pytest.mark.parametrize("case", CASES)
def test_deployment_is_as_reviewed(case: str) -> None:
    spec, planned = CASES[case]
    manifest = deployment(
        resource(spec), planned, revision="smol-0123456789", pod_template=template(case), replicas=2
    )
    assert_golden(f"deployment-{case}", manifest)


def test_small_children_are_as_reviewed() -> None:
    found = resource(changed(CLAIM_SPEC, endpoint={"allowedNamespaces": ["web", "ml"]}))
    assert_golden(
        "children",
        [
            live_config_map(found, live_config(found.spec)),
            facts_config_map(found, {"b": "2", "a": "1"}),
            service(found, Serving(active="smol-1", selected="smol-1", switched_time="2026-11-20T12:00:00Z")),
            network_policy(found, CONFIG),
            disruption_budget(found, "smol-1", 3),
        ],
    )


@pytest.mark.parametrize("case", CASES)
def test_pods_pass_pod_security_restricted(case: str) -> None:
    assert violations(template(case)["spec"]) == []


@pytest.mark.parametrize("case", CASES)
def test_without_a_count_of_gpus_none_is_reached(case: str) -> None:
    pod = template(case)["spec"]
    named = environment(containers(pod)["engine"]).get("NVIDIA_VISIBLE_DEVICES")
    assert named == (
        None if CASES[case][1].gpu_count else {"name": "NVIDIA_VISIBLE_DEVICES", "value": "void"}
    )


def test_the_evaluator_of_pod_security_can_refuse() -> None:
    spec = template("claim")["spec"]
    spec["securityContext"]["seccompProfile"] = {"type": "Unconfined"}
    spec["containers"][0]["securityContext"]["capabilities"] = {"drop": []}
    spec["volumes"].append({"name": "x", "hostPath": {"path": "/"}})
    found = violations(spec)
    assert {"engine: seccomp", "engine: capabilities", "volume x: hostPath"} <= set(found)


def test_the_token_is_in_fetch_alone() -> None:
    found = containers(template("hub")["spec"])
    holders = [name for name, item in found.items() if "HF_TOKEN" in json.dumps(item.get("env", []))]
    assert holders == ["fetch"]
    reference = environment(found["fetch"])["HF_TOKEN"]["valueFrom"]["secretKeyRef"]
    assert reference == {"name": "hf", "key": "HF_TOKEN", "optional": True}


def test_only_a_hub_model_is_fetched_by_a_native_sidecar() -> None:
    assert "fetch" not in containers(template("claim")["spec"])
    sidecar = containers(template("hub")["spec"])["fetch"]
    assert sidecar["restartPolicy"] == "Always"
    config = codec.loads(FetchConfig, environment(sidecar)["TACHO_FETCH_CONFIG"]["value"])
    assert (config.repository, config.files.commit) == (
        "HuggingFaceTB/SmolLM2-135M-Instruct",
        hub_plan().files.commit,
    )
    assert config.endpoint == "https://hub.example"
    assert environment(sidecar)["SSL_CERT_FILE"]["value"] == "/etc/tacho-ca/ca.crt"
    assert environment(sidecar)["HTTPS_PROXY"]["value"] == "http://proxy.example:3128"


def test_a_claims_model_is_mounted_read_only() -> None:
    engine = containers(template("claim")["spec"])["engine"]
    (mount,) = [item for item in engine["volumeMounts"] if item["mountPath"] == "/models"]
    assert mount["readOnly"] is True
    assert runtime_of(template("claim")["spec"]).model.path == "/models/smollm2"


def test_the_cache_is_written_by_fetch_and_read_by_the_engine() -> None:
    found = containers(template("hub")["spec"])
    mounts = {
        name: next(item for item in found[name]["volumeMounts"] if item["mountPath"] == "/models")
        for name in ("fetch", "engine")
    }
    assert mounts["engine"]["readOnly"] is True
    assert "readOnly" not in mounts["fetch"]
    assert {item["subPath"] for item in mounts.values()} == {"hub"}


def test_a_read_only_cache_is_written_by_nobody() -> None:
    spec = changed(HUB_SPEC, cache={"persistentVolumeClaim": {"claimName": "cache", "readOnly": True}})
    rendered = pod_template(resource(spec), hub_plan(), revision="r", plan_key="k", config=CONFIG)
    mounts = containers(rendered["spec"])["fetch"]["volumeMounts"]
    assert next(item for item in mounts if item["mountPath"] == "/models")["readOnly"] is True


def test_what_is_compiled_is_kept_apart_from_the_models() -> None:
    def mounts(spec: dict[str, Any], planned: ModelPlan) -> list[dict[str, Any]]:
        rendered = pod_template(resource(spec), planned, revision="r", plan_key="k", config=CONFIG)
        found = containers(rendered["spec"])
        assert not [item for item in found["inject"]["volumeMounts"] if item["mountPath"] == CACHE_DIR]
        return [item for item in found["engine"]["volumeMounts"] if item["mountPath"] == CACHE_DIR]

    claim = {"persistentVolumeClaim": {"claimName": "cache", "subPath": "team"}}
    beside = {"name": "tacho-cache", "mountPath": CACHE_DIR, "subPath": "team/tacho-compiled"}
    assert mounts(changed(CLAIM_SPEC, cache=claim), compiled_plan()) == [beside]
    volumes = template("compiled")["spec"]["volumes"]
    claims = {item["name"]: item.get("persistentVolumeClaim", {}).get("claimName") for item in volumes}
    assert (claims["tacho-model"], claims["tacho-cache"]) == ("models", "compiled")
    assert mounts(HUB_SPEC, gpu_plan()) == [
        {**beside, "name": "tacho-model", "subPath": "hub/tacho-compiled"}
    ]
    own = {"persistentVolumeClaim": {"claimName": "models"}}
    on_it = {"name": "tacho-model", "mountPath": CACHE_DIR, "subPath": "tacho-compiled"}
    assert mounts(changed(CLAIM_SPEC, cache=own), compiled_plan()) == [on_it]
    # llama.cpp compiles nothing, and what is read-only is not written.
    assert mounts(HUB_SPEC, hub_plan()) == []
    closed = {"persistentVolumeClaim": {"claimName": "cache", "readOnly": True}}
    assert mounts(changed(HUB_SPEC, cache=closed), gpu_plan()) == []


def test_the_configuration_arrives_word_for_word() -> None:
    """The kubelet expands $(NAME) in values; the user's command must reach the runtime unexpanded."""
    config = runtime_of(template("custom")["spec"])
    assert config.custom is not None
    assert config.custom.command == tuple(CUSTOM_SPEC["engine"]["custom"]["command"])
    assert config.engine_port == 9000
    assert config.plan_key == "k" * 10


def test_the_users_variables_win_but_never_tachos() -> None:
    engine = containers(template("custom")["spec"])["engine"]
    names = [item["name"] for item in engine["env"]]
    assert len(names) == len(set(names))
    assert environment(engine)["HOME"]["value"] == "/somewhere"
    assert environment(engine)["TACHO_RUNTIME_CONFIG"]["value"] != "{}"


@pytest.mark.parametrize(
    ("resources", "asked"),
    [
        ({"requests": {"cpu": "3"}}, True),
        ({"requests": {"memory": "1Gi"}}, False),
        ({"limits": {"cpu": "3"}}, False),
        (None, False),
    ],
)
def test_the_engine_learns_of_a_cpu_request_that_a_person_made(resources: Any, asked: bool) -> None:
    engine = {"name": "llamacpp", **({"resources": resources} if resources else {})}
    asks = resource(changed(CLAIM_SPEC, engine=engine))
    made = pod_template(asks, plan(), revision="smol-0123456789", plan_key="k" * 10, config=CONFIG)
    found = environment(containers(made["spec"])["engine"])
    assert (ENV_CPU_REQUEST in found) is asked
    if asked:
        reference = found[ENV_CPU_REQUEST]["valueFrom"]["resourceFieldRef"]
        assert reference == {"resource": "requests.cpu", "divisor": "1m"}


def test_draining_fits_into_the_grace_period() -> None:
    spec = template("custom")["spec"]
    assert spec["terminationGracePeriodSeconds"] == 30
    assert runtime_of(spec).drain_seconds == 10
    assert runtime_of(template("claim")["spec"]).drain_seconds == 100


def test_a_slice_is_pinned_by_the_label_of_its_own_resource() -> None:
    """On nodes with the mixed MIG strategy nvidia.com/gpu.product is the whole GPU's."""
    name = "nvidia.com/mig-1g.5gb"
    product = "NVIDIA-A100-SXM4-40GB-MIG-1g.5gb"
    spec = changed(GPU_SPEC, gpu={"count": 1, "products": [product], "resourceName": name})
    sliced = hub_plan(engine="vllm", image="vllm/vllm-openai:v0.32.0", gpu_count=1, gpu_product=product)
    found = pod_template(
        resource(spec), sliced, revision="smol-0123456789", plan_key="k" * 10, config=CONFIG
    )["spec"]
    assert found["nodeSelector"] == {f"{name}.product": product}


def test_gpus_are_requested_and_pinned_to_one_product() -> None:
    spec = template("gpu")["spec"]
    engine = containers(spec)["engine"]
    assert engine["resources"]["limits"]["nvidia.com/gpu"] == "2"
    assert spec["nodeSelector"]["nvidia.com/gpu.product"] == "NVIDIA-L4"
    assert engine["securityContext"]["readOnlyRootFilesystem"] is False
    assert (
        containers(template("claim")["spec"])["engine"]["securityContext"]["readOnlyRootFilesystem"] is True
    )
    assert "nvidia.com/gpu" not in json.dumps(template("claim"))


def test_computed_resources_never_contradict_the_users() -> None:
    found = containers(template("custom")["spec"])["engine"]["resources"]
    assert found == {"requests": {"cpu": "1"}, "limits": {"memory": "1Gi"}}


@pytest.mark.parametrize("probe", ["startupProbe", "livenessProbe", "readinessProbe"])
def test_checks_wait_at_least_five_seconds(probe: str) -> None:
    engine = containers(template("claim")["spec"])["engine"]
    assert engine[probe]["timeoutSeconds"] >= 5
    assert engine[probe]["httpGet"]["port"] == "runtime"


def test_a_workload_change_leaves_the_template_alone() -> None:
    other = resource(changed(CLAIM_SPEC, workload={"inputTokens": 9}, startupTimeoutSeconds=60, replicas=4))
    again = pod_template(other, plan(), revision="smol-0123456789", plan_key="k" * 10, config=CONFIG)
    assert again == template("claim")
    live = codec.loads(LiveConfig, live_config_map(other, live_config(other.spec))["data"]["live.json"])
    assert (live.workload.input_tokens, live.startup_timeout_seconds) == (9, 60)


def test_the_deadline_is_the_wait_for_a_node_the_pull_the_startup_budget_and_twice_the_probe() -> None:
    planned = plan(files=replace(plan().files, total_bytes=10 * 2**30))

    def deadline(spec: dict[str, Any]) -> int:
        made = deployment(resource(spec), planned, revision="r", pod_template={}, replicas=1)
        return int(made["spec"]["progressDeadlineSeconds"])

    assert deadline(CLAIM_SPEC) == 600 + 600 + 1980 + 180
    assert deadline(changed(CLAIM_SPEC, rollout={"scheduleTimeoutSeconds": 7200})) == 7200 + 600 + 2160
    assert deadline(changed(CLAIM_SPEC, startupTimeoutSeconds=60)) == 600 + 600 + 60 + 180
    assert deadline(changed(CLAIM_SPEC, probe={"budgetSeconds": 120})) == 600 + 600 + 1980 + 480


def test_url_is_the_services() -> None:
    assert url(resource()) == "http://smol.ml.svc:8000"


@pytest.mark.parametrize(
    ("allowed", "namespace", "port", "admitted"),
    [
        (None, "anyone", 8000, True),
        (["ml"], "ml", 8000, True),
        (["ml"], "other", 8000, False),
        ([], "ml", 8000, False),
        (None, "anyone", 9400, False),
        (["ml"], "ml", 9400, False),
        ([], "tacho-system", 9400, True),
        (None, "tacho-system", 9400, True),
        (None, "monitoring", 9400, True),
        (None, "ml", 22, False),
        (["ml"], "tacho-system", 8000, False),
    ],
)
def test_network_policy_means(allowed: list[str] | None, namespace: str, port: int, admitted: bool) -> None:
    endpoint = None if allowed is None else {"allowedNamespaces": allowed}
    found = resource(changed(CLAIM_SPEC, endpoint=endpoint))
    config = Config(tacho_image="t", operator_namespace="tacho-system", monitoring_namespace="monitoring")
    policy = network_policy(found, config)
    pod = {"metadata": template("claim")["metadata"], "spec": template("claim")["spec"]}
    assert admits(policy, pod, namespace=namespace, port=port) is admitted


def test_a_throwaway_pod_is_reached_by_the_operator_where_namespaces_deny_by_default() -> None:
    """And its report is as private as a server's."""
    pod = probe_pod(
        resource(),
        name="p",
        revision="r",
        pod_template=template("claim"),
        measure_key="m",
        limit_seconds=3600,
    )
    policy = network_policy(resource(), CONFIG)
    assert selects(policy["spec"]["podSelector"], pod["metadata"]["labels"])
    assert admits(policy, pod, namespace=CONFIG.operator_namespace, port=9400)
    assert not admits(policy, pod, namespace="anyone", port=9400)
    asked = inspect_pod(resource(), CONFIG, inspect_config(resource()), name="i", attempt=1)
    assert not selects(policy["spec"]["podSelector"], asked["metadata"]["labels"])


def test_network_policy_follows_a_custom_engines_port() -> None:
    policy = network_policy(resource(CUSTOM_SPEC), CONFIG)
    assert admits(policy, template("custom"), namespace="anyone", port=9000)
    assert not admits(policy, template("custom"), namespace="anyone", port=8000)
