"""Two operators on a real API server: one acts, and the other takes over from whatever befalls it."""

from __future__ import annotations

import itertools
import signal
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tacho_operator.shell.api_errors import FENCED
from tools.cluster.handle import Cluster
from tools.harness.done_twice import POD_NAME, done_twice
from tools.harness.holding_proxy import HoldingProxy, Request
from tools.harness.operating import (
    FACTS,
    MUTATING,
    NAME,
    await_condition,
    condition,
    requests_of_operator,
    resource,
)
from tools.harness.operator_process import (
    ACCOUNT,
    NAMESPACE,
    POD,
    Kubelet,
    Operator,
    eventually,
    pod_kubeconfig,
)

STANDBY_POD = "tacho-1"
RESOURCES = 12
PAUSE_SECONDS = 30.0
SERIES = "tacho_llmdeployment_replicas{"


@pytest.fixture
def proxy(api: Cluster) -> Iterator[HoldingProxy]:
    assert api.api is not None
    with HoldingProxy(api.api).running() as running:
        yield running


@pytest.fixture
def pair(
    api: Cluster, account: Path, tmp_path: Path, proxy: HoldingProxy
) -> Iterator[tuple[Operator, Operator]]:
    """One that leads, behind the proxy, and one that waits."""
    leader = Operator(proxy.kubeconfig(account), tmp_path / "leader.log", TACHO_POD_ADDRESS="127.0.0.1")
    standby = Operator(
        pod_kubeconfig(api, STANDBY_POD),
        tmp_path / "standby.log",
        TACHO_POD_NAME=STANDBY_POD,
        TACHO_POD_ADDRESS="127.0.0.1",
    )
    begun: list[Operator] = []
    try:
        for one, is_up in ((leader, leader.leads), (standby, standby.ready)):
            begun.append(one)
            one.start()
            eventually("the first leads, the second is ready", lambda is_up=is_up: is_up() or None)
        yield leader, standby
    finally:
        for one in begun:
            one.kill()
            print(one.log.read_text()[-20000:])
        # The next test's operator would wait for it.
        api.kubectl("delete", "lease", ACCOUNT, "-n", NAMESPACE, "--ignore-not-found")


def names(api: Cluster, namespace: str) -> set[str]:
    """The resources whose inspect pod exists."""
    pods = api.get("pods", "-n", namespace, "-l", "tacho.dev/role=inspect")["items"]
    return {pod["metadata"]["labels"]["tacho.dev/deployment"] for pod in pods}


def writes(api: Cluster, namespace: str, since: float) -> list[dict[str, Any]]:
    found = requests_of_operator(api, namespace, since)
    return [item for item in found if item["verb"] in MUTATING and "dryRun" not in item["requestURI"]]


def of_pod(items: list[dict[str, Any]], pod: str) -> list[dict[str, Any]]:
    return [item for item in items if item["user"]["extra"][POD_NAME] == [pod]]


def scaling_status(one: Operator) -> int:
    try:
        with urllib.request.urlopen(
            one.metrics_url.replace("/metrics", "/scaling/ml/x"), timeout=10
        ) as found:
            return int(found.status)
    except urllib.error.HTTPError as refused:
        return refused.code


def is_write(request: Request) -> bool:
    return request.method != "GET" and "dryRun" not in request.path


def named(namespace: str, name: str) -> dict[str, Any]:
    one = resource(namespace)
    return {**one, "metadata": {**one["metadata"], "name": name}}


