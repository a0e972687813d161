"""An API server that goes away under the operator: nothing is decided meanwhile, it goes on afterwards, also
where etcd is an earlier one then."""

from __future__ import annotations

import contextlib
import hashlib
import shlex
import shutil
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.api.documented_commands import commands
from tools.cluster import builds
from tools.cluster.binaries import Binaries
from tools.cluster.controlplane import ControlPlane
from tools.cluster.handle import Cluster
from tools.cluster.paths import REPOSITORY
from tools.harness.definition import install_definition
from tools.harness.operating import NAME, await_condition, bring_up
from tools.harness.operator_process import Kubelet, Operator, eventually, install_rights

NAMESPACE = "interrupted"


@pytest.fixture
def plane(cluster_binaries: Binaries) -> Iterator[tuple[ControlPlane, Cluster]]:
    """Of its own: the others' must not be killed."""
    one = ControlPlane(cluster_binaries)
    with one as cluster:
        install_definition(cluster)
        cluster.create_namespace(NAMESPACE)
        spec = {"accessModes": ["ReadWriteMany"], "resources": {"requests": {"storage": "1Gi"}}}
        metadata = {"name": "models", "namespace": NAMESPACE}
        cluster.apply(
            {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": metadata, "spec": spec}
        )
        yield one, cluster


def uids(kubelet: Kubelet) -> set[str]:
    return {pod["metadata"]["uid"] for pod in kubelet.pods("server")}


@pytest.fixture
def serving(plane: tuple[ControlPlane, Cluster], tmp_path: Path) -> Iterator[tuple[Operator, Kubelet]]:
    """The operator, and the kubelet of a model that serves."""
    _, cluster = plane
    operator = Operator(install_rights(cluster), tmp_path / "operator.log")
    kubelet = Kubelet(cluster, NAMESPACE)
    operator.start()
    try:
        with kubelet.answering():
            bring_up(cluster, kubelet, NAMESPACE)
            yield operator, kubelet
    finally:
        operator.kill()
        print(operator.log.read_text()[-20000:])


def scale_up(cluster: Cluster, kubelet: Kubelet) -> None:
    """Adds a second pod to the one that serves on."""
    before = uids(kubelet)
    cluster.kubectl("scale", "llmd", NAME, "-n", NAMESPACE, "--replicas=2")
    kubelet.serve()
    assert before < uids(kubelet)


def await_leader(operator: Operator) -> None:
    eventually("it leads", lambda: (operator.ready() and operator.leads()) or None, seconds=90)


def answer(url: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(url, timeout=5) as found:
            return found.status, found.read().decode()
    except urllib.error.HTTPError as refused:
        return refused.code, refused.read().decode()


def test_an_api_server_that_goes_away_and_comes_back(
    plane: tuple[ControlPlane, Cluster], serving: tuple[Operator, Kubelet]
) -> None:
    control, cluster = plane
    operator, kubelet = serving
    ready, live = f"{operator.readiness_url}/readyz", f"{operator.health_url}/healthz"
    assert answer(ready) == (200, "ok\n")
    control.kill("kube-apiserver")
    told = eventually("it is not ready", lambda: found if (found := answer(ready))[0] == 503 else None)
    assert "Pod: " in told[1], "it names what is interrupted"
    turns = operator.reconciles()
    assert answer(live)[0] == 200, "a restart mends no API server"
    time.sleep(7)  # a resync at least
    assert operator.reconciles() == turns, "what may be old decides nothing"
    control.start_again("kube-apiserver")
    eventually("it is ready again", lambda: answer(ready)[0] == 200 or None, seconds=90)
    scale_up(cluster, kubelet)


@contextlib.contextmanager
def stopped(control: ControlPlane) -> Iterator[None]:
    """Nothing writes to etcd meanwhile."""
    programs = ("kube-controller-manager", "kube-apiserver", "etcd")
    for program in programs:
        control.kill(program)
    yield
    for program in reversed(programs):
        control.start_again(program)


def test_an_etcd_that_is_restored_from_an_earlier_copy(
    plane: tuple[ControlPlane, Cluster], serving: tuple[Operator, Kubelet], tmp_path: Path
) -> None:
    control, cluster = plane
    operator, kubelet = serving
    data, copy = cluster.directory / "etcd", tmp_path / "copy"

    def exchange(source: Path, target: Path) -> None:
        """Replaces one folder by the other."""
        with stopped(control):
            shutil.rmtree(target, ignore_errors=True)
            shutil.copytree(source, target)

    served = uids(kubelet)
    exchange(data, copy)
    await_leader(operator)
    scale_up(cluster, kubelet)
    assert len(kubelet.pods("server")) == 2
    exchange(copy, data)
    assert operator.ended(seconds=90), "what it knows is of a time to come"
    operator.start()
    await_leader(operator)
    await_condition(cluster, NAMESPACE, "Ready", "True")
    assert uids(kubelet) == served
    scale_up(cluster, kubelet)


def snapshot(data: Path, target: Path) -> None:
    """What `etcdctl snapshot save` writes: etcd's store, and its hash."""
    store = (data / "member/snap/db").read_bytes()
    target.write_bytes(store + hashlib.sha256(store).digest())


@pytest.mark.nightly
def test_an_etcd_that_is_restored_by_the_command_of_the_page(
    plane: tuple[ControlPlane, Cluster], serving: tuple[Operator, Kubelet], tmp_path: Path
) -> None:
    """Clients list anew, so that no operator has to be restarted."""
    control, cluster = plane
    operator, kubelet = serving
    data = cluster.directory / "etcd"
    (shown,) = (text for text in commands(REPOSITORY / "docs/operate/restore.md") if "etcdutl" in text)
    _, *options = shlex.split(shown.replace("NEW_DIR", str(data)))
    served = uids(kubelet)
    with stopped(control):
        snapshot(data, tmp_path / "snapshot.db")
    await_leader(operator)
    scale_up(cluster, kubelet)
    with stopped(control):
        shutil.rmtree(data)
        program = builds.built(builds.ETCDUTL, print) / "etcdutl"
        subprocess.run([program, *options], cwd=tmp_path, check=True)
    await_leader(operator)
    # A watch that is late may tell of the later replicas: for a moment there is one pod more.
    eventually("it is as it was", lambda: uids(kubelet) == served or None)
    await_condition(cluster, NAMESPACE, "Ready", "True")
    scale_up(cluster, kubelet)
