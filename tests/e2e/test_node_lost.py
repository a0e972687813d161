"""The node of a pod stops answering, and answers again: nobody is called, and nothing is started anew."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster_fixtures import state_of
from tests.e2e.conftest import Installed
from tests.e2e.mocks import fill_model, mock
from tests.e2e.resource import Llmd, eventually
from tools.cluster import state

pytestmark = pytest.mark.timeout(900)


def kubelet(tacho: Installed) -> int:
    """Its process id on this machine."""
    state_of(tacho.cluster)
    named = [pid for pid in state.processes_of(tacho.cluster.directory) if name(pid) == "kubelet"]
    (found,) = named
    return found


def name(pid: int) -> str:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/comm").read_text().strip()
    return ""


@contextlib.contextmanager
def silent(tacho: Installed, node: str) -> Iterator[None]:
    """The node's kubelet does nothing; its containers run on. At the end it is heard of again."""
    pid = kubelet(tacho)
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)
        tacho.cluster.kubectl(
            "wait", "--for=condition=Ready", f"node/{node}", "--timeout=180s", timeout_seconds=190
        )


@pytest.mark.alone  # the cluster has one node
def test_a_lost_node_is_told_and_serves_on_once_it_is_back(
    llmd: Llmd, tacho: Installed, namespace: str
) -> None:
    fill_model(tacho, namespace)
    llmd.apply(mock(tacho, probe={"policy": "Disabled"}))
    llmd.await_condition("Ready", "True", "Serving")
    (pod,) = llmd.pods()
    node = pod["spec"]["nodeName"]
    with silent(tacho, node):
        found = llmd.await_condition("Ready", "False", "NodeLost")
        print(found["message"])
        assert node in found["message"]
        assert llmd.condition("Stalled")["status"] == "False", "no person is needed"
        assert llmd.endpoints() == set()
    llmd.await_condition("Ready", "True", "Serving")
    (after,) = llmd.pods()
    assert after["metadata"]["uid"] == pod["metadata"]["uid"]
    assert after["status"]["containerStatuses"][0]["restartCount"] == 0
    eventually("traffic reaches it again", lambda: llmd.endpoints() or None)
