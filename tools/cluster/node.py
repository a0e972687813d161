"""A cluster with a node: control plane, containerd, kubelet, kube-proxy, DNS; in namespaces of its own.

`up` leaves it running; `down` (tools.cluster.down) takes it away.
"""

import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tools.cluster import (
    cgroups,
    commands,
    images,
    kubeconfig,
    namespaces,
    network as networks,
    nodeconfig,
    packages,
    preflight,
    state,
    storage,
)
from tools.cluster.binaries import Binaries
from tools.cluster.down import down
from tools.cluster.errors import NoSuchClusterError
from tools.cluster.handle import Cluster
from tools.cluster.processes import Processes
from tools.cluster.readiness import api_server_ready
from tools.steps import Say

API_PORT, ETCD_PORT, ETCD_PEER_PORT = 6443, 2379, 2380
START_TIMEOUT_SECONDS = 90.0
PLUGIN_PATH = f"{nodeconfig.CNI_PLUGINS}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@contextmanager
def _step(say: Say, what: str) -> Iterator[None]:
    started = time.monotonic()
    yield
    say(f"  {time.monotonic() - started:5.1f} s  {what}")


def is_up(name: str) -> bool:
    """Whether the cluster is complete and its holder lives."""
    known = state.read(name)
    directory = state.directory_of(name)
    return known is not None and known.complete and known.holder_pid in state.processes_of(directory)


def handle(name: str, binaries: Binaries) -> Cluster:
    """The running cluster `name`; raises NoSuchClusterError."""
    known = state.read(name)
    if known is None or not is_up(name):
        raise NoSuchClusterError(
            f"no cluster {name} is up", f"Run `python -m tools.cluster up --name {name}`"
        )
    directory = state.directory_of(name)
    server = kubeconfig.Server(
        f"https://{known.network.node_address}:{API_PORT}", directory / "pki" / "ca.crt"
    )
    return Cluster(name, directory, directory / "kubeconfig", binaries, directory / "audit.log", server)


def up(name: str, binaries: Binaries, say: Say) -> Cluster:
    """Starts the cluster `name` and waits until its node is Ready; the running one is returned as it is.

    Raises ClusterError; nothing is left running then, and the logs' ends are in the message.
    """
    with state.starting(name, say):
        if is_up(name):
            say(f"cluster {name} is up")
            return handle(name, binaries)
        return _up(name, binaries, say)


def _up(name: str, binaries: Binaries, say: Say) -> Cluster:
    if down(name):
        say(f"removed what a broken cluster {name} had left")
    preflight.must_pass()
    packages.ensure(packages.NODE_TOOLS, say)
    started = time.monotonic()
    try:
        _Node(name, binaries, say).start()
    except BaseException:
        down(name)
        raise
    say(f"cluster {name} is ready in {time.monotonic() - started:.1f} s")
    return handle(name, binaries)


