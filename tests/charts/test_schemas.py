"""Every manifest of the chart, held to the schemas of Kubernetes, without a cluster."""

from __future__ import annotations

from typing import Any

import kubernetes_validate
import pytest

from tools.harness.helm import Helm

EVERYTHING: dict[str, Any] = {
    "replicas": 2,
    "bounds": {"replicas": 4, "namespaces": {"team-a": {"gpusPerReplica": 8, "imagePrefixes": ["r/"]}}},
    "extraEnv": [{"name": "HTTPS_PROXY", "value": "http://proxy.example:3128"}],
    "monitoringNamespace": "monitoring",
    "grafana": {"dashboards": {"enabled": True}},
}
NAMESPACED: dict[str, Any] = {"watchNamespaces": ["ml", "team-b"]}


@pytest.mark.parametrize("version", ["1.31", "1.34", "1.37"])
def test_every_manifest_is_what_kubernetes_describes(helm: Helm, version: str) -> None:
    seen = set()
    for values in ({}, EVERYTHING, NAMESPACED):
        for manifest in helm.template(values, tests=True):
            kubernetes_validate.validate(manifest, version, strict=True)
            seen.add(manifest["kind"])
    assert {"Deployment", "ValidatingAdmissionPolicy", "CustomResourceDefinition", "Pod"} <= seen
