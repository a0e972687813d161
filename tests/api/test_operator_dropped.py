"""The network forgets the operator's connections to a real API server, and tells neither side."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tools.cluster.handle import Cluster
from tools.harness.dropping_proxy import DroppingProxy
from tools.harness.operating import NAME, resource
from tools.harness.operator_process import Kubelet, Operator, eventually

LEASE_SECONDS = 16.0
"""Longer than a Lease lasts without renewal."""
IDLE = 8
"""Resources that are decided at the same time, each with a connection that is then idle."""


@pytest.fixture
def proxy(api: Cluster) -> Iterator[DroppingProxy]:
    assert api.api is not None
    with DroppingProxy(api.api.url).running() as running:
        yield running


@pytest.fixture
def leader(account: Path, tmp_path: Path, proxy: DroppingProxy) -> Iterator[Operator]:
    process = Operator(proxy.kubeconfig(account), tmp_path / "operator.log")
    process.start()
    yield process
    process.kill()
    print(process.log.read_text()[-20000:])


@pytest.mark.usefixtures("claim")
def test_many_forgotten_connections_cost_no_lead(
    api: Cluster, namespace: str, kubelet: Kubelet, leader: Operator, proxy: DroppingProxy
) -> None:
    eventually("it leads", lambda: leader.leads() or None)
    watches = proxy.connections()
    for number in range(IDLE):
        item = resource(namespace)
        item["metadata"]["name"] = f"{NAME}-{number}"
        api.apply(item)
    eventually("each is inspected", lambda: len(kubelet.pods("inspect")) == IDLE or None)
    assert proxy.connections() > watches + 1, "no pool of idle connections: nothing is proved"
    proxy.drop()
    until = time.monotonic() + LEASE_SECONDS
    while time.monotonic() < until:
        assert leader.leads(), "it lost the lead, although the API server answers new connections"
        time.sleep(0.3)
