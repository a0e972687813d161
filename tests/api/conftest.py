"""What the API tier shares: the resource's definition, installed as a person would install it."""

from __future__ import annotations

import pytest

from tests.cluster.handle import Cluster
from tests.cluster.paths import REPOSITORY

DEFINITION = REPOSITORY / "crds" / "tacho.dev_llmdeployments.yaml"


@pytest.fixture(scope="session")
def api(control_plane: Cluster) -> Cluster:
    """The control plane with LLMDeployment known to it."""
    control_plane.kubectl("apply", "-f", str(DEFINITION))
    control_plane.kubectl("wait", "--for=condition=Established", "-f", str(DEFINITION), "--timeout=30s")
    return control_plane
