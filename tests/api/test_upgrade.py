"""helm install, upgrade, rollback and uninstall on a real API server: none of them replaces a model pod."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest

from tests.earlier import checked_out
from tools.cluster import binaries
from tools.cluster.binaries import Binaries
from tools.cluster.controlplane import ControlPlane
from tools.cluster.handle import Cluster
from tools.cluster.paths import REPOSITORY
from tools.harness.helm import REQUIRED
from tools.harness.operating import NAME, await_condition, bring_up
from tools.harness.operator_process import (
    ACCOUNT,
    NAMESPACE,
    POD,
    Kubelet,
    Operator,
    eventually,
    pod_kubeconfig,
)

WORK = "ml"
CLAIM = {
    "apiVersion": "v1",
    "kind": "PersistentVolumeClaim",
    "metadata": {"name": "models", "namespace": WORK},
    "spec": {"accessModes": ["ReadWriteMany"], "resources": {"requests": {"storage": "1Gi"}}},
}


@pytest.fixture
def before(tmp_path: Path) -> Path:
    return checked_out(tmp_path)


@pytest.fixture
def cluster(cluster_binaries: Binaries) -> Iterator[Cluster]:
    """One of its own, on which nothing was installed."""
    with ControlPlane(cluster_binaries) as found:
        found.create_namespace(NAMESPACE)
        found.create_namespace(WORK)
        found.apply(CLAIM)
        yield found


def helm(cluster: Cluster, *arguments: str, values: bool = False, program: Path | None = None) -> None:
    """``program``: by default the pinned Helm 4."""
    command = [str(program or binaries.helm(print)), f"--kubeconfig={cluster.kubeconfig}"]
    given = ["--values=-"] if values else []
    done = subprocess.run(
        [*command, f"--namespace={NAMESPACE}", *arguments, *given],
        input=json.dumps(REQUIRED) if values else None,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def serving(cluster: Cluster) -> tuple[object, ...]:
    """What an upgrade must not change: the pods that serve, what they were made from, and the spec."""
    chosen = ("-n", WORK, "-l", "tacho.dev/role=server")
    pods = sorted(item["metadata"]["uid"] for item in cluster.get("pods", *chosen)["items"])
    found = cluster.get("deployments", "-n", WORK)["items"]
    templates = [(item["metadata"]["uid"], json.dumps(item["spec"]["template"])) for item in found]
    kept = [item["metadata"] for item in cluster.get("controllerrevisions", "-n", WORK)["items"]]
    revisions = sorted((item["uid"], item["resourceVersion"]) for item in kept)
    resource = cluster.get("llmd", NAME, "-n", WORK)
    return pods, templates, revisions, resource["metadata"]["uid"], json.dumps(resource["spec"])


@contextmanager
def operating(kubeconfig: Path, log: Path, sources: Path) -> Iterator[None]:
    """An operator of these sources, from when it leads."""
    places = f"{sources / 'operator'}:{sources / 'runtime'}"
    where = [sys.executable, "-c", "import tacho_operator; print(tacho_operator.__path__[0])"]
    found = subprocess.run(where, env={"PYTHONPATH": places}, capture_output=True, text=True, check=True)
    assert Path(found.stdout.strip()).is_relative_to(sources)
    process = Operator(kubeconfig, log, PYTHONPATH=places)
    process.start()
    try:
        eventually("it leads", lambda: process.leads() or None)
        yield
    finally:
        process.kill()
        print(log.read_text()[-8000:])


def accepted(cluster: Cluster, pod: str) -> bool:
    """Whether the API server takes a write of the operator in that pod."""
    owner = {"apiVersion": "tacho.dev/v1alpha1", "kind": "LLMDeployment", "name": "x", "uid": "x"}
    metadata = {
        "name": "x",
        "namespace": WORK,
        "labels": {"tacho.dev/deployment": "x"},
        "ownerReferences": [{**owner, "controller": True}],
    }
    document = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata}
    user = f"--as=system:serviceaccount:{NAMESPACE}:{ACCOUNT}"
    identity = f"--as-user-extra=authentication.kubernetes.io/pod-name={pod}"
    try:
        cluster.kubectl("create", "--dry-run=server", user, identity, "-f", "-", stdin=json.dumps(document))
    except subprocess.CalledProcessError as error:
        if "does not hold the Lease" not in error.stderr:
            raise
        return False
    return True


def alone(cluster: Cluster, pod: str) -> bool | None:
    """Whether the API server takes writes of the operator in that pod, and of no other's."""
    return (accepted(cluster, pod) and not accepted(cluster, "other")) or None


def test_a_new_installation_is_judged_by_its_own_lease(cluster: Cluster) -> None:
    """API servers read no Lease any more once the last policy that reads one is gone."""
    account = f"--serviceaccount={NAMESPACE}:{ACCOUNT}"
    cluster.kubectl("create", "clusterrolebinding", "all", "--clusterrole=cluster-admin", account)
    metadata = {"name": "tacho", "namespace": NAMESPACE}
    lease = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": metadata}
    for holder in ("former", "new"):
        helm(cluster, "install", "tacho", str(REPOSITORY / "charts" / "tacho"), values=True)
        cluster.apply({**lease, "spec": {"holderIdentity": holder}})
        eventually(f"{holder} alone may write", partial(alone, cluster, holder), seconds=60)
        helm(cluster, "uninstall", "tacho")
        eventually("no policy judges", lambda: accepted(cluster, "other") or None)


@pytest.mark.nightly
def test_no_model_pod_is_replaced(cluster: Cluster, before: Path, tmp_path: Path) -> None:
    now, kubelet = REPOSITORY / "charts" / "tacho", Kubelet(cluster, WORK)
    helm(cluster, "install", "tacho", str(before / "charts" / "tacho"), values=True)
    kubeconfig = pod_kubeconfig(cluster, POD)

    def settled() -> None:
        """The operator has looked at every child: it has made one again that was deleted."""
        cluster.kubectl("delete", "networkpolicies", "--all", "-n", WORK)
        eventually("it is made again", lambda: cluster.get("networkpolicies", "-n", WORK)["items"] or None)
        await_condition(cluster, WORK, "Ready", "True")

    with kubelet.answering():
        with operating(kubeconfig, tmp_path / "1.log", before):
            bring_up(cluster, kubelet, WORK)
            settled()
            served = serving(cluster)
        helm(cluster, "upgrade", "tacho", str(now), values=True)
        with operating(kubeconfig, tmp_path / "2.log", REPOSITORY):
            settled()
            assert serving(cluster) == served
        helm(cluster, "rollback", "tacho", "1")
        with operating(kubeconfig, tmp_path / "3.log", before):
            settled()
            assert serving(cluster) == served
        helm(cluster, "uninstall", "tacho")
        assert serving(cluster) == served, "the CRD stays, and with it all that is served"
        helm(cluster, "install", "tacho", str(now), "--take-ownership", values=True)
        assert serving(cluster) == served
