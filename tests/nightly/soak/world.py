"""The world of a soak: two operators behind proxies of their own, and what can be done to it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

from benchmarks.fleet.run import refuse
from tests.nightly.soak.observer import API_ERRORS
from tools.cluster import namespaces, state
from tools.cluster.handle import Cluster
from tools.cluster.processes import Processes
from tools.harness.operator_process import POD, Operator, pod_kubeconfig

FREE_SECONDS = 20.0
"""Between two faults that impede."""
TAKE_OVER_SECONDS = 25.0
"""An expired Lease of 15 s, the next reading of it, and the first reconciles."""
RESTART_SECONDS = 240.0
"""For an API server on a machine with much other work."""
PODS = (POD, "tacho-1")


class Proxy:
    """A TCP proxy to the API server, whose connections can be cut."""

    def __init__(self, url: str) -> None:
        address = urlsplit(url)
        self._upstream = (address.hostname, address.port)
        self._writers: set[asyncio.StreamWriter] = set()
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, daemon=True).start()
        starting = asyncio.start_server(self._accept, "127.0.0.1", 0)
        server = asyncio.run_coroutine_threadsafe(starting, self._loop).result()
        self.url = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}"

    def cut(self) -> None:
        def abort() -> None:
            for writer in self._writers:
                writer.transport.abort()

        self._loop.call_soon_threadsafe(abort)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            upstream = await asyncio.open_connection(*self._upstream)
        except OSError:
            writer.transport.abort()
            return
        both = {writer, upstream[1]}
        self._writers |= both
        with contextlib.suppress(OSError):
            await asyncio.gather(self._pass_on(reader, upstream[1]), self._pass_on(upstream[0], writer))
        self._writers -= both

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        finally:
            writer.close()


class Replica:
    """One of the two operators, restarted when it ends, as a kubelet does."""

    def __init__(self, cluster: Cluster, pod: str, images: dict[str, str], folder: Path) -> None:
        assert cluster.api is not None
        self.pod, self.proxy = pod, Proxy(cluster.api.url)
        proxied = folder / f"{pod}.kubeconfig"
        proxied.write_text(pod_kubeconfig(cluster, pod).read_text().replace(cluster.api.url, self.proxy.url))
        self.operator = Operator(
            proxied,
            folder / f"{pod}.log",
            TACHO_IMAGE=images["tacho"],
            TACHO_IMAGE_PULL_POLICY="Never",
            TACHO_ENGINE_IMAGE_LLAMACPP=images["tacho-llamacpp"],
            TACHO_ALLOW_INSECURE_HUB="true",
            TACHO_POD_NAME=pod,
            TACHO_POD_ADDRESS="127.0.0.1",
            TACHO_RESYNC_SECONDS="3600",
        )

    def start_if_ended(self) -> None:
        process = self.operator._process
        if process is None or process.poll() is not None:
            self.operator.kill()
            self.operator.start()


class World:
    """Faults begin and end here. Each that keeps an operator from its work is noted in ``impeded``."""

    def __init__(self, cluster: Cluster, images: dict[str, str], folder: Path) -> None:
        self.cluster, self.images, self.folder = cluster, images, folder
        self.replicas = [Replica(cluster, pod, images, folder) for pod in PODS]
        self.impeded: list[tuple[float, float]] = []
        self.terminated: list[tuple[float, str]] = []
        """SIGTERMs of a leader: when, and whose."""
        self._known = state.read(cluster.name)
        self.faults = (self.end_operator, self.restart_api_server, self.refuse)

    @contextlib.contextmanager
    def impeding(self) -> Iterator[None]:
        began = time.time()
        yield
        self.impeded.append((began, time.time() + TAKE_OVER_SECONDS))

    def is_impeded(self) -> bool:
        """So that a fault comes only when the one before is over, and there was time without one."""
        return bool(self.impeded) and time.time() < self.impeded[-1][1] + FREE_SECONDS

    def end_operator(self, draw: random.Random) -> str:
        """SIGTERM, SIGKILL, or twenty seconds of SIGSTOP."""
        replica = draw.choice(self.replicas)
        number = draw.choice((signal.SIGTERM, signal.SIGKILL, signal.SIGSTOP))
        with self.impeding():
            if number is signal.SIGTERM and replica.operator.leads():
                self.terminated.append((time.time(), replica.pod))
            replica.operator.send(number)
            time.sleep(20 if number is signal.SIGSTOP else draw.uniform(1, 5))
            if number is signal.SIGSTOP:
                replica.operator.send(signal.SIGCONT)
            else:
                replica.operator.ended()
            replica.start_if_ended()
        return f"{number.name} {replica.pod}"

    def restart_api_server(self, draw: random.Random) -> str:
        assert self._known is not None
        commands = {pid: _command_of(pid) for pid in state.processes_of(self.cluster.directory)}
        ((pid, command),) = (
            (pid, command) for pid, command in commands.items() if Path(command[0]).name == "kube-apiserver"
        )
        seconds = draw.uniform(0, 8)
        with self.impeding():
            os.kill(pid, signal.SIGKILL)
            time.sleep(seconds)
            while not _is_ended(pid):  # its port stays bound until the last of its threads has ended
                time.sleep(0.05)
            environment = {state.MARKER: str(self.cluster.directory)}
            logs = self.cluster.directory / "logs"
            processes = Processes(logs, namespaces.enter(self._known.holder_pid), environment)
            processes.start("kube-apiserver", command)
            self.await_api_server()
        return f"API server killed, absent for {seconds:.1f} s"

    def await_api_server(self) -> None:
        deadline = time.monotonic() + RESTART_SECONDS
        while time.monotonic() < deadline:
            with contextlib.suppress(*API_ERRORS):
                self.cluster._request("GET", "/readyz")
                return
            time.sleep(0.5)
        raise TimeoutError("the API server does not come back")

    def refuse(self, draw: random.Random) -> str:
        seconds = draw.uniform(2, 12)
        with self.impeding():
            refuse(self.cluster)
            time.sleep(seconds)
            self.cluster.kubectl("delete", "flowschema,prioritylevelconfiguration", "fleet")
        return f"429 for {seconds:.1f} s"

    def cut_watches(self, draw: random.Random) -> str:
        replica = draw.choice(self.replicas)
        replica.proxy.cut()
        return f"connections of {replica.pod} cut"

    def inside(self, script: str) -> None:
        """Runs it on the node."""
        assert self._known is not None
        namespaces.run_inside(self._known.holder_pid, ["sh", "-ec", script])


def _is_ended(pid: int) -> bool:
    """Whether no thread of a killed process runs any longer. Its parent may not have waited for it yet."""
    try:
        return all(
            stat.read_text().rpartition(")")[2].split()[0] in "ZX"
            for stat in Path(f"/proc/{pid}/task").glob("*/stat")
        )
    except OSError:  # a thread ended between listing and reading
        return not Path(f"/proc/{pid}").exists()


def _command_of(pid: int) -> list[str]:
    """The arguments of a process; one empty string where it has ended, as others come and go."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        return Path(f"/proc/{pid}/cmdline").read_text().split("\0")[:-1] or [""]
    return [""]
