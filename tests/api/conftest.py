"""What the API tier shares: the resource's definition, installed as a person would install it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.api.scheduling import NAMESPACE, SILENT_SECONDS
from tools.cluster.binaries import Binaries
from tools.cluster.controlplane import ControlPlane
from tools.cluster.handle import Cluster
from tools.harness.definition import install_definition
from tools.harness.operator_process import Kubelet, Operator, install_rights

TIMEOUT_SECONDS = 300
"""Of a test that names none: who waits with patience must be left to say for what."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent) and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(TIMEOUT_SECONDS))


@pytest.fixture(scope="session")
def api(control_plane: Cluster) -> Cluster:
    """The control plane with LLMDeployment known to it."""
    install_definition(control_plane)
    return control_plane


@pytest.fixture(scope="session")
def account(api: Cluster) -> Path:
    return install_rights(api)


@pytest.fixture
def operator(account: Path, tmp_path: Path) -> Iterator[Operator]:
    process = Operator(account, tmp_path / "operator.log")
    process.start()
    yield process
    process.kill()
    print(process.log.read_text()[-20000:])


@pytest.fixture
def kubelet(api: Cluster, namespace: str) -> Iterator[Kubelet]:
    player = Kubelet(api, namespace)
    with player.answering():
        yield player


@pytest.fixture
def claim(api: Cluster, namespace: str) -> None:
    api.apply(
        {
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "metadata": {"name": "models", "namespace": namespace},
            "spec": {"accessModes": ["ReadWriteMany"], "resources": {"requests": {"storage": "1Gi"}}},
        }
    )


@pytest.fixture(scope="module")
def scheduled(cluster_binaries: Binaries) -> Iterator[Cluster]:
    """A control plane with its scheduler, which the tier's own has not."""
    with ControlPlane(cluster_binaries, scheduler=True, node_grace_seconds=SILENT_SECONDS) as cluster:
        install_definition(cluster)
        cluster.create_namespace(NAMESPACE)
        yield cluster


@pytest.fixture
def served(scheduled: Cluster, tmp_path: Path) -> Iterator[Cluster]:
    """With the operator on it."""
    operator = Operator(install_rights(scheduled), tmp_path / "operator.log")
    operator.start()
    yield scheduled
    operator.kill()
    print(operator.log.read_text()[-20000:])
