"""What the pages say of a cluster with a node: commands that need a pod."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.api.documented_commands import ON_A_NODE, PAGES, commands, excused
from tests.e2e.conftest import INSECURE_HUB, Installed
from tests.e2e.faults import OPERATOR
from tests.e2e.resource import eventually
from tools import lab
from tools.cluster import binaries
from tools.cluster.processes import NO_PROXY

pytestmark = [pytest.mark.nightly, pytest.mark.alone, pytest.mark.timeout(600)]

OPENED_SECONDS = 3.0
"""For a port that is forwarded."""


@pytest.fixture
def environment(tacho: Installed) -> dict[str, str]:
    """A reader's, whose PATH has kubectl and helm."""
    folders = [str(Path(tacho.cluster.binaries.path("kubectl")).parent), str(binaries.helm(print).parent)]
    path = os.pathsep.join([*folders, os.environ["PATH"]])
    return {**os.environ, **NO_PROXY, "PATH": path, "KUBECONFIG": str(tacho.cluster.kubeconfig)}


@pytest.fixture
def restarted(tacho: Installed) -> Iterator[None]:
    """The operator logs as the chart has it, and its container ran before: there is a log of that run."""
    namespace = ("-n", lab.OPERATOR_NAMESPACE)
    lab.install_chart(tacho.cluster, tacho.images, {**INSECURE_HUB, "logFormat": "json"})
    end = "import os, signal; os.kill(1, signal.SIGTERM)"
    tacho.cluster.kubectl("exec", f"deploy/{lab.RELEASE}", *namespace, "--", "python", "-c", end)

    def again() -> bool | None:
        found = tacho.cluster.get("pods", *namespace, "-l", OPERATOR)["items"]
        states = [item for pod in found for item in pod["status"].get("containerStatuses") or ()]
        return any(item["restartCount"] and item["ready"] for item in states) or None

    eventually("it runs again", again)
    yield
    lab.install_chart(tacho.cluster, tacho.images, INSECURE_HUB)


@contextlib.contextmanager
def in_background(command: str, environment: dict[str, str]) -> Iterator[None]:
    """A command that goes on until it is ended."""
    with subprocess.Popen(["bash", "-c", command], env=environment, start_new_session=True) as process:
        time.sleep(OPENED_SECONDS)
        try:
            yield
            assert process.poll() is None, command
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)


@pytest.mark.usefixtures("restarted")
def test_the_commands_that_need_a_pod_end_well(environment: dict[str, str]) -> None:
    ran = set()
    for page in PAGES:
        with contextlib.ExitStack() as background:
            for command in commands(page):
                found = next((pattern for pattern in ON_A_NODE if re.match(pattern, command)), None)
                if found is None or excused(command):
                    continue
                ran.add(found)
                if "port-forward" in command:
                    background.enter_context(in_background(command, environment))
                    continue
                print(f"$ {command}", flush=True)
                subprocess.run(
                    ["bash", "-o", "pipefail", "-c", command], env=environment, check=True, timeout=120
                )
    assert ran == set(ON_A_NODE)
