"""The chart: least rights, restricted pods, clear refusals, and the CRD that crds/ holds."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tacho_engines.registry import engine_profiles
from tacho_operator.api.defaults import GPU_TOLERATIONS
from tacho_operator.config import load_settings
from tacho_operator.core.names import DEPLOYMENT_LABEL
from tacho_operator.shell.api_errors import FENCED
from tacho_operator.shell.kube import KINDS
from tacho_operator.shell.observe import CHILDREN
from tools.harness.helm import CHART, REQUIRED, ChartRefused, Helm, kinds

GOLDEN = Path(__file__).parent / "golden" / "default.yaml"


TENANTS = "rbac.authorization.k8s.io/aggregate-to-"
"""Begins a label of roles that are people's, not the operator's."""


def rules(manifests: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Those of the operator."""
    roles = kinds(manifests, "ClusterRole") + kinds(manifests, "Role")
    own = [role for role in roles if not any(name.startswith(TENANTS) for name in role["metadata"]["labels"])]
    found = [rule for role in own for rule in role["rules"]]
    assert found, "no right at all: nothing is proved"
    return found


def operator_environment(manifests: list[dict[str, Any]]) -> dict[str, str]:
    """The variables of the operator's container that have a value."""
    (deployment,) = kinds(manifests, "Deployment")
    variables = deployment["spec"]["template"]["spec"]["containers"][0]["env"]
    return {item["name"]: item["value"] for item in variables if "value" in item}


def test_it_lints(helm: Helm) -> None:
    assert "0 chart(s) failed" in helm.run("lint", str(CHART), "--strict", stdin=yaml.safe_dump(REQUIRED))


def test_the_default_rendering_is_the_golden_one(helm: Helm) -> None:
    """TACHO_UPDATE_GOLDEN=1 writes it anew; the diff is then for a reviewer to read."""
    manifests = [item for item in helm.template() if item["kind"] != "CustomResourceDefinition"]
    rendered = yaml.safe_dump_all(manifests, sort_keys=True)
    if os.environ.get("TACHO_UPDATE_GOLDEN") == "1":
        GOLDEN.parent.mkdir(exist_ok=True)
        GOLDEN.write_text(rendered)
    assert rendered == GOLDEN.read_text()


def test_rights_are_few_and_spelled_out(helm: Helm) -> None:
    for rule in rules(helm.template()):
        assert "*" not in rule["apiGroups"] + rule["resources"] + rule["verbs"], rule
        for resource in rule["resources"]:
            assert resource not in ("secrets", "pods/exec", "pods/proxy", "pods/log"), rule
            assert not resource.startswith(("clusterrole", "role")), rule


def test_tenants_may_edit_resources_and_never_their_status(helm: Helm) -> None:
    roles = {role["metadata"]["name"]: role for role in kinds(helm.template(), "ClusterRole")}
    reads, writes = (roles[name]["rules"] for name in ("tacho-view", "tacho-edit"))
    for rule in (*reads, *writes):
        assert (rule["apiGroups"], rule["resources"]) == (
            ["tacho.dev"],
            ["llmdeployments", "llmdeployments/scale"],
        )
    assert f"{TENANTS}view" not in roles["tacho-edit"]["metadata"]["labels"]
    without = helm.template({"rbac": {"aggregate": False}})
    assert [role["metadata"]["name"] for role in kinds(without, "ClusterRole")] == ["tacho"]
    other = helm.template({"crds": {"install": False}})
    assert set(roles) == {role["metadata"]["name"] for role in kinds(other, "ClusterRole")}


def test_what_is_read_is_watched_and_nothing_else_is(helm: Helm) -> None:
    found = [(name, rule["verbs"]) for rule in rules(helm.template()) for name in rule["resources"]]
    watched = {name for name, verbs in found if "watch" in verbs}
    kinds_read = ("LLMDeployment", *CHILDREN, "PersistentVolumeClaim", "Node")
    assert watched == {KINDS[kind][1] for kind in kinds_read}
    assert watched == {name for name, verbs in found if "list" in verbs}
    assert {KINDS[kind][1] for kind in CHILDREN} <= {name for name, verbs in found if "get" in verbs}


