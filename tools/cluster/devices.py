"""Devices that a node offers to pods: the device plugin beside its kubelet."""

from collections.abc import Sequence
from pathlib import Path

from tools.cluster import binaries, namespaces, node, state
from tools.cluster.errors import NoSuchClusterError
from tools.cluster.handle import Cluster
from tools.cluster.processes import Processes
from tools.steps import Say

READY_SECONDS = 60.0


def offer(cluster: Cluster, resource: str, arguments: Sequence[str], say: Say) -> Processes:
    """Starts the plugin on the running cluster's node and waits until the node offers the resource; ends with
    the cluster, or by `stop`. `arguments` are the plugin's: devices, what they need, the environment.

    Raises NotReadyError with the end of its log, NoSuchClusterError.
    """
    known = state.read(cluster.name)
    if known is None or not known.complete:
        raise NoSuchClusterError(f"no cluster {cluster.name} is up", "Run `python -m tools.cluster up`")
    directory = state.directory_of(cluster.name)
    processes = Processes(
        directory / "logs",
        namespaces.enter(known.holder_pid),
        {state.MARKER: str(directory), "PATH": node.PLUGIN_PATH},
    )
    command: list[str | Path] = [binaries.device_plugin(say), "--resource", resource, *arguments]
    processes.start("device-plugin", command)

    def offered() -> bool:
        return allocatable(cluster, resource) >= 1

    processes.wait_until(f"the resource {resource}", offered, READY_SECONDS, blame="device-plugin")
    return processes


def allocatable(cluster: Cluster, resource: str) -> int:
    """How many of it the cluster's node can give to pods."""
    (found,) = cluster.get("nodes")["items"]
    return int(found["status"]["allocatable"].get(resource, "0"))
