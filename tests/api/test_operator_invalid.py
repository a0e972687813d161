"""What the rules let in and the API server refuses: told with its words, and Ready follows the pods."""

from __future__ import annotations

from typing import Any

import pytest

from tools.cluster.handle import Cluster
from tools.harness.operating import resource
from tools.harness.operator_process import eventually


def _resources(limits: dict[str, str], **requests: str) -> dict[str, Any]:
    return {"engine": {"name": "llamacpp", "resources": {"limits": limits, "requests": requests}}}


INVALID = {
    "requests": (_resources({"memory": "2Gi"}, memory="4Gi"), "InvalidConfig", "resources.requests"),
    "pages": (
        _resources({"memory": "2Gi", "hugepages-2Mi": "1Mi"}),
        "InvalidConfig",
        "limits[hugepages-2Mi]",
    ),
    "limit": (_resources({"memory": "4Gi"}), "AdmissionDenied", "maximum memory usage per Container is 3Gi"),
}
"""spec, the reason, and the API server's words. A LimitRange acts on the pod alone."""


@pytest.mark.usefixtures("operator", "claim")
def test_what_the_api_server_refuses_is_a_condition_with_its_words(api: Cluster, namespace: str) -> None:
    limits = {"type": "Container", "max": {"memory": "3Gi"}}
    small = {"kind": "LimitRange", "metadata": {"name": "small", "namespace": namespace}}
    api.apply({"apiVersion": "v1", **small, "spec": {"limits": [limits]}})
    for name, (spec, _, _) in INVALID.items():
        document = resource(namespace, **spec)
        document["metadata"]["name"] = name
        api.apply(document)

    def conditions(name: str) -> dict[str, dict[str, Any]]:
        status = api.get("llmd", name, "-n", namespace).get("status") or {}
        return {item["type"]: item for item in status.get("conditions") or ()}

    for name, (_, reason, words) in INVALID.items():

        def refused(name: str = name) -> dict[str, Any] | None:
            found = conditions(name)
            return found if found.get("Stalled", {}).get("status") == "True" else None

        found = eventually(f"{name} is refused", refused, 30)
        assert found["Stalled"]["reason"] == reason, found
        assert words in found["Stalled"]["message"]
        assert (found["Ready"]["status"], found["Reconciling"]["status"]) == ("False", "False")
    for kind in ("controllerrevisions", "deployments", "pods"):
        assert api.get(kind, "-n", namespace)["items"] == [], "nothing is read for what cannot start"
