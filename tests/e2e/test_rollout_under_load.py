"""Candidates that die, and one that does not, while requests come in all the time."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e.conftest import Installed
from tests.e2e.load import Load, service_url
from tests.e2e.mocks import fill_model, mock
from tests.e2e.resource import Llmd, eventually

pytestmark = [pytest.mark.timeout(900), pytest.mark.usefixtures("model")]

CLIENTS, PAUSE_SECONDS = 4, 0.15
ENOUGH = 40
"""Requests that show that all is well."""
LOST_AT_MOST = 60
"""Some 20 a second, half of them sent to the dead pod, until the kubelet has seen that it is dead, the
endpoint is withdrawn and the node's proxy knows: seconds, on a machine that is busy with this very test."""
DIES_AFTER_READY_SECONDS = 3.0
_versions = itertools.count(1)


def revision(tacho: Installed) -> dict[str, Any]:
    """The mock engine again, as a revision of its own."""
    return mock(tacho, f"--ttft-base-ms={next(_versions)}", probe={"policy": "Disabled"})


@pytest.fixture
def model(tacho: Installed, namespace: str) -> str:
    return fill_model(tacho, namespace)


@pytest.fixture
def load(llmd: Llmd, tacho: Installed) -> Iterator[Load]:
    """A first revision that serves, under load."""
    llmd.apply(revision(tacho))
    llmd.await_condition("Ready", "True", "Serving")
    body = {"model": "mine", "prompt": "Once upon a time", "max_tokens": 4}
    found = Load(service_url(llmd, "/v1/completions"), body, clients=CLIENTS, pause_seconds=PAUSE_SECONDS)
    with found.running():
        more_answers(found)
        yield found


def more_answers(load: Load) -> None:
    before = load.answered
    eventually(f"{ENOUGH} more answers", lambda: load.answered >= before + ENOUGH or None)


def only_pod(llmd: Llmd) -> dict[str, Any]:
    (pod,) = llmd.pods()
    return pod


def candidate(llmd: Llmd, old: dict[str, Any]) -> dict[str, Any]:
    def look() -> dict[str, Any] | None:
        return next((pod for pod in llmd.pods() if pod["metadata"]["uid"] != old["metadata"]["uid"]), None)

    return eventually("a pod of the candidate", look)


def address(pod: dict[str, Any]) -> str:
    return str(pod["status"]["podIP"])


def is_ready(pod: dict[str, Any]) -> bool:
    conditions = pod.get("status", {}).get("conditions") or ()
    return any(item["type"] == "Ready" and item["status"] == "True" for item in conditions)


def crash(llmd: Llmd, pod: dict[str, Any]) -> float:
    """The engine of the pod dies now; the kubelet will start it again. Returns when (time.monotonic())."""
    path = f"/api/v1/namespaces/{llmd.namespace}/pods/{pod['metadata']['name']}:8010/proxy/_crash"
    llmd.cluster.kubectl("create", "--raw", path, "-f", "-", stdin="{}")
    return time.monotonic()


def test_a_candidate_that_dies_just_after_it_got_ready_costs_nothing(
    llmd: Llmd, tacho: Installed, load: Load
) -> None:
    old = only_pod(llmd)
    llmd.apply(revision(tacho))
    for _ in range(2):
        new = eventually(
            "a ready candidate", lambda: found if is_ready(found := candidate(llmd, old)) else None
        )
        time.sleep(DIES_AFTER_READY_SECONDS)
        assert llmd.endpoints() == {address(old)}
        crash(llmd, new)
        eventually("it is not ready", lambda: None if is_ready(candidate(llmd, old)) else True)
        assert llmd.endpoints() == {address(old)}

    told = eventually("the crash told", lambda: text if "told to crash" in (text := said(llmd)) else None)
    print(told)
    more_answers(load)
    print(f"{load.answered} requests answered, {len(load.lost)} lost")
    assert load.lost == []
    assert llmd.condition("Ready")["status"] == "True"
    assert llmd.status()["plan"]["revision"] == old["metadata"]["labels"]["tacho.dev/revision"]


def said(llmd: Llmd) -> str:
    found = llmd.condition("RolloutAccepted")
    return f"RolloutAccepted={found['status']} {found['reason']}: {found['message']}"


def test_a_candidate_that_dies_after_the_turn_is_left_and_a_good_one_takes_over(
    llmd: Llmd, tacho: Installed, load: Load
) -> None:
    old = only_pod(llmd)
    llmd.apply(revision(tacho))
    new = candidate(llmd, old)
    eventually("both serve", lambda: len(llmd.endpoints()) == 2 or None)
    more_answers(load)
    died = crash(llmd, new)
    eventually("the old one alone", lambda: llmd.endpoints() == {address(old)} or None)
    withdrawn = time.monotonic()
    fell = llmd.await_condition("RolloutAccepted", "False", "RolledBack")
    print(fell["message"])
    assert "told to crash" in fell["message"]
    assert "Retry after" in fell["message"]
    assert llmd.condition("Ready")["status"] == "True"
    more_answers(load)
    sent = [lost.sent - died for lost in load.lost]
    span = f", sent from {min(sent):+.1f} to {max(sent):+.1f} s around its death" if sent else ""
    print(f"{load.answered} answered, {len(sent)} lost{span}; withdrawn after {withdrawn - died:.1f} s")
    assert len(sent) <= LOST_AT_MOST, load.lost

    lost, before = len(load.lost), load.answered
    llmd.apply(revision(tacho))
    good = eventually("a good candidate", lambda: third(llmd, old, new))
    eventually("it serves alone", lambda: llmd.endpoints() == {address(good)} or None)
    llmd.await_condition("RolloutAccepted", "True", "Accepted")
    more_answers(load)
    print(f"{load.answered - before} answered and {len(load.lost) - lost} lost while a good one took over")
    assert len(load.lost) == lost
    assert [pod["metadata"]["uid"] for pod in llmd.pods()] == [good["metadata"]["uid"]]


def third(llmd: Llmd, *others: dict[str, Any]) -> dict[str, Any] | None:
    known = {pod["metadata"]["labels"]["tacho.dev/revision"] for pod in others}
    found = (pod for pod in llmd.pods() if pod["metadata"]["labels"]["tacho.dev/revision"] not in known)
    return next((pod for pod in found if pod.get("status", {}).get("podIP")), None)
