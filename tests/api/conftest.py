"""What the API tier shares: the resource's definition, installed as a person would install it."""

from __future__ import annotations

import subprocess
import time

import pytest

from tests.cluster.handle import Cluster
from tests.cluster.paths import REPOSITORY

DEFINITION = REPOSITORY / "crds" / "tacho.dev_llmdeployments.yaml"
ESTABLISHED_SECONDS = 30


@pytest.fixture(scope="session")
def api(control_plane: Cluster) -> Cluster:
    """The control plane with LLMDeployment known to it."""
    control_plane.kubectl("apply", "-f", str(DEFINITION))
    deadline = time.monotonic() + ESTABLISHED_SECONDS
    while not _answers(control_plane):  # `kubectl wait` fails on a definition that has no conditions yet
        assert time.monotonic() < deadline, "the API server does not serve LLMDeployment"
        time.sleep(0.2)
    return control_plane


def _answers(cluster: Cluster) -> bool:
    try:
        cluster.kubectl("get", "llmd")
    except subprocess.CalledProcessError:
        return False
    return True
