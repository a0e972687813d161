"""A real engine with a real model on a real node, from apply to nothing left."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e.conftest import Installed
from tests.e2e.load import Load, service_url
from tests.e2e.resource import Llmd, eventually, example
from tests.figures import BUSY, decode_rate, throughput
from tools import lab

pytestmark = [pytest.mark.timeout(900), pytest.mark.usefixtures("models")]
LONG = {"budgetSeconds": 30, "timeoutSeconds": 120}
"""A probe with time for every level, also where the engine has half of a CPU."""


@pytest.mark.alone
def test_applied_measured_answered_deleted_and_nothing_left(llmd: Llmd, tacho: Installed) -> None:
    manifest = example(engine=greedy(tacho), probe=LONG)
    llmd.apply(manifest)
    llmd.await_figures()
    llmd.await_condition("Ready", "True", "Serving")
    status = llmd.status()
    print(f"{throughput(status)} output tokens per second")
    assert float(status["startup"]["totalSeconds"]) > 0
    (measurement,) = status["measurements"]
    agrees_with_the_engines_own_timings(measurement)
    assert llmd.chat().strip()
    events = llmd.streamed_chat()
    assert len(events) > 3, "an answer in one piece is no stream"

    where_no_probe_pod_fits_it_cannot_judge(llmd, manifest)
    llmd.delete()
    eventually("every child is gone", lambda: not llmd.children() or None)


def agrees_with_the_engines_own_timings(measurement: dict[str, Any]) -> None:
    """Of the very same requests: llama.cpp says for each how long its tokens took. Inconclusive where the
    measurement's own flags say that the machine was busy."""
    measured, flags = decode_rate(measurement), BUSY.intersection(measurement.get("flags") or ())
    said = re.search(r"own timings one stream ran at ([0-9.]+) tokens", measurement["message"])
    if measured is None or said is None:
        assert flags, measurement
        return
    # The engine's timings include stalls, the reported rate leaves them out.
    measured *= 1 - float(measurement["singleStream"].get("stalledPercent") or 0) / 100
    own = float(said[1])
    print(f"probe {measured:.1f} tok/s, the engine's own timings {own:.1f} tok/s")
    assert abs(measured / own - 1) <= 0.15 or flags - {"BudgetExhausted"}, measurement


def greedy(tacho: Installed) -> dict[str, Any]:
    """An engine that takes most of the node, so that no second one fits."""
    node = tacho.cluster.get("nodes")["items"][0]
    cpus = node["status"]["allocatable"]["cpu"]
    millicores = int(cpus[:-1]) if cpus.endswith("m") else 1000 * int(cpus)
    requests = {"cpu": f"{millicores * 6 // 10}m", "memory": "512Mi"}
    return {"name": "llamacpp", "resources": {"requests": requests, "limits": {"memory": "2Gi"}}}


def where_no_probe_pod_fits_it_cannot_judge(llmd: Llmd, manifest: dict[str, Any]) -> None:
    manifest["spec"]["workload"] = {"inputTokens": 32, "outputTokens": 16}
    llmd.apply(manifest)
    found = llmd.await_condition("Measured", "False", "CannotJudge")
    assert "cpu" in found["message"]
    assert llmd.condition("Ready")["status"] == "True"


@pytest.fixture
def operator_back(tacho: Installed) -> Iterator[None]:
    yield
    cluster = tacho.cluster
    cluster.kubectl("scale", "deployment", lab.RELEASE, "-n", lab.OPERATOR_NAMESPACE, "--replicas=1")
    cluster.kubectl(
        "rollout", "status", f"deployment/{lab.RELEASE}", "-n", lab.OPERATOR_NAMESPACE, "--timeout=180s",
        timeout_seconds=190,
    )  # fmt: skip


@pytest.mark.alone  # there is one operator
@pytest.mark.usefixtures("operator_back")
def test_the_operator_killed_in_the_middle_still_reaches_ready(llmd: Llmd, tacho: Installed) -> None:
    kill = ("delete", "pod", "-n", lab.OPERATOR_NAMESPACE, "-l", "app.kubernetes.io/component=operator")
    llmd.apply(example())
    eventually("an inspect or server pod", lambda: llmd.pods("inspect") or llmd.pods() or None)
    tacho.cluster.kubectl(*kill, "--force", "--grace-period=0")
    eventually("the server pod", lambda: llmd.pods() or None)
    tacho.cluster.kubectl(*kill, "--force", "--grace-period=0")
    llmd.await_figures()
    llmd.await_condition("Ready", "True")
    assert len(llmd.pods()) == 1


def test_an_identity_change_under_light_load_fails_no_request(llmd: Llmd) -> None:
    llmd.apply(example())
    llmd.await_condition("Ready", "True")
    before = {pod["metadata"]["name"] for pod in llmd.pods()}
    body = {"prompt": "Once upon a time", "max_tokens": 8, "ignore_eos": True, "cache_prompt": False}
    load = Load(service_url(llmd, "/v1/completions"), body)
    with load.running():
        eventually("first answers", lambda: load.answered >= 3 or None)
        llmd.apply(example(context={"maxModelLen": 1024, "concurrency": 4}))

        def replaced() -> bool | None:
            names = {pod["metadata"]["name"] for pod in llmd.pods()}
            return True if names and not names & before else None

        eventually("only pods of the new revision", replaced, 240)
        answered = load.answered
        eventually("answers from the new revision", lambda: load.answered >= answered + 3 or None)
    assert load.lost == []
    assert llmd.status()["plan"]["maxModelLen"] == 1024
    llmd.await_condition("Ready", "True")


def test_a_changed_workload_is_measured_beside_the_serving_pod(llmd: Llmd) -> None:
    llmd.apply(example())
    llmd.await_figures()
    serving = [pod["metadata"]["uid"] for pod in llmd.pods()]
    llmd.apply(example(workload={"inputTokens": 32, "outputTokens": 16}))
    llmd.await_condition("Measured", "False")
    assert "summary" not in llmd.status()
    llmd.await_figures()
    current = [item for item in llmd.status()["measurements"] if item["state"] != "Stale"]
    assert [item["workload"]["inputTokens"] for item in current] == [32]
    eventually("the throwaway pod is gone", lambda: not llmd.pods("probe") or None)
    assert [pod["metadata"]["uid"] for pod in llmd.pods()] == serving