def test_only_what_the_operator_ever_deletes_may_be_deleted(helm: Helm) -> None:
    """The rest goes with the resource, by Kubernetes' garbage collector."""
    allowed = {
        name for rule in rules(helm.template()) if "delete" in rule["verbs"] for name in rule["resources"]
    }
    deleted = ("Deployment", "ControllerRevision", "Pod", "PodDisruptionBudget")
    assert allowed == {KINDS[kind][1] for kind in deleted}
    assert not any("deletecollection" in rule["verbs"] for rule in rules(helm.template()))


def test_the_rights_to_leases_end_at_the_operators_own(helm: Helm) -> None:
    (role,) = kinds(helm.template(), "Role")
    assert role["metadata"]["namespace"] == "tacho-system"
    named, making, own_pod = role["rules"]
    assert (named["resourceNames"], named["verbs"]) == (["tacho"], ["get", "update"])
    assert making["verbs"] == ["create"]
    assert (own_pod["resources"], own_pod["verbs"]) == (["pods"], ["get"])
    variables = operator_environment(helm.template())
    assert variables["TACHO_LEASE_NAME"] == "tacho"


def leader_policies(manifests: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Those that judge by the Lease, by name."""
    found = kinds(manifests, "ValidatingAdmissionPolicy")
    return {item["metadata"]["name"]: item for item in found if "-leader-" in item["metadata"]["name"]}


def covered(policies: Iterable[dict[str, Any]]) -> set[tuple[str, str]]:
    """Resources and operations that the policies judge."""
    return {
        (name, operation)
        for policy in policies
        for rule in policy["spec"]["matchConstraints"]["resourceRules"]
        for name in rule["resources"]
        for operation in rule["operations"]
    }


def test_the_policy_fences_all_that_the_operator_writes_but_leases_and_events(helm: Helm) -> None:
    manifests = helm.template()
    policies = leader_policies(manifests)
    fenced = covered(policies.values())
    (children,) = [
        item
        for item in kinds(manifests, "ValidatingAdmissionPolicy")
        if item["metadata"]["name"] not in policies and "paramKind" not in item["spec"]
    ]
    operations = {"create": "CREATE", "patch": "UPDATE", "update": "UPDATE", "delete": "DELETE"}
    written = {
        (name, operations[verb])
        for rule in rules(manifests)
        for name in rule["resources"]
        for verb in rule["verbs"]
        if verb in operations
    }
    free = {"leases", "events", "llmdeployments/finalizers"}
    assert {item for item in written if item[0] not in free} <= fenced
    assert not {name for name, _ in fenced} & free
    by_name = {"leases", "llmdeployments/status", "llmdeployments/finalizers"}
    assert {item for item in written if item[0] not in by_name} <= covered([children])
    for policy in policies.values():
        assert FENCED in policy["spec"]["validations"][0]["message"]
    bindings = {
        item["spec"]["policyName"]: item for item in kinds(manifests, "ValidatingAdmissionPolicyBinding")
    }
    (kept,) = set(bindings) - {*policies, children["metadata"]["name"]}
    assert bindings[kept]["metadata"]["annotations"] == {"helm.sh/resource-policy": "keep"}
    for binding in (bindings[name] for name in policies):
        assert binding["spec"]["paramRef"]["name"] == operator_environment(manifests)["TACHO_LEASE_NAME"]
        assert binding["spec"]["paramRef"]["parameterNotFoundAction"] == "Allow"
    without = helm.template({"admissionPolicy": {"create": False}})
    assert not kinds(without, "ValidatingAdmissionPolicy") + kinds(
        without, "ValidatingAdmissionPolicyBinding"
    )


def test_given_namespaces_mean_roles_there_and_nothing_cluster_wide(helm: Helm) -> None:
    manifests = helm.template(
        {"watchNamespaces": ["ml", "team-b"], "crds": {"install": False}, "rbac": {"aggregate": False}}
    )
    assert not kinds(manifests, "ClusterRole")
    assert not kinds(manifests, "ClusterRoleBinding")
    roles = {(item["metadata"]["namespace"], item["metadata"]["name"]) for item in kinds(manifests, "Role")}
    assert roles == {("ml", "tacho"), ("team-b", "tacho"), ("tacho-system", "tacho-leader")}
    assert not any("nodes" in rule["resources"] for rule in rules(manifests))
    (deployment,) = kinds(manifests, "Deployment")
    variables = deployment["spec"]["template"]["spec"]["containers"][0]["env"]
    assert {"name": "TACHO_WATCH_NAMESPACES", "value": "ml,team-b"} in variables


def test_who_may_read_metrics_and_scaling(helm: Helm) -> None:
    """docs/use/autoscale.md says so."""
    keda = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "keda"}}}
    monitoring = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}
    own = {"podSelector": {}}
    for values, peers in (
        ({}, [own]),
        ({"monitoringNamespace": "monitoring", "networkPolicy": {"from": [keda]}}, [own, monitoring, keda]),
    ):
        manifests = helm.template(values)
        (policy,), (deployment,) = kinds(manifests, "NetworkPolicy"), kinds(manifests, "Deployment")
        pod = deployment["spec"]["template"]
        assert policy["spec"]["podSelector"]["matchLabels"].items() <= pod["metadata"]["labels"].items()
        assert policy["spec"]["policyTypes"] == ["Ingress"]
        tested, rule = policy["spec"]["ingress"]
        assert [item["port"] for item in tested["ports"]] == ["readiness"]
        assert rule["from"] == peers
        ports = {item["name"]: item["containerPort"] for item in pod["spec"]["containers"][0]["ports"]}
        assert [ports[item["port"]] for item in rule["ports"]] == [9401]
    assert not kinds(helm.template({"networkPolicy": {"create": False}}), "NetworkPolicy")


def test_no_policy_can_stop_pods_that_are_not_tachos(helm: Helm) -> None:
    """Where its Lease cannot be read, a policy refuses whatever its rules and selectors match."""
    for policy in leader_policies(helm.template()).values():
        matched = policy["spec"]["matchConstraints"]
        own = all(rule["apiGroups"] == ["tacho.dev"] for rule in matched["resourceRules"])
        chosen = {item["key"] for item in matched.get("objectSelector", {}).get("matchExpressions", ())}
        assert own or chosen == {DEPLOYMENT_LABEL}


def test_two_replicas_are_parted_and_evicted_one_by_one(helm: Helm) -> None:
    (alone,) = kinds(helm.template(), "Deployment")
    assert (alone["spec"]["replicas"], alone["spec"]["strategy"]) == (1, {"type": "Recreate"})
    assert not kinds(helm.template(), "PodDisruptionBudget")
    manifests = helm.template({"replicas": 2})
    (deployment,), (budget,) = kinds(manifests, "Deployment"), kinds(manifests, "PodDisruptionBudget")
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    assert deployment["spec"]["strategy"]["type"] == "RollingUpdate"
    affinity = deployment["spec"]["template"]["spec"]["affinity"]["podAntiAffinity"]
    (preferred,) = affinity["preferredDuringSchedulingIgnoredDuringExecution"]
    for selector in (budget["spec"]["selector"], preferred["podAffinityTerm"]["labelSelector"]):
        assert selector["matchLabels"].items() <= labels.items()
    assert budget["spec"]["maxUnavailable"] == 1
    (given,) = kinds(helm.template({"replicas": 2, "affinity": {"nodeAffinity": {}}}), "Deployment")
    assert given["spec"]["template"]["spec"]["affinity"] == {"nodeAffinity": {}}


def test_the_operator_pod_is_restricted(helm: Helm) -> None:
    (deployment,) = kinds(helm.template(), "Deployment")
    pod = deployment["spec"]["template"]["spec"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    (container,) = pod["containers"]
    context = container["securityContext"]
    assert context["allowPrivilegeEscalation"] is False
    assert context["readOnlyRootFilesystem"] is True
    assert context["capabilities"] == {"drop": ["ALL"]}


def test_the_crd_is_the_generated_one_and_stays_on_uninstall(helm: Helm) -> None:
    (crd,) = kinds(helm.template(), "CustomResourceDefinition")
    assert crd["metadata"]["annotations"].pop("helm.sh/resource-policy") == "keep"
    (source,) = (CHART.parents[1] / "crds").glob("*.yaml")
    expected = yaml.safe_load(source.read_text())
    crd["metadata"]["annotations"] = crd["metadata"]["annotations"] or None
    if "annotations" not in expected["metadata"]:
        crd["metadata"].pop("annotations")
    assert crd == expected


def test_the_crd_can_be_left_to_somebody_else(helm: Helm) -> None:
    assert not kinds(helm.template({"crds": {"install": False}}), "CustomResourceDefinition")
    (crd,) = kinds(helm.template({"crds": {"keep": False}}), "CustomResourceDefinition")
    assert "helm.sh/resource-policy" not in (crd["metadata"].get("annotations") or {})


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({}, "image.repository is not set: build the images"),
        ({**REQUIRED, "fullnameOverride": "Tacho/1"}, "fullnameOverride"),
        ({**REQUIRED, "nameOverride": "a b"}, "nameOverride"),
        ({**REQUIRED, "nameOverride": "My_App"}, "have the name tacho-My_App, which a Service cannot have"),
        ({**REQUIRED, "nameOverride": "a.b"}, "set fullnameOverride"),
        ({**REQUIRED, "podLabels": {"app.kubernetes.io/name": "x"}}, "podLabels"),
        ({**REQUIRED, "commonLabels": {"app.kubernetes.io/instance": "x"}}, "commonLabels"),
        ({**REQUIRED, "commonLabels": {"tacho.dev/deployment": "x"}}, "commonLabels"),
        ({**REQUIRED, "imagePullPolicy": "Never"}, "imagePullPolicy"),
        ({**REQUIRED, "workers": 0}, "workers"),
        ({**REQUIRED, "replicas": 0}, "replicas"),
        ({**REQUIRED, "networkPolicy": {"from": [{}]}}, "from"),
        ({**REQUIRED, "logLevel": "LOUD"}, "logLevel"),
        ({**REQUIRED, "prices": {"NVIDIA-H200": 3.5}}, "prices"),
        ({**REQUIRED, "prices": {"NVIDIA-H200": "0.00"}}, "pattern"),
        ({**REQUIRED, "currency": "euro"}, "currency"),
        ({**REQUIRED, "image": {**REQUIRED["image"], "digest": "latest"}}, "digest"),
        ({"image": {"repository": "registry.example/tacho:1.0"}}, "/image/repository"),
        ({"image": {"repository": "registry.example:5000/tacho@sha256:0"}}, "/image/repository"),
        ({"image": {"repository": "https://registry.example/tacho"}}, "/image/repository"),
        ({**REQUIRED, "extraEnv": [{"name": "A", "value": 1}]}, "/extraEnv/0/value"),
        ({**REQUIRED, "serviceAccount": {"create": False}}, "serviceAccount.name is needed"),
        ({**REQUIRED, "serviceAccount": {"name": "a' || true || '"}}, "pattern"),
        ({**REQUIRED, "engineImages": {"vllm2": "x"}}, "vllm2"),
        ({**REQUIRED, "engineImages": {"vllm": "mirror.example/vllm@sha256:short"}}, "pattern"),
    ],
)
def test_wrong_values_are_refused_with_their_name(helm: Helm, values: dict[str, Any], says: str) -> None:
    with pytest.raises(ChartRefused) as refused:
        helm.template(values, required=False)
    assert says in str(refused.value)


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"admissionPolicy": None}, "admissionPolicy"),
        ({"admissionPolicy": {"create": None}}, "create"),
        ({"networkPolicy": {"create": None}}, "create"),
        *(
            ({"bounds": {name: None}}, name)
            for name in ("replicas", "gpusPerReplica", "imagePrefixes", "namespaces")
        ),
        ({"bounds": {"namespaces": {"Team-A": {"replicas": 1}}}}, "Team-A"),
    ],
    ids=str,
)
def test_no_key_without_a_value_leaves_out_a_policy(helm: Helm, values: dict[str, Any], says: str) -> None:
    """Helm takes null for a key that is to be removed, and a template takes what is missing for false."""
    with pytest.raises(ChartRefused) as refused:
        helm.template(values)
    assert says in str(refused.value)
    assert "schema" in str(refused.value)


@pytest.mark.parametrize("name", ["localhost:5000/a/tacho", "registry.example/tacho", "tacho"])
def test_a_repository_may_name_a_port(helm: Helm, name: str) -> None:
    (deployment,) = kinds(helm.template({"image": {"repository": name, "tag": "1"}}), "Deployment")
    assert deployment["spec"]["template"]["spec"]["containers"][0]["image"] == f"{name}:1"


def test_a_value_that_left_is_accepted_and_changes_nothing(helm: Helm) -> None:
    assert helm.template({"maxResourcesPerNamespace": 500}) == helm.template({})


def test_any_engine_with_an_image_may_be_given_another(helm: Helm) -> None:
    given = {row.name: f"mirror.example/{row.name}:1" for row in engine_profiles() if row.image.reference}
    settings = load_settings(operator_environment(helm.template({"engineImages": {**given, "vllm": ""}})))
    assert settings.decisions.engine_images == {name: given[name] for name in given if name != "vllm"}


def test_prices_reach_the_operator_as_they_are_written(helm: Helm) -> None:
    prices = {"NVIDIA-H200": "3.50", "NVIDIA-L4": "0.6", "Tesla-T4": "10"}
    settings = load_settings(operator_environment(helm.template({"prices": prices, "currency": "EUR"})))
    assert (settings.decisions.gpu_prices, settings.decisions.currency) == (prices, "EUR")


def test_tolerations_of_gpu_pods_reach_the_operator(helm: Helm) -> None:
    other = [{"key": "sku", "operator": "Equal", "value": "gpu", "effect": "NoSchedule"}]
    for values, read in (
        ({}, list(GPU_TOLERATIONS)),
        ({"gpuTolerations": []}, []),
        ({"gpuTolerations": other}, other),
    ):
        settings = load_settings(operator_environment(helm.template(values)))
        assert list(settings.decisions.gpu_tolerations) == read


def test_an_engines_image_is_pinned_by_digest(helm: Helm) -> None:
    pinned = f"mirror.example/vllm:v0.32.0@sha256:{'0' * 64}"
    settings = load_settings(operator_environment(helm.template({"engineImages": {"vllm": pinned}})))
    assert settings.decisions.engine_images == {"vllm": pinned}


@pytest.mark.parametrize(
    ("image", "reference"),
    [
        ({"repository": "r/tacho"}, "r/tacho:0.1.0"),
        (
            {"registry": "registry.example.com/", "repository": "r/tacho", "tag": "1"},
            "registry.example.com/r/tacho:1",
        ),
        ({"repository": "r/tacho", "digest": "sha256:" + "0" * 64}, "r/tacho@sha256:" + "0" * 64),
    ],
)
def test_image_references(helm: Helm, image: dict[str, str], reference: str) -> None:
    (deployment,) = kinds(helm.template({"image": image}, required=False), "Deployment")
    assert deployment["spec"]["template"]["spec"]["containers"][0]["image"] == reference
