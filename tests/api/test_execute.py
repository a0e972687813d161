"""Creating and applying children on a real API server: what is dropped goes, strangers are left."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from tacho_operator.core.manifests.objects import network_policy, service
from tacho_operator.core.names import DEPLOYMENT_LABEL
from tacho_operator.core.rollout.record import Serving
from tacho_operator.shell import execute
from tacho_operator.shell.api_errors import ApiError, Conflict
from tacho_operator.shell.drift import abandoned, contains, managed_entry
from tacho_operator.shell.kube import FIELD_MANAGER, SIZE_MANAGER, Kube, connect
from tools.cluster.handle import Cluster
from tools.harness.resources import CONFIG, HUB_SPEC, changed, resource


@pytest.fixture
async def kube(api: Cluster) -> AsyncIterator[Kube]:
    async with connect(str(api.kubeconfig)) as client:
        yield client


Make = Callable[..., dict[str, Any]]


@pytest.fixture
def config_map(api: Cluster, namespace: str) -> Make:
    """Makes a child of a resource that exists, or garbage collection would take it."""
    owner = {
        "apiVersion": "tacho.dev/v1alpha1",
        "kind": "LLMDeployment",
        "metadata": {"name": "demo", "namespace": namespace},
        "spec": {
            "model": {"uri": "pvc://models/demo"},
            "quantization": {"method": "gguf"},
            "engine": {"name": "llamacpp"},
            "gpu": {"count": 0},
        },
    }
    api.apply(owner)
    found = api.get("llmd", "demo", "-n", namespace)
    reference = {key: found[key] for key in ("apiVersion", "kind")}
    reference |= {"name": "demo", "uid": found["metadata"]["uid"], "controller": True}

    def make(**data: str) -> dict[str, Any]:
        return {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": "child", "namespace": namespace, "ownerReferences": [reference]},
            "data": data,
        }

    return make


async def read(kube: Kube, namespace: str) -> dict[str, Any]:
    found = await kube.get("ConfigMap", namespace, "child")
    assert found is not None
    return found


async def test_what_a_later_version_leaves_out_goes(kube: Kube, namespace: str, config_map: Make) -> None:
    await execute._ensure(kube, None, config_map(kept="1", dropped="1"))
    live = await read(kube, namespace)
    wanted = config_map(kept="1")
    assert contains(live, wanted), "only ownership tells that something is to be dropped"
    assert abandoned(live, wanted, FIELD_MANAGER)
    assert await execute._ensure(kube, live, wanted) == 1
    live = await read(kube, namespace)
    assert live["data"] == {"kept": "1"}
    entry = managed_entry(live, FIELD_MANAGER)
    assert entry is not None
    assert entry["operation"] == "Apply"
    assert await execute._ensure(kube, live, wanted) == 0


async def test_what_others_added_stays(api: Cluster, kube: Kube, namespace: str, config_map: Make) -> None:
    await execute._ensure(kube, None, config_map(ours="1"))
    api.kubectl("annotate", "configmap", "child", "-n", namespace, "theirs=yes")
    await execute._ensure(kube, await read(kube, namespace), config_map(ours="2"))
    live = await read(kube, namespace)
    assert (live["data"], live["metadata"]["annotations"]) == ({"ours": "2"}, {"theirs": "yes"})


async def test_a_replaced_object_is_not_adopted(
    api: Cluster, kube: Kube, namespace: str, config_map: Make
) -> None:
    await execute._ensure(kube, None, config_map(ours="1"))
    ours = await read(kube, namespace)
    api.kubectl("delete", "configmap", "child", "-n", namespace)
    api.kubectl("create", "configmap", "child", "-n", namespace, "--from-literal=theirs=1")
    with pytest.raises(Conflict):
        await execute._ensure(kube, ours, config_map(ours="2"))
    assert (await read(kube, namespace))["data"] == {"theirs": "1"}


async def test_a_strangers_name_is_a_conflict_and_our_own_late_sight_is_not(
    api: Cluster, kube: Kube, namespace: str, config_map: Make
) -> None:
    await execute._ensure(kube, None, config_map(ours="1"))
    assert await execute._ensure(kube, None, config_map(ours="1")) == 0, "it is as it should be"
    api.kubectl("delete", "configmap", "child", "-n", namespace)
    api.kubectl("create", "configmap", "child", "-n", namespace)
    with pytest.raises(Conflict):
        await execute._ensure(kube, None, config_map(ours="1"))


async def test_a_child_whose_label_was_taken_gets_it_again(
    api: Cluster, kube: Kube, namespace: str, config_map: Make
) -> None:
    wanted = config_map(ours="1")
    wanted["metadata"]["labels"] = {DEPLOYMENT_LABEL: "demo"}
    await execute._ensure(kube, None, wanted)
    api.kubectl("label", "configmap", "child", "-n", namespace, f"{DEPLOYMENT_LABEL}-")
    await execute._ensure(kube, None, wanted)
    assert (await read(kube, namespace))["metadata"]["labels"] == {DEPLOYMENT_LABEL: "demo"}


async def test_a_child_of_the_resource_that_was_deleted_before_is_waited_for(
    api: Cluster, kube: Kube, namespace: str, config_map: Make
) -> None:
    former = config_map(ours="1")
    (reference,) = former["metadata"]["ownerReferences"]
    former["metadata"]["ownerReferences"] = [{**reference, "uid": "00000000-0000-0000-0000-00000000beef"}]
    former["metadata"]["finalizers"] = ["example.com/late"]
    await kube.create(former)
    with pytest.raises(ApiError, match="not garbage-collected yet") as waiting:
        await execute._ensure(kube, None, config_map(ours="2"))
    assert not isinstance(waiting.value, Conflict), "a conflict would call for a person"
    api.kubectl("patch", "configmap", "child", "-n", namespace, "--type=json",
                "-p", '[{"op": "remove", "path": "/metadata/finalizers"}]')  # fmt: skip


async def test_deleting_is_only_of_the_very_object(kube: Kube, namespace: str, config_map: Make) -> None:
    await execute._ensure(kube, None, config_map())
    live = await read(kube, namespace)
    await kube.delete("ConfigMap", namespace, "child", uid="00000000-0000-0000-0000-00000000beef")
    assert (await read(kube, namespace))["metadata"]["uid"] == live["metadata"]["uid"]
    uid, version = live["metadata"]["uid"], live["metadata"]["resourceVersion"]
    await kube.annotate(live, {"of": "another version"})
    assert not await kube.delete("ConfigMap", namespace, "child", uid=uid, version=version)
    version = (await read(kube, namespace))["metadata"]["resourceVersion"]
    assert await kube.delete("ConfigMap", namespace, "child", uid=uid, version=version)
    assert await kube.get("ConfigMap", namespace, "child") is None


async def test_what_the_api_server_filled_in_is_no_reason_to_write(kube: Kube, namespace: str) -> None:
    wanted: dict[str, Any] = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "child", "namespace": namespace},
        "spec": {"selector": {"app": "a"}, "ports": [{"name": "http", "port": 80, "targetPort": 8000}]},
    }
    assert await execute._ensure(kube, None, wanted) == 1
    live = await kube.get("Service", namespace, "child")
    assert live is not None
    assert not abandoned(live, wanted, FIELD_MANAGER)
    assert await execute._ensure(kube, live, wanted) == 0
    changed = {**wanted, "spec": {**wanted["spec"], "selector": {"app": "b"}}}
    assert await execute._ensure(kube, live, changed) == 1


@pytest.fixture
def deployment(config_map: Make, namespace: str) -> Make:
    """Makes a Deployment of so many replicas, with an image."""
    labels = {"app": "child"}

    def make(replicas: int, image: str = "example/a:1") -> dict[str, Any]:
        container = {"name": "main", "image": image}
        return {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": config_map()["metadata"],
            "spec": {
                "replicas": replicas,
                "selector": {"matchLabels": labels},
                "template": {"metadata": {"labels": labels}, "spec": {"containers": [container]}},
            },
        }

    return make


async def read_deployment(kube: Kube, namespace: str) -> dict[str, Any]:
    found = await kube.get("Deployment", namespace, "child")
    assert found is not None
    return found


def owners_of_size(live: dict[str, Any]) -> set[str]:
    return {
        entry["manager"]
        for entry in live["metadata"]["managedFields"]
        if "f:replicas" in (entry.get("fieldsV1") or {}).get("f:spec", {})
    }


async def test_another_manager_owns_how_many_replicas_there_are(
    kube: Kube, namespace: str, deployment: Make
) -> None:
    await execute._ensure(kube, None, deployment(3))
    made = await read_deployment(kube, namespace)
    assert await execute._ensure(kube, made, deployment(3)) == 0
    assert await execute._ensure(kube, made, deployment(4)) == 1
    live = await read_deployment(kube, namespace)
    assert (live["spec"]["replicas"], owners_of_size(live)) == (4, {SIZE_MANAGER})
    assert await execute._ensure(kube, live, deployment(4, "example/a:2")) == 1
    live = await read_deployment(kube, namespace)
    assert (live["spec"]["replicas"], owners_of_size(live)) == (4, {SIZE_MANAGER})
    assert live["spec"]["template"]["spec"]["containers"][0]["image"] == "example/a:2"
    assert await execute._ensure(kube, live, deployment(4, "example/a:2")) == 0


async def test_the_first_change_of_all_else_leaves_the_size_alone(
    kube: Kube, namespace: str, deployment: Make
) -> None:
    await execute._ensure(kube, None, deployment(3))
    seen: list[int] = []
    apply = kube.apply

    async def watched(*arguments: Any, **named: Any) -> dict[str, Any]:
        found = await apply(*arguments, **named)
        seen.append(found["spec"]["replicas"])
        return found

    kube.apply = watched  # type: ignore[method-assign] # every state in between is looked at
    await execute._ensure(kube, await read_deployment(kube, namespace), deployment(3, "example/a:2"))
    assert seen == [3, 3]
    live = await read_deployment(kube, namespace)
    assert owners_of_size(live) == {SIZE_MANAGER}


async def test_a_size_that_somebody_else_wrote_is_taken_back(
    api: Cluster, kube: Kube, namespace: str, deployment: Make
) -> None:
    await execute._ensure(kube, None, deployment(3))
    api.kubectl("scale", "deployment/child", "-n", namespace, "--replicas=7")
    live = await read_deployment(kube, namespace)
    assert await execute._ensure(kube, live, deployment(3)) == 1
    live = await read_deployment(kube, namespace)
    assert (live["spec"]["replicas"], owners_of_size(live)) == (3, {SIZE_MANAGER})


OF_NOBODY = {"podSelector": {"matchExpressions": [{"key": "of-nobody", "operator": "Exists"}]}}
FOREIGN: list[tuple[str, dict[str, Any]]] = [
    ("Service", {"selector": {"of": "another"}}),
    ("Service", {"type": "NodePort"}),
    ("Service", {"type": "ExternalName", "externalName": "elsewhere.example"}),
    ("Service", {"publishNotReadyAddresses": True}),
    ("Service", {"internalTrafficPolicy": "Local"}),
    ("Service", {"externalIPs": ["203.0.113.7"]}),
    ("Service", {"ports": [{"name": "http", "port": 8000, "targetPort": 22, "protocol": "TCP"}]}),
    ("NetworkPolicy", {"podSelector": {"matchExpressions": [{"key": "of-nobody", "operator": "Exists"}]}}),
    ("NetworkPolicy", {"ingress": [{}]}),
    ("NetworkPolicy", {"policyTypes": ["Egress"]}),
    (
        "NetworkPolicy",
        {"ingress": [{"ports": [{"port": "runtime", "protocol": "TCP"}], "from": [OF_NOBODY]}]},
    ),
]
"""What another manager writes so that others than the pods are reached, or others may reach them."""


async def test_fields_of_another_manager_lead_nobody_elsewhere(
    api: Cluster, kube: Kube, namespace: str, config_map: Make
) -> None:
    found = resource(changed(HUB_SPEC, endpoint={"allowedNamespaces": []}), namespace=namespace, name="demo")
    children = {
        "Service": service(found, Serving(active="demo-1", selected="demo-1")),
        "NetworkPolicy": network_policy(found, CONFIG),
    }
    for kind, child in children.items():
        child["metadata"]["ownerReferences"] = config_map()["metadata"]["ownerReferences"]
        await execute._ensure(kube, None, child)
        made = await kube.get(kind, namespace, child["metadata"]["name"])
        assert made is not None
        assert contains(made, child)
    for kind, spec in FOREIGN:
        child = children[kind]
        name = child["metadata"]["name"]
        api.kubectl(
            "patch", kind, name, "-n", namespace, "--type=strategic", "-p", json.dumps({"spec": spec})
        )
        live = await kube.get(kind, namespace, name)
        assert live is not None
        assert not contains(live, child), spec
        assert await execute._ensure(kube, live, child) == 1
        live = await kube.get(kind, namespace, name)
        assert live is not None
        assert contains(live, child), spec