@pytest.mark.usefixtures("claim")
def test_what_a_leader_wrote_before_a_pause_is_refused_after_it(
    api: Cluster, namespace: str, pair: tuple[Operator, Operator], proxy: HoldingProxy, kubelet: Kubelet
) -> None:
    leader, standby = pair
    since = time.time()
    status, pods = f"/namespaces/{namespace}/llmdeployments/{NAME}/status", f"/namespaces/{namespace}/pods?"
    proxy.holds = lambda request: (
        is_write(request)
        and (status in request.path or (pods in request.path and b'"other"' in request.body))
    )
    api.apply(resource(namespace), named(namespace, "other"))
    eventually("a status and a pod are on their way", lambda: len(proxy.held) == 2 or None)
    leader.send(signal.SIGSTOP)
    stopped = time.monotonic()
    assert standby.reconciles() == 0
    assert scaling_status(standby) == 503, "it asks the leader, which is paused"
    assert SERIES not in standby.read("tacho_llmdeployment_replicas"), (
        "the leader alone has those of resources"
    )
    eventually("the second leads", lambda: standby.leads() or None)
    assert time.monotonic() - stopped < 20
    taken = time.time()
    for _ in range(2):
        kubelet.finish_inspection(FACTS)
    await_condition(api, namespace, "Planned", "True")
    assert SERIES in standby.read("tacho_llmdeployment_replicas")
    time.sleep(max(0.0, stopped + PAUSE_SECONDS - time.monotonic()))

    held = proxy.release()
    refused = {status in one.path: (one.status, FENCED in one.answer) for one in held}
    # A status names the version that was read. The second changed it, and the API server looks there first.
    assert refused == {True: (409, False), False: (403, True)}
    assert condition(api, namespace, "Planned")["status"] == "True"
    leader.send(signal.SIGCONT)
    assert leader.ended() == 1
    late = of_pod(writes(api, namespace, taken), POD)
    fenced = [item for item in late if item["objectRef"]["resource"] != "events"]
    assert len(fenced) >= len(held)
    for item in fenced:
        of_status = item["requestURI"].partition("?")[0].endswith("/status")
        assert item["responseStatus"]["code"] in ({403, 409} if of_status else {403})
    found = writes(api, namespace, since)
    assert done_twice(found) == []
    statuses = [
        item for item in found if status in item["requestURI"] and item["responseStatus"]["code"] == 200
    ]
    assert statuses == of_pod(statuses, STANDBY_POD)


@pytest.mark.usefixtures("claim")
def test_what_a_killed_leader_began_is_refused_and_nothing_is_done_twice(
    api: Cluster, namespace: str, pair: tuple[Operator, Operator], proxy: HoldingProxy, kubelet: Kubelet
) -> None:
    leader, standby = pair
    since = time.time()
    started = itertools.count(1)
    deployments = f"/namespaces/{namespace}/deployments/"
    proxy.holds = lambda request: (
        is_write(request) and deployments in request.path and next(started) > RESOURCES // 3
    )
    api.apply(*(named(namespace, f"{NAME}-{number}") for number in range(RESOURCES)))
    for _ in range(RESOURCES // 2):
        kubelet.finish_inspection(FACTS)
    eventually("a part is done, and more is on its way", lambda: proxy.held or None)
    leader.kill()
    eventually("the second leads", lambda: standby.leads() or None)
    refused = {one.status for one in proxy.release()}
    assert refused <= {403, 409}, "by the fence, or because the second has made the object"
    for _ in range(RESOURCES - RESOURCES // 2):
        kubelet.finish_inspection(FACTS)
    eventually(
        "all of it is done",
        lambda: len(api.get("deployments", "-n", namespace)["items"]) == RESOURCES or None,
    )
    found = writes(api, namespace, since)
    for one in (POD, STANDBY_POD):
        done = {(item["verb"], item["objectRef"]["resource"]) for item in of_pod(found, one)}
        assert done >= {("create", "controllerrevisions"), ("delete", "pods"), ("patch", "deployments")}
    assert done_twice(found) == []


@pytest.mark.usefixtures("claim")
def test_a_lease_is_handed_over_at_once_and_follows_a_killed_leader(
    api: Cluster, namespace: str, pair: tuple[Operator, Operator]
) -> None:
    first, second = pair
    assert scaling_status(second) == 404, "what the leader answers"
    assert first.stop() == 0
    eventually("the second leads before the Lease could expire", lambda: second.leads() or None, seconds=10)
    first.start()
    eventually("the first is ready", lambda: first.ready() or None)
    assert not first.leads()
    second.kill()
    eventually("the first leads", lambda: first.leads() or None, seconds=20)
    api.apply(resource(namespace))
    eventually("it acts", lambda: NAME in names(api, namespace) or None)
