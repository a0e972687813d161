"""The pytest plugin: `control_plane`, `node_cluster` and `namespace`.

The API tier asks for `control_plane`, one for each process of tests; the e2e tier for `node_cluster`, one for
all of its processes. Programs are found or built before the first test, outside any test's timeout.
"""

import functools
import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import pytest

from tools import cache
from tools.cluster import binaries as programs, node, packages, preflight, state, storage
from tools.cluster.binaries import Binaries
from tools.cluster.controlplane import ControlPlane
from tools.cluster.down import down
from tools.cluster.errors import CannotRunNodeError
from tools.cluster.handle import Cluster
from tools.cluster.named import named_cluster
from tools.cluster.paths import REPOSITORY
from tools.cluster.state import State
from tools.steps import StepError

NEED_BINARIES = {"cluster_binaries", "control_plane", "node_cluster", "namespace"}
REUSE = "TACHO_E2E_CLUSTER"
_found = pytest.StashKey[Binaries]()
_lacking = pytest.StashKey[str]()
"""Why there are none, in a worker."""


def _say(config: pytest.Config, line: str) -> None:
    terminal = config.pluginmanager.get_plugin("terminalreporter")
    if terminal is not None:
        terminal.write_line(line)


def pytest_collection_finish(session: pytest.Session) -> None:
    """Builds the programs now when a collected test wants a cluster: minutes, but no test's minutes."""
    wanted = {name for item in session.items for name in getattr(item, "fixturenames", ())}
    if session.config.option.collectonly:
        return
    say = functools.partial(_say, session.config)
    try:
        if wanted & NEED_BINARIES:
            if packages.can_install():
                packages.ensure(packages.CONTROL_PLANE_TOOLS, say)
            session.config.stash[_found] = programs.find(say)
        if "helm" in wanted:
            programs.helm(say)
        if "keda_programs" in wanted:
            programs.keda(say)
        if "node_cluster" in wanted and packages.can_install():
            packages.ensure(packages.NODE_TOOLS, say)
    except StepError as error:
        if not hasattr(session.config, "workerinput"):
            pytest.exit(str(error), returncode=1)
        session.config.stash[_lacking] = str(error)  # a worker's last words reach nobody: its tests say it


def run_process(config: pytest.Config) -> int:
    """The process of the whole run: this one, or the one that started this worker."""
    return os.getppid() if hasattr(config, "workerinput") else os.getpid()


def pytest_unconfigure(config: pytest.Config) -> None:
    """The run's own cluster ends with it; a run that is killed leaves that to the cluster's watch."""
    if not hasattr(config, "workerinput"):
        down(own_cluster(config))


def own_cluster(config: pytest.Config) -> str:
    """The name of the cluster with a node that the processes of this run share."""
    return f"pytest-{run_process(config)}"


@pytest.fixture(scope="session")
def cluster_binaries(pytestconfig: pytest.Config) -> Binaries:
    """The cluster's programs: kubectl, kube-apiserver and the rest."""
    if lacking := pytestconfig.stash.get(_lacking, ""):
        pytest.fail(lacking, pytrace=False)
    return pytestconfig.stash[_found]


@pytest.fixture(scope="session")
def helm(pytestconfig: pytest.Config) -> Path:
    """The pinned helm."""
    return programs.helm(functools.partial(_say, pytestconfig))


@pytest.fixture(scope="session")
def keda_programs(pytestconfig: pytest.Config) -> Path:
    """The folder with KEDA's operator and its metrics adapter."""
    return programs.keda(functools.partial(_say, pytestconfig))


@pytest.fixture(scope="session")
def users_cluster(
    cluster_binaries: Binaries, pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory
) -> Cluster | None:
    """TACHO_KUBECONFIG's cluster, confirmed; None when that is not set."""
    say = functools.partial(_say, pytestconfig)
    return named_cluster(cluster_binaries, tmp_path_factory.mktemp("named-cluster"), say)


@pytest.fixture(scope="session")
def control_plane(cluster_binaries: Binaries) -> Iterator[Cluster]:
    """An API server with its controller manager and no node, whose kubelets the tests play."""
    with ControlPlane(cluster_binaries) as cluster:
        yield cluster


@pytest.fixture(scope="session")
def node_cluster(
    cluster_binaries: Binaries, users_cluster: Cluster | None, pytestconfig: pytest.Config
) -> Cluster:
    """A cluster with a node: TACHO_KUBECONFIG's, else the running one TACHO_E2E_CLUSTER names, else a new."""
    if users_cluster is not None:
        return users_cluster
    reuse = os.environ.get(REUSE)
    if reuse and node.is_up(reuse):
        _say(pytestconfig, f"using the running cluster {reuse}")
        return node.handle(reuse, cluster_binaries)
    try:
        preflight.must_pass()
    except CannotRunNodeError as error:
        unavailable(str(error))
    name = own_cluster(pytestconfig)
    with cache.locked("e2e-cluster"):
        if not node.is_up(name):
            start_cluster(name, run_process(pytestconfig))
    return node.handle(name, cluster_binaries)


def start_cluster(name: str, owner: int) -> None:
    """Starts a cluster with a node that does not outlive the process ``owner``."""
    command = [sys.executable, "-m", "tools.cluster", "up", "--name", name, "--owner", str(owner)]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.fail(f"no cluster with a node: {done.stderr}", pytrace=False)


def state_of(cluster: Cluster) -> State:
    """The state of a cluster that was started here: a test of another one's node does not run."""
    known = state.read(cluster.name)
    if known is None:
        unavailable("the cluster was not started here: its node is not for tests")
    return known


def unavailable(reason: str) -> NoReturn:
    """What a machine or cluster lacks is a failure where CI promises it, elsewhere a skip that says why."""
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
    if cluster.audit_log is not None and request.path.parent.name == "e2e":
        storage.replenish(cluster)
    name = f"t-{uuid.uuid4().hex[:8]}"
    cluster.create_namespace(name)
    yield name
    cluster.begin_deletion(name)
