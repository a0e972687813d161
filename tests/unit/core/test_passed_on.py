"""What a user asks for reaches the pod, and what nobody asked for does not."""

from __future__ import annotations

from typing import Any

import pytest

from tacho_contract import codec
from tacho_contract.fetch import FetchConfig
from tacho_contract.launch import RuntimeConfig
from tacho_operator.core.manifests.helper_pods import probe_pod
from tacho_operator.core.manifests.objects import network_policy
from tacho_operator.core.manifests.pod_template import pod_template
from tacho_operator.core.names import REVISION_LABEL, ROLE_LABEL, digest, labels
from tacho_operator.core.planner.types import ModelPlan, Prediction
from tools.harness.resources import CLAIM_SPEC, CONFIG, HUB_SPEC, changed, hub_plan, plan, resource

BARE_SPEC: dict[str, Any] = {"model": {"uri": HUB_SPEC["model"]["uri"]}}
"""Everything that may be absent is."""
PRODUCT = "NVIDIA-L4"


def template(spec: dict[str, Any], planned: ModelPlan) -> dict[str, Any]:
    return pod_template(resource(spec), planned, revision="smol-1", plan_key="k", config=CONFIG)


def container(rendered: dict[str, Any], name: str = "engine") -> dict[str, Any]:
    spec = rendered["spec"]
    return next(item for item in (*spec["initContainers"], *spec["containers"]) if item["name"] == name)


def value(rendered: dict[str, Any], variable: str, name: str = "engine") -> str:
    found = {item["name"]: item for item in container(rendered, name)["env"]}
    return str(found[variable]["value"]).replace("$$", "$")


def launched(rendered: dict[str, Any]) -> RuntimeConfig:
    return codec.loads(RuntimeConfig, value(rendered, "TACHO_RUNTIME_CONFIG"))


def engine(**fields: Any) -> dict[str, Any]:
    return changed(CLAIM_SPEC, engine={"name": "llamacpp", **fields})


def gpu_plan(count: int = 1, product: str = PRODUCT, **fields: Any) -> ModelPlan:
    return hub_plan(gpu_count=count, gpu_product=product, **fields)


def test_the_users_arguments_come_after_the_plans() -> None:
    found = launched(template(engine(extraArgs=["--threads=3"]), plan(arguments=("--threads=2",))))
    assert found.extra_args == ("--threads=2", "--threads=3")


def test_the_cache_type_and_the_split_over_gpus_reach_the_runtime() -> None:
    spec = changed(HUB_SPEC, quantization={"method": "gguf", "kvCacheDtype": "fp8"})
    found = launched(template(spec, gpu_plan(6, tensor_parallel=2, pipeline_parallel=3)))
    assert found.kv_cache_dtype == "fp8"
    assert (found.tensor_parallel, found.pipeline_parallel, found.gpus.count) == (2, 3, 6)


def test_weights_nobody_predicted_are_said_to_be_none() -> None:
    assert launched(template(CLAIM_SPEC, plan(predicted=Prediction()))).predicted_weights_bytes == 0


@pytest.mark.parametrize(("planned", "checked"), [("awq", "awq"), ("modelopt", "none"), ("none", "none")])
def test_the_runtime_checks_methods_that_tacho_knows(planned: str, checked: str) -> None:
    """Formats that plans only name may be unpacked to any size, as MXFP8 is on older GPUs."""
    packed = plan(engine="vllm", engine_version="0.32.0", quantization_method=planned, gpu_count=1)
    config = launched(template(CLAIM_SPEC, packed))
    least = "7.5" if planned == "awq" else "7.0"
    assert (config.quantization_method, config.gpus.least_capability) == (checked, least)


def test_an_engine_of_unknown_size_asks_for_little_and_is_not_limited() -> None:
    found = container(template(CLAIM_SPEC, plan(predicted=Prediction())))["resources"]
    assert found == {"requests": {"cpu": "250m", "memory": "256Mi"}}


@pytest.mark.parametrize(("grace", "drain"), [(5, 1), (20, 1), (22, 2), (30, 10)])
def test_a_short_grace_period_still_leaves_a_second_to_drain(grace: int, drain: int) -> None:
    spec = changed(CLAIM_SPEC, podTemplate={"spec": {"terminationGracePeriodSeconds": grace}})
    assert launched(template(spec, plan())).drain_seconds == drain


def test_a_resource_that_says_nothing_but_its_model_has_a_pod() -> None:
    found = template(BARE_SPEC, gpu_plan())
    config = launched(found)
    assert (config.served_name, config.kv_cache_dtype, config.extra_args) == ("smol", "", ())
    assert config.custom is None
    assert container(found)["ports"][0]["containerPort"] == config.engine_port == 8000
    assert container(found)["resources"]["limits"] == {"nvidia.com/gpu": "1"}
    assert codec.loads(FetchConfig, value(found, "TACHO_FETCH_CONFIG", "fetch")).endpoint == ""
    volumes = {item["name"]: item for item in found["spec"]["volumes"]}
    assert volumes["tacho-model"] == {"name": "tacho-model", "emptyDir": {}}
    assert volumes["tacho-shm"]["emptyDir"]["sizeLimit"] == "2Gi"
    mounts = {item["mountPath"]: item for item in container(found, "fetch")["volumeMounts"]}
    assert mounts["/models"] == {"name": "tacho-model", "mountPath": "/models"}


