"""The resource's definition, installed as a person would install it."""

from __future__ import annotations

import subprocess
import time

from tools.cluster.handle import Cluster
from tools.cluster.paths import REPOSITORY

DEFINITION = REPOSITORY / "crds" / "tacho.dev_llmdeployments.yaml"
ESTABLISHED_SECONDS = 60


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
