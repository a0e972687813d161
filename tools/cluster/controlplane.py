"""A control plane alone: etcd, API server, controller manager; on loopback, in a folder, without root.

It dies with the process that started it, even when that is killed.
"""

import os
import shutil
import signal
import tempfile
import time
from pathlib import Path
from types import TracebackType

from tools.cluster import commands, kubeconfig, ports
from tools.cluster.binaries import Binaries
from tools.cluster.errors import ToolMissingError
from tools.cluster.handle import Cluster
from tools.cluster.processes import Processes, dying_with_parent
from tools.cluster.readiness import api_server_ready

READY_TIMEOUT_SECONDS = 60.0
PREFIX = "tacho-control-plane-"  # followed by the owner's process id


def remove_orphans() -> None:
    """Removes the folders of control planes whose owner was killed; their programs died with it."""
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*-*"):
        owner = folder.name.removeprefix(PREFIX).split("-")[0]
        if owner.isdigit() and not Path("/proc", owner).exists():
            shutil.rmtree(folder, ignore_errors=True)


class ControlPlane:
    """One control plane; several live side by side."""

    def __init__(
        self,
        binaries: Binaries,
        *,
        api_port: int | None = None,
        scheduler: bool = False,
        node_grace_seconds: int = commands.NODE_GRACE_SECONDS,
        collects: bool = True,
    ) -> None:
        """`api_port`: a fixed one, else a free one is taken. `scheduler`: run it too. `collects`: with the
        garbage collector."""
        self.binaries, self.with_scheduler = binaries, scheduler
        self._node_grace_seconds, self._collects = node_grace_seconds, collects
        self._requested_port = api_port
        self.ready_seconds = 0.0
        self._directory: Path | None = None
        self._processes: Processes | None = None
        self._commands: dict[str, list[str]] = {}

    def start(self) -> Cluster:
        """Starts everything and waits until the API server is ready.

        Raises PortInUseError, NotReadyError, ToolMissingError; nothing is left running then.
        """
        if self._requested_port is not None:
            ports.must_be_free(self._requested_port, "the API server")
        if shutil.which("setpriv") is None:
            raise ToolMissingError("setpriv is not installed", "Run `apt-get install util-linux`")
        started = time.monotonic()
        remove_orphans()
        self._directory = Path(tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-"))
        try:
            cluster = self._start(self._directory)
        except BaseException:
            self.stop()
            raise
        self.ready_seconds = time.monotonic() - started
        return cluster

    def _start(self, directory: Path) -> Cluster:
        api_port, etcd_port, peer_port = ports.free_ports(3)
        layout = commands.Layout(
            directory=directory,
            bind_address=ports.LOOPBACK,
            advertise_address=ports.LOOPBACK,
            api_port=self._requested_port or api_port,
            etcd_port=etcd_port,
            etcd_peer_port=peer_port,
            service_cidr="10.96.0.0/16",
            service_address="10.96.0.1",
            publish_endpoint=False,
        )
        credentials = commands.make_credentials(layout)
        server = kubeconfig.Server(layout.url, credentials.authority.pair.certificate)
        admin = kubeconfig.with_certificate(directory / "kubeconfig", server, credentials.admin)

        self._processes = Processes(directory / "logs", prefix=dying_with_parent())
        self._run("etcd", commands.etcd(layout, credentials))
        self._run("kube-apiserver", commands.api_server(layout, credentials))
        self._processes.wait_until(
            "the API server",
            lambda: api_server_ready(server.url, server.authority, credentials.admin),
            READY_TIMEOUT_SECONDS,
            blame="kube-apiserver",
        )
        self._run(
            "kube-controller-manager",
            commands.controller_manager(
                admin,
                credentials,
                node_grace_seconds=self._node_grace_seconds,
                collects=self._collects,
            ),
        )
        if self.with_scheduler:
            self._run("kube-scheduler", commands.scheduler(admin))
        return Cluster("control-plane", directory, admin, self.binaries, layout.audit_log, server)

    def kill(self, program: str) -> None:
        """Ends one program as a crash would."""
        assert self._processes is not None
        process = self._processes.running[program]
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def start_again(self, program: str) -> None:
        """Starts a program that was killed, as it was started before; does not wait until it is ready."""
        self._run(program, self._commands[program])

    def _run(self, program: str, arguments: list[str]) -> None:
        assert self._processes is not None
        self._commands[program] = arguments
        self._processes.start(program, [self.binaries.path(program), *arguments])

    def pids(self) -> dict[str, int]:
        """The running programs' process ids."""
        running = self._processes.running if self._processes else {}
        return {name: process.pid for name, process in running.items()}

    def stop(self) -> None:
        """Ends every program and removes the folder. Harmless when nothing runs."""
        if self._processes is not None:
            self._processes.stop()
        if self._directory is not None:
            shutil.rmtree(self._directory, ignore_errors=True)
        self._processes = self._directory = None

    def __enter__(self) -> Cluster:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