def test_a_models_own_claim_has_no_folder_of_the_cache() -> None:
    found = container(template(changed(CLAIM_SPEC, cache=HUB_SPEC["cache"]), plan()))
    (mount,) = [item for item in found["volumeMounts"] if item["mountPath"] == "/models"]
    assert mount == {"name": "tacho-model", "mountPath": "/models", "readOnly": True}


def test_a_folder_of_a_users_volume_is_mounted_alone() -> None:
    wanted = {"name": "law", "mountPath": "/etc/law", "subPath": "law", "readOnly": True}
    assert container(template(engine(volumeMounts=[wanted]), plan()))["volumeMounts"][-1] == wanted


def test_device_claims_are_the_engine_containers() -> None:
    claims = [{"name": "gpu", "request": "one"}, {"name": "net"}]
    assert container(template(engine(resources={"claims": claims}), plan()))["resources"]["claims"] == claims


def test_a_limit_the_user_gives_leaves_the_others_computed() -> None:
    computed = container(template(CLAIM_SPEC, plan()))["resources"]
    found = container(template(engine(resources={"limits": {"example.com/fpga": "1"}}), plan()))["resources"]
    assert found == {**computed, "limits": {**computed["limits"], "example.com/fpga": "1"}}


def test_a_gpu_is_asked_for_by_the_users_name_and_pinned_by_the_common_label() -> None:
    shared = "nvidia.com/gpu.shared"
    spec = changed(
        HUB_SPEC,
        gpu={"count": 1, "resourceName": shared},
        podTemplate={"spec": {"nodeSelector": {"pool": "gpu"}}},
    )
    found = template(spec, gpu_plan())
    assert container(found)["resources"]["limits"] == {shared: "1"}
    assert found["spec"]["nodeSelector"] == {"pool": "gpu", "nvidia.com/gpu.product": PRODUCT}


@pytest.mark.parametrize("planned", [gpu_plan(product=""), gpu_plan(0)])
def test_without_gpus_of_a_known_product_there_is_nothing_to_pin(planned: ModelPlan) -> None:
    assert "nodeSelector" not in template(HUB_SPEC, planned)["spec"]


def test_a_token_among_the_hubs_variables_goes_nowhere() -> None:
    spec = changed(HUB_SPEC, model={"uri": BARE_SPEC["model"]["uri"], "hub": {"env": [
        {"name": "HF_TOKEN", "value": "secret"}, {"name": "NO_PROXY", "value": "x"},
    ]}})  # fmt: skip
    names = [item["name"] for item in container(template(spec, hub_plan()), "fetch")["env"]]
    assert "NO_PROXY" in names
    assert "HF_TOKEN" not in names


def test_a_throwaway_pod_is_the_revisions_in_another_role() -> None:
    spec = changed(CLAIM_SPEC, podTemplate={"metadata": {"labels": {"team": "search"}}})
    rendered = template(spec, plan())
    pod = probe_pod(
        resource(spec),
        name="p",
        revision="smol-1",
        pod_template=rendered,
        measure_key="m",
        limit_seconds=3600,
    )
    assert (pod["apiVersion"], pod["kind"]) == ("v1", "Pod")
    served = rendered["metadata"]["labels"]
    roles = {"tacho.dev/role": "probe", "app.kubernetes.io/component": "probe"}
    assert pod["metadata"]["labels"] == {**served, **roles}
    assert (served["team"], served["tacho.dev/revision"]) == ("search", "smol-1")
    annotations = {**rendered["metadata"]["annotations"], "tacho.dev/measure-key": "m"}
    assert pod["metadata"]["annotations"] == annotations
    engine, *others = rendered["spec"]["containers"]
    # Whatever baseline there is: a throwaway pod is there to measure in full.
    in_full = {**engine, "env": [*engine["env"], {"name": "TACHO_FULL_PROBE", "value": "1"}]}
    assert pod["spec"] == {
        **rendered["spec"],
        "containers": [in_full, *others],
        "restartPolicy": "Never",
        "activeDeadlineSeconds": 4200,
        "terminationGracePeriodSeconds": 30,
    }


def test_where_no_namespace_is_named_every_one_may_ask_over_tcp() -> None:
    ingress = network_policy(resource(), CONFIG)["spec"]["ingress"]
    assert {"ports": [{"port": "http", "protocol": "TCP"}]} in ingress


def test_what_is_no_number_has_no_digest() -> None:
    """JSON does not know it: another reader would come to another digest."""
    with pytest.raises(ValueError, match="not JSON compliant"):
        digest({"x": float("nan")})


def test_a_child_without_role_and_revision_is_not_labelled_with_them() -> None:
    assert not {ROLE_LABEL, REVISION_LABEL, "app.kubernetes.io/component"} & set(labels("smol"))
