"""`python -m tools.cluster …`: the cluster by hand. The Makefile's cluster targets are these verbs."""

import argparse
import signal
import subprocess
from pathlib import Path

from tools.cluster import binaries, builds, images, node, owner, preflight, state
from tools.cluster.controlplane import ControlPlane
from tools.cluster.down import down as take_down
from tools.cluster.errors import ClusterError
from tools.cluster.paths import DEFAULT_NAME
from tools.steps import StepError, say

CANNOT_RUN_NODE = 3


def build(arguments: argparse.Namespace) -> int:
    """Builds what the cache has not got."""
    for name in arguments.modules or ["cluster", "helm"]:
        if name not in builds.MODULES:
            raise ClusterError(f"there is no module {name}", f"Name some of: {', '.join(builds.MODULES)}")
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


def up(arguments: argparse.Namespace) -> int:
    """Starts a cluster with a node and leaves it running."""
    started = node.up(arguments.name, binaries.find(say), say)
    if arguments.owner:
        owner.start_watch(arguments.name, arguments.owner)
    print(started.kubeconfig)
    return 0


def down(arguments: argparse.Namespace) -> int:
    """Takes a cluster away, whatever state it is in."""
    say(f"cluster {arguments.name} is gone" if take_down(arguments.name) else f"no cluster {arguments.name}")
    return 0


def kubeconfig(arguments: argparse.Namespace) -> int:
    """Prints the path of the running cluster's kubeconfig."""
    print(node.handle(arguments.name, binaries.find(say)).kubeconfig)
    return 0


def kubectl_path(_: argparse.Namespace) -> int:
    """Prints the path of the cluster's own kubectl."""
    print(binaries.find(say).path("kubectl"))
    return 0


def status(_: argparse.Namespace) -> int:
    """Lists the clusters of this machine."""
    for name in state.names():
        print(f"{name}\t{'up' if node.is_up(name) else 'broken: run `down`'}\t{state.directory_of(name)}")
    return 0


def load(arguments: argparse.Namespace) -> int:
    """Imports image archives into the running cluster."""
    for archive in arguments.archives:
        for name in images.load_into(arguments.name, archive):
            print(name)
    return 0


def check(arguments: argparse.Namespace) -> int:
    """Says whether a node can run here; exit status 3 when not."""
    findings = preflight.check()
    if arguments.json:
        print(preflight.as_json(findings))
    else:
        for found in findings:
            print(
                f"{'ok ' if found.ok else 'NO '} {found.name}: {found.detail}. {found.next_step}".rstrip(". ")
            )
    return 0 if all(found.ok for found in findings) else CANNOT_RUN_NODE


def watch(arguments: argparse.Namespace) -> int:
    """Takes a cluster down when its owner ends."""
    owner.watch(arguments.name, arguments.owner)
    return 0


def parser() -> argparse.ArgumentParser:
    """The parser of the command line."""
    top = argparse.ArgumentParser(prog="python -m tools.cluster", description=__doc__)
    verbs = top.add_subparsers(required=True, metavar="VERB")
    verb = verbs.add_parser("build", help="build the cluster's programs into the cache")
    verb.add_argument("modules", nargs="*", metavar="MODULE", help=f"some of {', '.join(builds.MODULES)}")
    verb.set_defaults(run=build)
    verb = verbs.add_parser("control-plane", help="run a control plane until Ctrl-C")
    verb.add_argument("--port", type=int, help="of the API server; absent: a free one")
    verb.set_defaults(run=control_plane)
    named = argparse.ArgumentParser(add_help=False)
    named.add_argument("--name", default=DEFAULT_NAME, help=f"of the cluster; {DEFAULT_NAME} by default")
    for run, text in (
        (up, "start a cluster with a node (root)"),
        (down, "take a cluster down and leave nothing behind"),
        (kubeconfig, "print the path of a running cluster's kubeconfig"),
        (load, "import docker or OCI image archives into a running cluster"),
        (watch, "take a cluster down when a process ends"),
    ):
        verb = verbs.add_parser(run.__name__, help=text, parents=[named])
        verb.set_defaults(run=run)
        if run in (up, watch):
            verb.add_argument(
                "--owner", type=int, metavar="PID", help="a process the cluster must not outlive"
            )
        if run is load:
            verb.add_argument("archives", nargs="+", type=Path, metavar="ARCHIVE")
    verbs.add_parser("status", help="list clusters").set_defaults(run=status)
    verbs.add_parser("kubectl-path", help="print the path of the pinned kubectl").set_defaults(
        run=kubectl_path
    )
    verb = verbs.add_parser("check", help="say whether a node can run here (exit status 3: no)")
    verb.add_argument("--json", action="store_true")
    verb.set_defaults(run=check)
    return top


def main() -> int:
    """Runs a verb; a StepError becomes one message and exit status 1."""
    arguments = parser().parse_args()
    try:
        status: int = arguments.run(arguments)
    except StepError as error:
        say(str(error))
        return 1
    except subprocess.CalledProcessError as error:
        say(f"CommandFailed: `{' '.join(map(str, error.cmd))}`: {(error.stderr or '').strip()}")
        return 1
    return status
