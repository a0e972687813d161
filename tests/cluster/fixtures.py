"""The pytest plugin: `control_plane`, `node_cluster` and `namespace`.

The API tier asks for `control_plane`, the e2e tier for `node_cluster`; both are started once a session.
Programs are found or built before the first test, outside any test's timeout.
"""

import os
import uuid
from collections.abc import Iterator

import pytest

from tests.cluster import binaries as programs
from tests.cluster.binaries import Binaries
from tests.cluster.controlplane import ControlPlane
from tests.cluster.errors import ClusterError
from tests.cluster.handle import Cluster
from tests.cluster.named import named_cluster

NEED_BINARIES = {"cluster_binaries", "control_plane", "node_cluster", "namespace"}
_found = pytest.StashKey[Binaries]()


def _say(config: pytest.Config, line: str) -> None:
    terminal = config.pluginmanager.get_plugin("terminalreporter")
    if terminal is not None:
        terminal.write_line(line)


def pytest_collection_finish(session: pytest.Session) -> None:
    """Builds the programs now when a collected test wants a cluster: minutes, but no test's minutes."""
    wanted = {name for item in session.items for name in getattr(item, "fixturenames", ())}
    if wanted & NEED_BINARIES and not session.config.option.collectonly:
        try:
            session.config.stash[_found] = programs.find(lambda line: _say(session.config, line))
        except ClusterError as error:
            pytest.exit(str(error), returncode=1)


@pytest.fixture(scope="session")
def cluster_binaries(pytestconfig: pytest.Config) -> Binaries:
    """The cluster's programs: kubectl, kube-apiserver and the rest."""
    return pytestconfig.stash[_found]


@pytest.fixture(scope="session")
def control_plane(cluster_binaries: Binaries, pytestconfig: pytest.Config) -> Iterator[Cluster]:
    """An API server with its controller manager and no node; TACHO_KUBECONFIG's cluster if that is set."""
    named = named_cluster(cluster_binaries, lambda line: _say(pytestconfig, line))
    if named is not None:
        yield named
        return
    with ControlPlane(cluster_binaries) as cluster:
        yield cluster


def _without_node(reason: str) -> None:
    """A missing node is a failure where CI promises one, elsewhere a skip that says why."""
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


def _cluster_of(request: pytest.FixtureRequest) -> Cluster:
    of_node = "node_cluster" in request.fixturenames or "e2e" in request.path.parts
    cluster: Cluster = request.getfixturevalue("node_cluster" if of_node else "control_plane")
    return cluster


@pytest.fixture
def namespace(request: pytest.FixtureRequest) -> Iterator[str]:
    """A fresh namespace that enforces Pod Security `restricted`, in the tier's cluster; deleted after it."""
    cluster = _cluster_of(request)
    name = f"t-{uuid.uuid4().hex[:8]}"
    cluster.create_namespace(name)
    yield name
    cluster.kubectl("delete", "namespace", name, "--wait=false")
