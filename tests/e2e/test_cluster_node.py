"""The cluster with a node that the e2e tier and the demo run on keeps its promises."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.cluster_fixtures import state_of
from tests.e2e.resource import eventually
from tools.cluster import cgroups, images, node, state, storage
from tools.cluster.binaries import Binaries
from tools.cluster.down import down
from tools.cluster.handle import Cluster
from tools.cluster.namespaces import HIDDEN
from tools.cluster.paths import REPOSITORY, state_root

pytestmark = pytest.mark.timeout(900)

UP_SECONDS = 300.0
"""For a cluster to come up, or for its last process to end, on a busy machine."""
IMAGE = "docker.io/local/hello:1"
RESTRICTED = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "readOnlyRootFilesystem": True,
    "runAsNonRoot": True,
    "seccompProfile": {"type": "RuntimeDefault"},
}


@pytest.fixture(scope="module")
def hello(node_cluster: Cluster, cluster_binaries: Binaries, tmp_path_factory: pytest.TempPathFactory) -> str:
    """An image with the program `hello`, in the node's containerd."""
    state_of(node_cluster)
    archive = tmp_path_factory.mktemp("image") / "hello.tar"
    images.write_single_program_image(archive, cluster_binaries.path("hello"), IMAGE)
    assert images.load_into(node_cluster.name, archive) == [IMAGE]
    return IMAGE


def pod_spec(image: str, *arguments: str, **more: Any) -> dict[str, Any]:
    """A pod as Pod Security `restricted` wants it."""
    container = {"name": "main", "image": image, "args": list(arguments), "securityContext": RESTRICTED}
    container |= more.pop("container", {})
    return {"containers": [container], "terminationGracePeriodSeconds": 1, **more}


def run_to_end(cluster: Cluster, namespace: str, name: str, spec: dict[str, Any]) -> str:
    """Runs a pod once; returns its log after it has succeeded."""
    metadata = {"name": name, "namespace": namespace}
    spec = {**spec, "restartPolicy": "Never"}
    cluster.apply({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec})
    done = "--for=jsonpath={.status.phase}=Succeeded"
    cluster.kubectl("wait", f"pod/{name}", "-n", namespace, done, "--timeout=180s", timeout_seconds=190)
    return cluster.kubectl("logs", name, "-n", namespace)


