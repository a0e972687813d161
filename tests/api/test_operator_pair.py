"""Two operators on a real API server: one acts, and the other takes over from whatever befalls it."""

from __future__ import annotations

import signal
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tools.cluster.handle import Cluster
from tools.harness.operating import MUTATING, NAME, requests_of_operator, resource
from tools.harness.operator_process import ACCOUNT, NAMESPACE, POD, Operator, eventually, pod_kubeconfig

STANDBY_POD = "tacho-1"
RESOURCES = 60
SERIES = "tacho_llmdeployment_replicas{"
POD_NAME = "authentication.kubernetes.io/pod-name"


@pytest.fixture
def pair(api: Cluster, account: Path, tmp_path: Path) -> Iterator[tuple[Operator, Operator]]:
    """One that leads, and one that waits."""
    leader = Operator(account, tmp_path / "leader.log", TACHO_POD_ADDRESS="127.0.0.1")
    standby = Operator(
        pod_kubeconfig(api, STANDBY_POD),
        tmp_path / "standby.log",
        TACHO_POD_NAME=STANDBY_POD,
        TACHO_POD_ADDRESS="127.0.0.1",
    )
    leader.start()
    eventually("the first leads", lambda: leader.leads() or None)
    standby.start()
    eventually("the second is ready", lambda: standby.ready() or None)
    yield leader, standby
    for one in (leader, standby):
        one.kill()
        print(one.log.read_text()[-20000:])
    api.kubectl("delete", "lease", ACCOUNT, "-n", NAMESPACE)  # the next test's operator would wait for it


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


@pytest.mark.usefixtures("claim")
def test_a_paused_leader_is_refused_and_its_work_is_done_once(
    api: Cluster, namespace: str, pair: tuple[Operator, Operator]
) -> None:
    leader, standby = pair
    since = time.time()
    many = [resource(namespace) for _ in range(RESOURCES)]
    for number, one in enumerate(many):
        one["metadata"] = {**one["metadata"], "name": f"{NAME}-{number}"}
    leader.send(signal.SIGSTOP)  # for a moment, so that it meets all of them at once
    api.apply(*many)
    leader.send(signal.SIGCONT)
    eventually("a part is done", lambda: len(names(api, namespace)) >= 5 or None)
    leader.send(signal.SIGSTOP)
    stopped = time.monotonic()
    assert len(names(api, namespace)) < RESOURCES, "all was done: nothing is proved"
    assert standby.reconciles() == 0
    assert scaling_status(standby) == 503, "it asks the leader, which is paused"
    assert SERIES not in standby.read("tacho_llmdeployment_replicas"), (
        "the leader alone has those of resources"
    )
    eventually("the second leads", lambda: standby.leads() or None)
    assert time.monotonic() - stopped < 20
    taken = time.time()
    eventually("all of it is done", lambda: len(names(api, namespace)) == RESOURCES or None)
    assert SERIES in standby.read("tacho_llmdeployment_replicas")
    leader.send(signal.SIGCONT)
    assert leader.ended() == 1
    late = of_pod(writes(api, namespace, taken), POD)
    fenced = [item for item in late if item["objectRef"]["resource"] != "events"]
    assert {item["responseStatus"]["code"] for item in fenced} == {403}
    created = Counter(
        (item["objectRef"]["resource"], item["objectRef"]["name"])
        for item in writes(api, namespace, since)
        if item["responseStatus"]["code"] == 201 and item["objectRef"]["resource"] != "events"
    )
    assert len(created) >= RESOURCES
    assert set(created.values()) == {1}


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
