"""Every kind of child, as rendered, on a real API server: admitted where Pod Security is enforced, and read
back as it was wanted, or the operator would apply it for ever."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tacho_operator.core.manifests.helper_pods import probe_pod
from tacho_operator.core.manifests.objects import (
    deployment,
    disruption_budget,
    facts_config_map,
    live_config_map,
    network_policy,
    service,
)
from tacho_operator.core.names import OUTCOME_ANNOTATION
from tacho_operator.core.revisions.controller_revision import new_revision, read
from tacho_operator.core.revisions.identity import live_config
from tacho_operator.core.revisions.inspection import inspect
from tacho_operator.core.rollout.record import Serving
from tacho_operator.core.types import Observed
from tacho_operator.shell.drift import contains
from tacho_operator.shell.kube import FIELD_MANAGER
from tests.unit.core.test_desired import CASES
from tools.cluster.handle import Cluster
from tools.harness.resources import CONFIG, HUB_SPEC, NOW, changed, facts, raw_resource, resource


def children(case: str, namespace: str) -> list[dict[str, Any]]:
    spec, planned = CASES[case]
    found = resource(
        changed(spec, endpoint={"allowedNamespaces": [namespace]}), namespace=namespace, name=f"smol-{case}"
    )
    record = new_revision(found, planned, facts(), facts_key="k", number=1, config=CONFIG)
    revision = read(record)
    assert revision is not None
    raw = raw_resource(spec, namespace=namespace, name=f"smol-{case}")
    asked = inspect(Observed(resource=found, raw=raw), CONFIG, NOW).apply
    made = [
        facts_config_map(found, {"k": "v"}),
        live_config_map(found, live_config(found.spec), {OUTCOME_ANNOTATION: "note"}),
        record,
        network_policy(found, CONFIG),
        service(found, Serving(active=revision.name, selected=revision.name)),
        disruption_budget(found, revision.name, 2),
        deployment(found, planned, revision=revision.name, pod_template=revision.pod_template, replicas=2),
        probe_pod(
            found,
            name=f"smol-{case}-probe",
            revision=revision.name,
            pod_template=revision.pod_template,
            measure_key="m",
            limit_seconds=3600,
        ),
        *asked,
    ]
    for item in made:
        # The owner does not exist here, and the garbage collector would take its children at once.
        del item["metadata"]["ownerReferences"]
    return made


@pytest.mark.parametrize("case", CASES)
def test_children_are_admitted_and_read_back_as_wanted(
    control_plane: Cluster, namespace: str, case: str
) -> None:
    wanted = children(case, namespace)
    for item in wanted:
        command = ("apply", "--server-side", "-f", "-", "-o", "json", "-n", namespace)
        live = json.loads(control_plane.kubectl(*command, stdin=json.dumps(item)))
        # A pod gains tolerations on its way in; it is made once and never applied again.
        assert item["kind"] == "Pod" or contains(live, item), f"{item['kind']} is not as it was written"


def test_pod_security_admits_the_pods_of_every_deployment(control_plane: Cluster, namespace: str) -> None:
    """A Deployment is only warned about; its pods are what admission refuses."""
    for case in CASES:
        manifests = children(case, namespace)
        (template,) = [item["spec"]["template"] for item in manifests if item["kind"] == "Deployment"]
        pod = {"apiVersion": "v1", "kind": "Pod", **template}
        pod["metadata"] = {**template["metadata"], "name": f"{case}-server"}
        control_plane.kubectl("create", "--dry-run=server", "-n", namespace, "-f", "-", stdin=json.dumps(pod))


def test_a_hub_model_is_among_the_cases() -> None:
    assert CASES["hub"][0] == HUB_SPEC


def test_a_budget_of_an_earlier_version_and_of_another_selector_is_changed(
    control_plane: Cluster, namespace: str
) -> None:
    """It had maxUnavailable, which excludes minAvailable, and the pods of all revisions."""
    found = resource(HUB_SPEC, namespace=namespace, name="budget")
    budgets = [disruption_budget(found, selected, 3) for selected in ("", "budget-1", "")]
    earlier = {**budgets[0], "spec": {**budgets[0]["spec"], "maxUnavailable": 1}}
    del earlier["spec"]["minAvailable"]
    for wanted in (earlier, *budgets):
        wanted["metadata"].pop("ownerReferences", None)
        command = ("apply", "--server-side", f"--field-manager={FIELD_MANAGER}", "-f", "-", "-o", "json")
        live = json.loads(control_plane.kubectl(*command, "-n", namespace, stdin=json.dumps(wanted)))
        assert live["spec"] == wanted["spec"]
