"""Rules and API server take the same pod templates, but for a known list."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings

from tacho_operator.api.rules import RULES
from tacho_operator.api.rules.offline import validate_offline
from tacho_operator.api.types import LLMDeployment
from tacho_operator.core.manifests.objects import deployment
from tacho_operator.core.manifests.pod_template import pod_template
from tacho_operator.shell.api_errors import Forbidden, Invalid
from tacho_operator.shell.kube import connect
from tests.api.pod_templates import specs
from tests.properties import examples
from tools.cluster.handle import Cluster
from tools.harness.operating import resource
from tools.harness.resources import CONFIG, plan


@pytest.fixture
def trial(api: Cluster, namespace: str) -> Iterator[Any]:
    """What the API server says against an object; "" where it takes it."""
    with asyncio.Runner() as runner:
        connection = connect(str(api.kubeconfig))
        kube = runner.run(connection.__aenter__())

        def said(manifest: dict[str, Any]) -> str:
            try:
                runner.run(kube.try_create(manifest))
            except (Forbidden, Invalid) as error:
                return error.message
            return ""

        yield said
        runner.run(connection.__aexit__(None, None, None))


def rendered(document: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The Deployment and a pod that the operator makes of it."""
    found = LLMDeployment.read(document)
    template = pod_template(found, plan(), revision="demo-1", plan_key="k", config=CONFIG)
    made = deployment(found, plan(), revision="demo-1", pod_template=template, replicas=1)
    del made["metadata"]["ownerReferences"]
    metadata = {**template["metadata"], "name": "demo-1-trial", "namespace": found.metadata.namespace}
    return made, {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"]}


LEFT_TO_THE_TRIAL = {
    r"spec\.affinity\.": "deep and seldom wrong: a rule at each of twelve places",
    r"topologySpreadConstraints\[\d+\]\.(labelSelector|matchLabelKeys)": "a selector, as in affinity",
    r"resources\.(requests|limits)": "amounts: only one of the two evaluators of rules can compare them",
    r"\.projected: .* conflicting duplicate paths": "each path beside all others: 50 times a rule's budget",
}
"""What the API server refuses and no rule does, with the reason. The trial of a revision tells it."""
ITS_MOUNTS = r"volumeMounts\[\d+\]\.name: Not found"
"""What the API server also says of the mounts of a volume that it refuses."""
OWN = {
    "labels-free": "labels by which tacho knows its pods",
    "annotations-free": "annotations that tacho writes",
    "volume-name-free": "volumes of tacho's own",
    "mounts-free": "folders of the runtime and the kernel",
    "resources-requests-names": "GPUs are planned",
    "resources-limits-names": "GPUs are planned",
}
"""Rules that refuse what the API server takes, with the reason."""
OWN_MESSAGES = {rule.message for rule in RULES if rule.name in OWN}


def unexplained(document: dict[str, Any], trial: Any) -> list[str]:
    """Where rules and API server differ on a resource, or on the pod that is made of it."""
    offline, words = validate_offline(document, cluster=True), trial(document)
    if bool(offline) != bool(words):
        return [f"the resource: offline {list(map(str, offline))}, the API server {words!r}"]
    try:
        made = rendered(document)
    except ValueError:
        return [] if offline else ["it is accepted and cannot be read"]
    refusals = [said for manifest in made if (said := trial(manifest))]
    if offline and not refusals:
        return [str(item) for item in offline if item.message not in OWN_MESSAGES]
    if offline:
        return []
    each = [
        one
        for said in refusals
        for one in re.split(r"(?:, |\[| is invalid: )(?=spec\.|metadata\.)", said)[1:] or [said]
    ]
    unknown = [one for one in each if not any(re.search(known, one) for known in LEFT_TO_THE_TRIAL)]
    is_of_volume = any(re.search(r"\.volumes\[\d+\]", one) for one in each)
    return [one for one in unknown if not (is_of_volume and re.search(ITS_MOUNTS, one))]


@settings(examples(4), suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(spec=specs())
def test_rules_and_api_server_agree(trial: Any, namespace: str, spec: dict[str, Any]) -> None:
    assert unexplained(resource(namespace, **spec), trial) == []


def test_a_difference_is_seen(trial: Any, namespace: str, monkeypatch: pytest.MonkeyPatch) -> None:
    mount = {"name": "scratch", "mountPath": "/tmp"}
    spec = {
        "engine": {"name": "llamacpp", "volumeMounts": [mount]},
        "podTemplate": {"spec": {"volumes": [{"name": "scratch", "emptyDir": {}}]}},
    }
    document = resource(namespace, **spec)
    assert unexplained(document, trial) == []
    monkeypatch.setattr("tests.api.test_pod_templates.validate_offline", lambda *_, **__: [])
    assert "offline []" in unexplained(document, trial)[0]

    def lenient(manifest: dict[str, Any]) -> str:
        return "" if manifest["kind"] == "LLMDeployment" else str(trial(manifest))

    assert "duplicate entries" in unexplained(document, lenient)[0]
