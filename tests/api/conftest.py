"""What the API tier shares: the resource's definition, installed as a person would install it."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.api.operator_process import Kubelet, Operator, install_rights
from tests.cluster.handle import Cluster
from tests.cluster.paths import REPOSITORY

DEFINITION = REPOSITORY / "crds" / "tacho.dev_llmdeployments.yaml"
ESTABLISHED_SECONDS = 60
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


def install_definition(cluster: Cluster) -> None:
    """Makes LLMDeployment known, and waits until the API server serves it."""
    cluster.kubectl("apply", "-f", str(DEFINITION))
    deadline = time.monotonic() + ESTABLISHED_SECONDS
    while not _answers(cluster):  # `kubectl wait` fails on a definition that has no conditions yet
        assert time.monotonic() < deadline, "the API server does not serve LLMDeployment"
        time.sleep(0.2)


def _answers(cluster: Cluster) -> bool:
    try:
        cluster.kubectl("get", "llmd")
    except subprocess.CalledProcessError:
        return False
    return True


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