class _Node:
    """The steps of `up`, in order."""

    def __init__(self, name: str, binaries: Binaries, say: Say) -> None:
        self.binaries, self.say = binaries, say
        self.directory = state.directory_of(name)
        snapshotter = "overlayfs" if preflight.overlay_works() else "native"
        self.state = state.write(state.State(name, snapshotter=snapshotter))
        self.environment = {state.MARKER: str(self.directory)}

    def start(self) -> None:
        with _step(self.say, "namespaces, addresses, cgroups"):
            self._namespaces()
        with _step(self.say, "certificates"):
            self._credentials()
        with _step(self.say, "etcd and the API server"):
            self._control_plane()
        with _step(self.say, "containerd, with the pause image"):
            self._containerd()
        with _step(self.say, "the node Ready, its Services and DNS"):
            self._node()
        with _step(self.say, "volumes"):
            self.cluster.apply(storage.storage_class(), *storage.pool(self.directory, self.state.name))
        self.state = state.write(self.state, complete=True)

    def _namespaces(self) -> None:
        outside = Processes(self.directory / "logs", environment=self.environment)
        holder = namespaces.start(outside, self.directory, self.state.name, self.binaries.path("pause"))
        self.state = state.write(self.state, holder_pid=holder)
        self.network = networks.connect(holder)
        self.state = state.write(self.state, slot=self.network.slot)
        cgroups.create(self.state.cgroup)
        inside = {**self.environment, "PATH": PLUGIN_PATH}
        self.processes = Processes(self.directory / "logs", namespaces.enter(holder), inside)

    def _credentials(self) -> None:
        self.layout = commands.Layout(
            directory=self.directory,
            bind_address="0.0.0.0",
            advertise_address=self.network.node_address,
            api_port=API_PORT,
            etcd_port=ETCD_PORT,
            etcd_peer_port=ETCD_PEER_PORT,
            service_cidr=self.network.service_cidr,
            service_address=self.network.service_address,
            publish_endpoint=True,
        )
        self.credentials = commands.make_credentials(self.layout)
        authority, node = self.credentials.authority, self.state.name
        self.server = kubeconfig.Server(self.layout.url, authority.pair.certificate)
        self.admin = kubeconfig.with_certificate(
            self.directory / "kubeconfig", self.server, self.credentials.admin
        )
        users = {
            "kubelet": authority.client("kubelet", f"system:node:{node}", ["system:nodes"]),
            "kube-proxy": authority.client("kube-proxy", "system:kube-proxy"),
            "coredns": authority.client("coredns", "system:coredns"),
        }
        self.configs = {
            user: kubeconfig.with_certificate(self.directory / f"{user}.kubeconfig", self.server, pair)
            for user, pair in users.items()
        }
        self.serving = authority.server("kubelet-serving", node, [node, self.network.node_address])
        self.cluster = Cluster(
            node, self.directory, self.admin, self.binaries, self.layout.audit_log, self.server
        )

    def _run(self, program: str, *arguments: str) -> None:
        self.processes.start(program, [self.binaries.path(program), *arguments])

    def _control_plane(self) -> None:
        self._file("cni/10-tacho.conflist", nodeconfig.cni(self.network))
        self._run("etcd", *commands.etcd(self.layout, self.credentials))
        self._run("kube-apiserver", *commands.api_server(self.layout, self.credentials))
        configuration = nodeconfig.containerd(self.directory, self.state.snapshotter)
        self.processes.start(
            "containerd", ["containerd", "--config", self._file("containerd.toml", configuration)]
        )
        self.processes.wait_until(
            "the API server",
            lambda: api_server_ready(self.server.url, self.server.authority, self.credentials.admin),
            START_TIMEOUT_SECONDS,
            blame="kube-apiserver",
        )
        self._run(
            "kube-controller-manager",
            *commands.controller_manager(self.admin, self.credentials),
        )
        self._run("kube-scheduler", *commands.scheduler(self.admin))

    def _containerd(self) -> None:
        self.processes.wait_until(
            "containerd", self._containerd_answers, START_TIMEOUT_SECONDS, blame="containerd"
        )
        archive = self.directory / "pause.tar"
        images.write_single_program_image(archive, self.binaries.path("pause"), nodeconfig.PAUSE_IMAGE)
        images.load(self.state, archive)
        archive.unlink()

    def _containerd_answers(self) -> bool:
        try:
            images.ctr(self.state, "version")
        except subprocess.CalledProcessError:
            return False
        return True

    def _node(self) -> None:
        configs, authority = self.configs, self.server.authority
        resolv_conf = self._file("resolv.conf", f"nameserver {self.network.node_address}\n")
        kubelet = nodeconfig.kubelet(self.network, self.state.cgroup, authority, self.serving, resolv_conf)
        self._run(
            "kubelet",
            f"--config={self._file('kubelet.json', kubelet)}",
            f"--kubeconfig={configs['kubelet']}",
            f"--hostname-override={self.state.name}",
            f"--node-ip={self.network.node_address}",
        )
        proxy = self._file("kube-proxy.json", nodeconfig.kube_proxy(self.network, configs["kube-proxy"]))
        self._run("kube-proxy", f"--config={proxy}", f"--hostname-override={self.state.name}")
        with_dns = self.binaries.has("coredns")  # programs that are carried may do without its 50 MB
        if with_dns:
            self.cluster.apply(*nodeconfig.dns_role())
            corefile = self._file("Corefile", nodeconfig.corefile(configs["coredns"]))
            self._run("coredns", "-conf", str(corefile))
        self.processes.wait_until("the node", self._node_ready, START_TIMEOUT_SECONDS, blame="kubelet")
        if with_dns:
            self.processes.wait_until("DNS", self._dns_answers, START_TIMEOUT_SECONDS, blame="coredns")

    def _node_ready(self) -> bool:
        return "True" in self.cluster.kubectl(
            "get", "nodes", "-o", 'jsonpath={.items[*].status.conditions[?(@.type=="Ready")].status}'
        )

    def _dns_answers(self) -> bool:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as query:
            query.settimeout(1)
            question = b"".join(
                bytes([len(part)]) + part for part in b"kubernetes.default.svc.cluster.local".split(b".")
            )
            query.sendto(
                b"\0\1\1\0\0\1\0\0\0\0\0\0" + question + b"\0\0\1\0\1", (self.network.node_address, 53)
            )
            try:
                answer = query.recv(512)
            except OSError:
                return False
        return socket.inet_aton(self.network.service_address) in answer

    def _file(self, name: str, content: str) -> Path:
        path = self.directory / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(content)
        return path
