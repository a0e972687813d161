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


@pytest.fixture(scope="module")
def manifests(helm: Helm) -> list[dict[str, Any]]:
    """All that differ: what several installations share is judged once."""
    found: list[dict[str, Any]] = []
    for values in ({}, EVERYTHING, NAMESPACED):
        found += [manifest for manifest in helm.template(values, tests=True) if manifest not in found]
    return found


@pytest.mark.parametrize("version", ["1.30", "1.34", "1.37"])
def test_every_manifest_is_what_kubernetes_describes(manifests: list[dict[str, Any]], version: str) -> None:
    for manifest in manifests:
        kubernetes_validate.validate(manifest, version, strict=True)
    seen = {manifest["kind"] for manifest in manifests}
    assert {"Deployment", "ValidatingAdmissionPolicy", "CustomResourceDefinition", "Pod"} <= seen
