"""The network forgets the operator's connections to a real API server, and tells neither side."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tools.cluster.handle import Cluster
from tools.harness.dropping_proxy import DroppingProxy
from tools.harness.operating import NAME, bring_up, condition, resource
from tools.harness.operator_process import Kubelet, Operator, eventually

LEASE_SECONDS = 16.0
"""Longer than a Lease lasts without renewal."""
BLIND_SECONDS = 30.0
"""A fifth of the time after which a silent watch is given up by itself."""
SETTLED_SECONDS = 5.0
"""Time for what follows a status that is written: the operator's own change is reconciled once more."""
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


@pytest.mark.usefixtures("claim")
def test_no_ready_stays_when_the_watches_are_forgotten(
    api: Cluster, namespace: str, kubelet: Kubelet, leader: Operator, proxy: DroppingProxy
) -> None:
    """The proxy acknowledges what it gets: no kernel notices, as where an API server hangs. A request that is
    under way has a timeout of its own, longer than BLIND_SECONDS, so none is."""
    bring_up(api, kubelet, namespace)
    eventually("it is Ready", lambda: condition(api, namespace, "Ready")["status"] == "True" or None)
    time.sleep(SETTLED_SECONDS)
    proxy.drop()
    (pod,) = kubelet.pods("server")
    unready = {"type": "Ready", "status": "False", "lastTransitionTime": "2026-01-01T00:00:00Z"}
    api.patch_status("Pod", namespace, pod["metadata"]["name"], {"conditions": [unready]})
    eventually(
        "Ready is lost",
        lambda: condition(api, namespace, "Ready")["status"] != "True" or None,
        seconds=BLIND_SECONDS,
    )
