"""`python -m tests.cluster …`: the cluster by hand. The Makefile's cluster targets are these verbs."""

import argparse
import signal
import sys

from tests.cluster import binaries, builds
from tests.cluster.controlplane import ControlPlane
from tests.cluster.errors import ClusterError


def say(line: str) -> None:
    """One line of progress; stdout stays free for what a verb answers."""
    print(line, file=sys.stderr, flush=True)


def build(arguments: argparse.Namespace) -> int:
    """Builds what the cache has not got."""
    for name in arguments.modules:
        print(builds.built(builds.MODULES[name], say))
    return 0


def control_plane(arguments: argparse.Namespace) -> int:
    """Runs a control plane in the foreground until Ctrl-C."""
    plane = ControlPlane(binaries.find(say), api_port=arguments.port, scheduler=True)
    with plane as cluster:
        say(f"ready in {plane.ready_seconds:.1f} s; Ctrl-C ends it. KUBECONFIG:")
        print(cluster.kubeconfig, flush=True)
        try:
            signal.pause()
        except KeyboardInterrupt:
            say("stopping")
    return 0


def parser() -> argparse.ArgumentParser:
    """The command line."""
    top = argparse.ArgumentParser(prog="python -m tests.cluster", description=__doc__)
    verbs = top.add_subparsers(required=True, metavar="VERB")
    verb = verbs.add_parser("build", help="build the cluster's programs into the cache")
    verb.add_argument("modules", nargs="*", default=["cluster", "helm"], choices=[*builds.MODULES])
    verb.set_defaults(run=build)
    verb = verbs.add_parser("control-plane", help="run a control plane until Ctrl-C")
    verb.add_argument("--port", type=int, help="of the API server; absent: a free one")
    verb.set_defaults(run=control_plane)
    return top


def main() -> int:
    """Runs a verb; a ClusterError becomes one message and exit status 1."""
    arguments = parser().parse_args()
    try:
        status: int = arguments.run(arguments)
    except ClusterError as error:
        say(str(error))
        return 1
    return status