@pytest.fixture
def web(node_cluster: Cluster, namespace: str, hello: str) -> str:
    """A Deployment of two pods behind the Service `web`; the namespace it is in."""
    labels = {"app": "web"}
    probe = {"httpGet": {"path": "/", "port": 8080}, "periodSeconds": 1}
    spec = pod_spec(hello, "serve", ":8080", container={"readinessProbe": probe})
    template = {"metadata": {"labels": labels}, "spec": spec}
    metadata = {"name": "web", "namespace": namespace}
    deployment = {"replicas": 2, "selector": {"matchLabels": labels}, "template": template}
    service = {"selector": labels, "ports": [{"port": 80, "targetPort": 8080}]}
    node_cluster.apply(
        {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": deployment},
        {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": service},
    )
    node_cluster.kubectl(
        "rollout", "status", "deployment/web", "-n", namespace, "--timeout=180s", timeout_seconds=190
    )
    return namespace


def test_a_service_answers_this_machine_and_pods_by_name_from_all_its_pods(
    node_cluster: Cluster, web: str, hello: str
) -> None:
    pods = node_cluster.get("pods", "-n", web, "-l", "app=web")["items"]
    names = {pod["metadata"]["name"] for pod in pods}
    address = node_cluster.get("service", "web", "-n", web)["spec"]["clusterIP"]

    def ask(host: str) -> str:
        return httpx.get(f"http://{host}", timeout=5, trust_env=False).text.strip()

    def answered() -> str | None:
        with contextlib.suppress(httpx.TransportError):
            return ask(address)
        return None

    eventually("the node's proxy knows the Service", answered)
    for pod in pods:
        assert ask(f"{pod['status']['podIP']}:8080") == pod["metadata"]["name"]
    assert {ask(address) for _ in range(40)} == names
    for host in (address, "web", f"web.{web}.svc.cluster.local"):
        assert (
            run_to_end(
                node_cluster, web, f"ask-{len(host)}", pod_spec(hello, "get", f"http://{host}/")
            ).strip()
            in names
        )


def test_a_pod_reaches_itself_through_its_service(node_cluster: Cluster, web: str) -> None:
    node_cluster.kubectl("scale", "deployment/web", "--replicas=1", "-n", web)
    one = "--for=jsonpath={.status.replicas}=1"
    node_cluster.kubectl("wait", "deployment/web", "-n", web, one, "--timeout=180s", timeout_seconds=190)
    answer = node_cluster.kubectl("exec", "deployment/web", "-n", web, "--", "/hello", "get", "http://web/")
    assert answer.startswith("web-")


def test_the_namespace_refuses_what_restricted_refuses(
    node_cluster: Cluster, namespace: str, hello: str
) -> None:
    spec = pod_spec(hello, "serve", ":8080", container={"securityContext": {}})
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": spec}
    with pytest.raises(subprocess.CalledProcessError) as refused:
        node_cluster.kubectl("create", "-n", namespace, "-f", "-", stdin=json.dumps(pod))
    assert "violates PodSecurity" in refused.value.stderr


@pytest.mark.alone  # what other tests left may be released at the same time
def test_claims_are_writable_for_who_may_not_be_root_and_come_back_empty(
    node_cluster: Cluster, namespace: str, hello: str
) -> None:
    storage.claim_volume(node_cluster, namespace, "mine")
    for claim in ("mine", "pooled"):
        spec = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
        metadata = {"name": claim, "namespace": namespace}
        kind = {"apiVersion": "v1", "kind": "PersistentVolumeClaim"}
        node_cluster.apply({**kind, "metadata": metadata, "spec": spec})
        mount = {"volumeMounts": [{"name": "data", "mountPath": "/data"}]}
        volume = {"name": "data", "persistentVolumeClaim": {"claimName": claim}}
        pod = pod_spec(hello, "write", "/data/file", container=mount, volumes=[volume])
        run_to_end(node_cluster, namespace, f"write-{claim}", {**pod, "securityContext": {"fsGroup": 65532}})
    bound = node_cluster.get("persistentvolumeclaim", "-n", namespace)["items"]
    volumes = {item["metadata"]["name"]: item["spec"]["volumeName"] for item in bound}
    assert volumes["mine"] == f"{namespace}-mine"
    files = [node_cluster.directory / "volumes" / name / "file" for name in volumes.values()]
    assert [path.read_text() for path in files] == ["written\n", "written\n"]

    node_cluster.kubectl("delete", "pod", "--all", "-n", namespace)
    node_cluster.kubectl("delete", "pvc", "--all", "-n", namespace)
    released = "--for=jsonpath={.status.phase}=Released"
    node_cluster.kubectl("wait", "pv", *volumes.values(), released, "--timeout=180s", timeout_seconds=190)
    assert set(storage.replenish(node_cluster)) >= set(volumes.values())
    assert not any(path.exists() for path in files)


def test_containers_are_in_the_clusters_own_cgroup_and_overlay(node_cluster: Cluster, web: str) -> None:
    known = state.read(node_cluster.name)
    assert known is not None
    if known.snapshotter == "overlayfs":
        mounts = Path(f"/proc/{known.holder_pid}/mountinfo").read_text()
        assert "overlay" in mounts
        assert known.name not in Path("/proc/self/mountinfo").read_text()
    for root in cgroups.hierarchies():
        assert (root / known.cgroup).is_dir()
    pods = [path for root in cgroups.hierarchies() for path in (root / known.cgroup).rglob("pod*-*")]
    assert pods


# --- leaving nothing behind: alone, for nothing else may come and go meanwhile ---------------------


def traces(name: str) -> dict[str, set[str]]:
    """All this machine shows of clusters, those of other names apart."""
    others = {other for other in state.names() if other != name}
    slots = {known.slot for other in others if (known := state.read(other)) is not None}
    own = state.read(name)
    # A cluster that a reboot ended left its state, and its slot is taken again.
    foreign = {f"tacho{slot}" for slot in slots - {own.slot if own is not None else None}}

    def lines(*command: str) -> set[str]:
        shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
        return {line.split(" [")[0] for line in shown if not foreign & set(line.replace("@", " ").split())}

    rules = lines("iptables-save")
    tops = {str(path) for root in cgroups.hierarchies() for path in root.glob("tacho-*")}
    fixed = ("/run/netns", "/var/lib/kubelet", "/var/lib/cni", "/etc/cni", "/var/log/pods")
    return {
        "mounts": {line for line in Path("/proc/self/mountinfo").read_text().splitlines() if _ours(line)},
        "links": {line.split()[1] for line in lines("ip", "-o", "link")},
        "routes": lines("ip", "route", "show", "table", "all"),
        "rules": {line for line in rules if not line.startswith("#")},
        "cgroups": {top for top in tops if not any(top.endswith(f"/tacho-{other}") for other in others)},
        "folders": {path for path in fixed if Path(path).exists()},
        "state": set(state.names()) - others,
        "processes": {str(pid) for pid in state.processes_of(state.directory_of(name))},
    }


def _ours(mount: str) -> bool:
    """Whether a line of mountinfo could be a cluster's; image builds mount too, elsewhere."""
    fields = mount.split()
    point, source = Path(fields[4]), fields[fields.index("-") + 2]
    return source == "tacho" or any(point.is_relative_to(top) for top in (state_root(), *HIDDEN))


def inhabitants(cluster: state.State) -> set[tuple[str, str]]:
    """Process id and start time of its daemons, by their namespace, and of its pods', by their cgroup."""
    namespace = os.readlink(f"/proc/{cluster.holder_pid}/ns/pid")
    in_cgroup = {
        pid
        for root in cgroups.hierarchies()
        for members in (root / cluster.cgroup).rglob("cgroup.procs")
        for pid in members.read_text().split()
    }
    found = set()
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it ended
            if process.name in in_cgroup or os.readlink(process / "ns" / "pid") == namespace:
                found.add((process.name, _state_and_start(process)[1]))
    return found


def _state_and_start(process: Path) -> tuple[str, str]:
    fields = (process / "stat").read_text().rsplit(")", 1)[1].split()
    return fields[0], fields[19]


def alive(process: tuple[str, str]) -> bool:
    """Whether it still runs: not a later process of the same number, not an ended one nobody reaped."""
    try:
        state_letter, start_time = _state_and_start(Path("/proc", process[0]))
    except OSError:
        return False
    return start_time == process[1] and state_letter not in "ZX"


def ended_soon(processes: set[tuple[str, str]]) -> list[tuple[str, str]]:
    """Those that still run after a moment: what was killed gives back its memory first."""
    deadline = time.monotonic() + UP_SECONDS
    while (found := [process for process in processes if alive(process)]) and time.monotonic() < deadline:
        time.sleep(0.1)
    return found


def left_behind(before: dict[str, set[str]], name: str) -> dict[str, set[str]]:
    """What is there now and was not `before`."""
    after = traces(name)
    return {kind: found - before[kind] for kind, found in after.items() if found - before[kind]}


def start(name: str, *options: str) -> subprocess.Popen[bytes]:
    """`up` in the background."""
    command = [sys.executable, "-m", "tools.cluster", "up", "--name", name, *options]
    return subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


@pytest.fixture
def second(node_cluster: Cluster) -> Iterator[str]:
    """The name of a cluster beside the session's, gone afterwards whatever happens."""
    name = f"second-{os.getpid()}"
    yield name
    down(name)


@pytest.mark.alone
def test_two_clusters_at_once_do_not_touch_each_other_and_down_leaves_nothing(
    node_cluster: Cluster, cluster_binaries: Binaries, web: str, second: str, hello: str, tmp_path: Path
) -> None:
    before = traces(second)
    with start(second) as starting:
        assert starting.wait(UP_SECONDS) == 0
    other = node.handle(second, cluster_binaries)
    archive = images.write_single_program_image(tmp_path / "i.tar", cluster_binaries.path("hello"), IMAGE)
    images.load_into(second, archive)
    other.create_namespace("there")
    spec = pod_spec(IMAGE, "serve", ":8080")
    metadata = {"name": "there", "namespace": "there"}
    other.apply({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec})
    other.kubectl(
        "wait", "pod/there", "-n", "there", "--for=condition=Ready", "--timeout=180s", timeout_seconds=190
    )
    during = traces(second)
    assert all(during[kind] - before[kind] for kind in ("links", "routes", "cgroups", "state", "processes"))

    known = state.read(second)
    assert known is not None
    inside = inhabitants(known)
    programs = {Path("/proc", pid, "comm").read_text().strip() for pid, _ in inside}
    assert {"pause", "etcd", "kubelet", "containerd", "containerd-shim", "hello"} <= programs

    assert down(second)
    assert left_behind(before, second) == {}
    assert ended_soon(inside) == []
    pods = node_cluster.get("pods", "-n", web, "-l", "app=web")["items"]
    assert [pod["status"]["containerStatuses"][0]["restartCount"] for pod in pods] == [0, 0]
    address = node_cluster.get("service", "web", "-n", web)["spec"]["clusterIP"]
    assert httpx.get(f"http://{address}", timeout=5, trust_env=False).status_code == 200


@pytest.mark.nightly
@pytest.mark.alone
@pytest.mark.parametrize(
    "victims", [["kubelet", "containerd"], ["etcd", "kube-apiserver"], ["pause"], ["unshare"]]
)
def test_down_works_after_parts_were_killed(second: str, victims: list[str]) -> None:
    before = traces(second)
    with start(second) as starting:
        assert starting.wait(UP_SECONDS) == 0
    for pid in state.processes_of(state.directory_of(second)):
        with contextlib.suppress(OSError):  # it ended with another victim
            program = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[0].decode()
            if Path(program).name in victims:
                os.kill(pid, signal.SIGKILL)
    assert down(second)
    assert left_behind(before, second) == {}


@pytest.mark.nightly
@pytest.mark.alone
def test_down_works_after_half_an_up(second: str) -> None:
    before = traces(second)
    with start(second) as starting:
        while (known := state.read(second)) is None or known.slot is None:
            assert starting.poll() is None
            time.sleep(0.005)
        starting.kill()
    assert not node.is_up(second)
    assert down(second)
    assert left_behind(before, second) == {}
    assert not down(second)


@pytest.mark.alone
def test_a_cluster_does_not_outlive_its_owner(second: str) -> None:
    before = traces(second)
    with subprocess.Popen(["sleep", "600"]) as owner:
        with start(second, "--owner", str(owner.pid)) as starting:
            assert starting.wait(UP_SECONDS) == 0
        assert node.is_up(second)
        owner.kill()
    deadline = time.monotonic() + UP_SECONDS
    while state.directory_of(second).exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert left_behind(before, second) == {}
