"""A cluster the user names with TACHO_KUBECONFIG.

Never KUBECONFIG: an exported production context must not meet a test suite.
"""

import os
from collections.abc import Mapping
from pathlib import Path

from tools.cluster import node
from tools.cluster.binaries import Binaries
from tools.cluster.errors import NoSuchClusterError, NotConfirmedError
from tools.cluster.handle import Cluster
from tools.cluster.paths import state_root
from tools.steps import Say

VARIABLE = "TACHO_KUBECONFIG"
USERS = "named by the user"
"""The name of a cluster that was not started here."""


def is_ours(kubeconfig: Path, own_root: Path) -> bool:
    """Whether a cluster was started here, by where its kubeconfig lies."""
    return kubeconfig.resolve().parent.parent == own_root.resolve()


def is_confirmed(environment: Mapping[str, str]) -> bool:
    """Whether someone said that tests may use a cluster not started here."""
    return environment.get("CONFIRM") == "1"


def named_cluster(
    binaries: Binaries, directory: Path, say: Say, *, confirmed: bool = False
) -> Cluster | None:
    """The cluster of TACHO_KUBECONFIG, None when unset. Prints its context and server.

    `directory`: an empty one for what tests write beside it. `confirmed`: CONFIRM=1 is not needed.

    Raises NotConfirmedError for a cluster not started here without CONFIRM=1.
    """
    value = os.environ.get(VARIABLE)
    if not value:
        return None
    path = Path(value)
    if not path.is_file():
        raise NoSuchClusterError(
            f"{VARIABLE}={value} is not a file", f"Unset {VARIABLE} or name a kubeconfig"
        )
    if is_ours(path, state_root()):
        own = node.handle(path.resolve().parent.name, binaries)
        say(f"{VARIABLE}: cluster {own.name}, started here")
        return own
    cluster = Cluster(
        name=USERS,
        directory=directory,
        kubeconfig=path,
        binaries=binaries,
    )
    context = cluster.kubectl("config", "current-context").strip()
    server = cluster.kubectl("config", "view", "--minify", "-o", "jsonpath={.clusters[0].cluster.server}")
    say(f"{VARIABLE}: context {context}, server {server}")
    if not confirmed and not is_confirmed(os.environ):
        raise NotConfirmedError(
            f"context {context} ({server}) was not started here, and tests create and delete objects",
            "Say so with CONFIRM=1 if that is what you want",
        )
    return cluster
