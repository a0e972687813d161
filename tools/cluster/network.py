"""The cluster's addresses and its one wire to this machine.

Each cluster takes a slot: an interface ``tacho<slot>`` here, and three ranges that carry its number. The
kernel hands slots out: making an interface whose name is taken fails.
"""

import ipaddress
import json
import subprocess
from dataclasses import dataclass

from tools.cluster.errors import CannotRunNodeError

SLOTS = 64
LINKS, PODS, SERVICES = "10.213", "10.214", "10.215"


@dataclass(frozen=True)
class Network:
    """The addresses of one slot."""

    slot: int

    @property
    def interface(self) -> str:
        """This machine's end of the wire."""
        return f"tacho{self.slot}"

    @property
    def host_address(self) -> str:
        """This machine, as the node sees it."""
        return f"{LINKS}.{self.slot}.1"

    @property
    def node_address(self) -> str:
        """The node, its API server and its DNS server."""
        return f"{LINKS}.{self.slot}.2"

    @property
    def pod_cidr(self) -> str:
        """Addresses of pods, reachable from this machine."""
        return f"{PODS}.{self.slot}.0/24"

    @property
    def service_cidr(self) -> str:
        """ClusterIPs, reachable from this machine through the node's kube-proxy."""
        return f"{SERVICES}.{self.slot}.0/24"

    @property
    def service_address(self) -> str:
        """The Service `kubernetes`."""
        return f"{SERVICES}.{self.slot}.1"

    def ranges(self) -> list[ipaddress.IPv4Network]:
        """All three address ranges of the cluster."""
        link = f"{LINKS}.{self.slot}.0/30"
        return [ipaddress.IPv4Network(cidr) for cidr in (link, self.pod_cidr, self.service_cidr)]


def free_slots(taken: list[ipaddress.IPv4Network]) -> list[Network]:
    """The slots none of whose ranges meets a route of this machine."""
    networks = [Network(slot) for slot in range(SLOTS)]
    return [
        network
        for network in networks
        if not any(ours.overlaps(theirs) for ours in network.ranges() for theirs in taken)
    ]


def routes() -> list[ipaddress.IPv4Network]:
    """The destinations of this machine's routes, the default one apart."""
    table = json.loads(_ip("-json", "-4", "route", "show", "table", "all") or "[]")
    return [ipaddress.IPv4Network(row["dst"], strict=False) for row in table if row["dst"] != "default"]


def _ip(*arguments: str) -> str:
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise CannotRunNodeError(
            f"`ip {' '.join(arguments)}` failed: {done.stderr.strip()}",
            "Networks can only be set up as root with CAP_NET_ADMIN",
        )
    return done.stdout


def connect(holder_pid: int) -> Network:
    """Takes a slot: a wire between this machine and the namespace of `holder_pid`. Configures both ends."""
    network = _take_slot(holder_pid)
    here, link = network.interface, ("dev", network.interface)
    inside = ["nsenter", "--target", str(holder_pid), "--net", "ip"]
    _ip("address", "add", f"{network.host_address}/30", *link)
    _ip("link", "set", here, "up")
    commands = [
        ["link", "set", "lo", "up"],
        ["address", "add", f"{network.node_address}/30", "dev", "eth0"],
        ["link", "set", "eth0", "up"],
        ["route", "add", "default", "via", network.host_address],
    ]
    for command in commands:
        subprocess.run([*inside, *command], check=True, capture_output=True)
    for cidr in (network.pod_cidr, network.service_cidr):
        _ip("route", "add", cidr, "via", network.node_address, *link)
    return network


def _take_slot(holder_pid: int) -> Network:
    for network in free_slots(routes()):
        wire = [
            "link",
            "add",
            network.interface,
            "type",
            "veth",
            "peer",
            "name",
            "eth0",
            "netns",
            str(holder_pid),
        ]
        made = subprocess.run(["ip", *wire], capture_output=True, text=True, check=False)
        if made.returncode == 0:
            return network
        if "File exists" not in made.stderr:
            raise CannotRunNodeError(
                f"a veth pair cannot be made: {made.stderr.strip()}",
                "The kernel needs veth, and you CAP_NET_ADMIN",
            )
    raise CannotRunNodeError(
        f"no slot is free: {LINKS}.0.0/16, {PODS}.0.0/16 and {SERVICES}.0.0/16 are all routed elsewhere",
        "Take another cluster down (`python -m tools.cluster status` lists them)",
    )


def disconnect(interface: str) -> None:
    """Removes the wire, and with it its addresses and routes. Harmless when it is gone."""
    subprocess.run(["ip", "link", "delete", interface], capture_output=True, check=False)
