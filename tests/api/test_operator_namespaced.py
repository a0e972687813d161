"""The chart's rights to one namespace suffice there, and reach no further."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tools.cluster.binaries import Binaries
from tools.cluster.controlplane import ControlPlane
from tools.cluster.handle import Cluster
from tools.harness.definition import install_definition
from tools.harness.operating import NAME, OPERATOR_USER, bring_up, resource
from tools.harness.operator_process import Kubelet, Operator, eventually, install_rights

OWN, OTHER = "team-a", "team-b"


@pytest.fixture
def cluster(cluster_binaries: Binaries) -> Iterator[Cluster]:
    """Of its own: in the shared one the operator has a ClusterRole."""
    with ControlPlane(cluster_binaries) as found:
        install_definition(found)
        for namespace in (OWN, OTHER):
            found.create_namespace(namespace)
            found.apply(
                {
                    "apiVersion": "v1",
                    "kind": "PersistentVolumeClaim",
                    "metadata": {"name": "models", "namespace": namespace},
                    "spec": {"accessModes": ["ReadWriteMany"], "resources": {"requests": {"storage": "1Gi"}}},
                }
            )
        yield found


def test_with_the_rights_to_one_namespace_nothing_is_refused_and_no_other_is_read(
    cluster: Cluster, tmp_path: Path
) -> None:
    rights = install_rights(cluster, watchNamespaces=[OWN], rbac={"aggregate": False})
    assert not [
        role["metadata"]["name"]
        for role in cluster.get("clusterroles", "-l", "app.kubernetes.io/name=tacho")["items"]
    ]
    cluster.apply(resource(OTHER))
    operator = Operator(rights, tmp_path / "operator.log", TACHO_WATCH_NAMESPACES=OWN)
    operator.start()
    kubelet = Kubelet(cluster, OWN)
    try:
        with kubelet.answering():
            bring_up(cluster, kubelet, OWN)
            cluster.kubectl("scale", "llmd", NAME, "-n", OWN, "--replicas=2")
            kubelet.serve()
            cluster.kubectl("delete", "llmd", NAME, "-n", OWN)
            eventually("its pods go", lambda: not kubelet.pods("server") or None)
    finally:
        operator.kill()
        print(operator.log.read_text()[-20000:])
    requests = [item for item in cluster.audit_events() if item["user"]["username"] == OPERATOR_USER]
    assert requests, "nothing is proved"
    assert not [item["requestURI"] for item in requests if item["responseStatus"]["code"] in (401, 403)]
    assert not [item["requestURI"] for item in requests if OTHER in item["requestURI"]]
    assert "observedGeneration" not in cluster.get("llmd", NAME, "-n", OTHER).get("status", {})
