"""The control plane the API tier runs on keeps its promises."""

import json
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tools.cluster.binaries import Binaries
from tools.cluster.controlplane import ControlPlane
from tools.cluster.errors import NotReadyError, PortInUseError
from tools.cluster.handle import Cluster
from tools.cluster.paths import REPOSITORY

CONFIG_MAP = {"apiVersion": "v1", "kind": "ConfigMap"}
POD = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}}


def test_the_api_server_is_ready_and_of_the_pinned_version(control_plane: Cluster) -> None:
    version = json.loads(control_plane.kubectl("version", "-o", "json"))
    assert version["serverVersion"]["gitVersion"] == version["clientVersion"]["gitVersion"] == "v1.36.3"


def test_every_request_is_in_the_audit_log_with_its_user(control_plane: Cluster, namespace: str) -> None:
    control_plane.apply({**CONFIG_MAP, "metadata": {"name": "seen", "namespace": namespace}})
    seen = {"namespace": namespace, "name": "seen"}
    of_ours = [
        event for event in control_plane.audit_events() if seen.items() <= event.get("objectRef", {}).items()
    ]
    assert [(event["verb"], event["user"]["username"]) for event in of_ours] == [("patch", "tacho-admin")]
    assert of_ours[0]["responseStatus"]["code"] == 201


def test_namespaces_enforce_pod_security_restricted(control_plane: Cluster, namespace: str) -> None:
    spec = {"containers": [{"name": "c", "image": "x", "securityContext": {"privileged": True}}]}
    with pytest.raises(subprocess.CalledProcessError) as refused:
        control_plane.kubectl("create", "-n", namespace, "-f", "-", stdin=json.dumps({**POD, "spec": spec}))
    assert "violates PodSecurity" in refused.value.stderr


def test_a_service_account_may_do_what_rbac_grants_only(control_plane: Cluster, namespace: str) -> None:
    control_plane.kubectl("create", "serviceaccount", "reader", "-n", namespace)
    kubeconfig = control_plane.service_account_kubeconfig(namespace, "reader")
    kubectl = [str(control_plane.binaries.path("kubectl")), f"--kubeconfig={kubeconfig}"]

    def may_list() -> str:
        asked = [*kubectl, "auth", "can-i", "list", "configmaps", "-n", namespace]
        return subprocess.run(asked, capture_output=True, text=True, check=False).stdout.strip()

    assert may_list() == "no"
    control_plane.kubectl("create", "role", "r", "--verb=list", "--resource=configmaps", "-n", namespace)
    subject = f"--serviceaccount={namespace}:reader"
    control_plane.kubectl("create", "rolebinding", "r", "--role=r", subject, "-n", namespace)
    assert may_list() == "yes"


def test_what_an_owner_leaves_behind_is_collected(control_plane: Cluster, namespace: str) -> None:
    control_plane.kubectl("create", "configmap", "owner", "-n", namespace)
    owner = control_plane.get("configmap", "owner", "-n", namespace)["metadata"]
    reference = {"apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": owner["uid"]}
    owned = {"name": "owned", "namespace": namespace, "ownerReferences": [reference]}
    control_plane.apply({**CONFIG_MAP, "metadata": owned})
    control_plane.kubectl("delete", "configmap", "owner", "-n", namespace)
    control_plane.kubectl("wait", "--for=delete", "configmap/owned", "-n", namespace, "--timeout=30s")


def test_two_control_planes_live_side_by_side(cluster_binaries: Binaries, control_plane: Cluster) -> None:
    with ControlPlane(cluster_binaries) as other:
        other.kubectl("create", "namespace", "only-here")
        assert control_plane.kubectl("get", "namespace", "only-here", "--ignore-not-found") == ""
        directory = other.directory
    assert not directory.exists()


def test_a_taken_port_is_named_before_anything_starts(cluster_binaries: Binaries) -> None:
    with socket.socket() as stranger:
        stranger.bind(("127.0.0.1", 0))
        stranger.listen()
        port = stranger.getsockname()[1]
        plane = ControlPlane(cluster_binaries, api_port=port)
        with pytest.raises(PortInUseError, match=f"port in use: 127.0.0.1:{port}.*the API server"):
            plane.start()
        assert plane.pids() == {}


def test_a_program_that_exits_is_reported_with_its_log_and_nothing_stays(
    cluster_binaries: Binaries, tmp_path: Path
) -> None:
    broken = tmp_path / "assets"
    broken.mkdir()
    for program in ("etcd", "kubectl"):
        (broken / program).symlink_to(cluster_binaries.path(program))
    (broken / "kube-apiserver").write_text("#!/bin/sh\necho the reason >&2\nexit 3\n")
    (broken / "kube-apiserver").chmod(0o755)
    plane = ControlPlane(Binaries(cluster_binaries.folder, assets=broken))
    with pytest.raises(NotReadyError, match=r"kube-apiserver exited.*\n.*the reason"):
        plane.start()
    assert plane.pids() == {}


def test_nothing_outlives_a_killed_owner(cluster_binaries: Binaries) -> None:
    script = (
        "import time\n"
        "from tools.cluster import binaries, controlplane\n"
        "plane = controlplane.ControlPlane(binaries.find(print))\n"
        "directory = plane.start().directory\n"
        "print('UP', directory, *plane.pids().values(), flush=True)\n"
        "time.sleep(600)\n"
    )
    owner = subprocess.Popen(
        [sys.executable, "-c", script], cwd=REPOSITORY, stdout=subprocess.PIPE, text=True
    )
    assert owner.stdout is not None
    with owner.stdout:
        line = next(line for line in owner.stdout if line.startswith("UP "))
        owner.kill()
        owner.wait()
    pids = line.split()[2:]
    assert len(pids) == 3
    deadline = time.monotonic() + 10
    while any(_runs(pid) for pid in pids) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert [pid for pid in pids if _runs(pid)] == []


def _runs(pid: str) -> bool:
    try:
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return False
