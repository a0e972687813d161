"""A decision takes time in proportion to the resource's children, whatever a user makes of them."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from tacho_contract import codec
from tacho_contract.measurement import LISTED
from tacho_contract.report import Report
from tacho_operator.api.status.measurement import SeenTraffic
from tacho_operator.core import names
from tacho_operator.core.measurement.records import MOST_READ
from tacho_operator.core.pods.scheduling import MOST_MISSING
from tacho_operator.core.reconcile import decide
from tacho_operator.core.revisions.inspection import request_hash
from tacho_operator.core.types import Neighbour, NodeFacts, Observed
from tests.unit.core.measured_world import SPEC, measured_world
from tools.harness.resources import CONFIG, HUB_SPEC, NOW, at
from tools.harness.world import World, copied

SERVED = measured_world(SPEC).observed()
SERVER = next(pod for pod in SERVED.pods if pod["metadata"]["labels"].get(names.ROLE_LABEL) == "server")


def calls(observed: Observed) -> int:
    """Number of function calls of a decision."""
    count = 0

    def counted(frame: object, event: str, argument: object) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    outer = sys.getprofile()
    sys.setprofile(counted)
    try:
        decide(observed, CONFIG, NOW)
    finally:
        sys.setprofile(outer)
    return count


def crowd(number: int, role: str) -> tuple[dict[str, Any], ...]:
    found = []
    for index in range(number):
        pod = copied(SERVER) | {"status": {"phase": "Pending"}, "spec": {}}
        pod["metadata"] |= {"name": f"p{index}", "uid": f"p{index}"}
        pod["metadata"]["labels"][names.ROLE_LABEL] = role
        found.append(pod)
    return tuple(found)


def inspections(number: int) -> Observed:
    """Inspect pods, half of which have the names of attempts."""
    pods = crowd(2 * number, names.ROLE_INSPECT)
    current = request_hash(SERVED.resource, CONFIG)
    for attempt, pod in enumerate(pods[:number], 1):
        pod["metadata"]["annotations"] = {names.ATTEMPT_ANNOTATION: str(attempt)}
        name = names.inspect_pod_name(SERVED.resource.metadata.name, current, attempt)
        pod["metadata"]["name"] = name
    return dataclasses.replace(SERVED, pods=pods, revisions=(), config_maps=(), deployments=(), services=())


def measured(number: int) -> Observed:
    """Pods that are being measured, each on a node of its own beside another pod."""
    report = dataclasses.replace(next(iter(SERVED.reports.values())), phase="Probing", measurement=None)
    pods = crowd(number, names.ROLE_SERVER)
    for index, pod in enumerate(pods):
        pod["spec"], pod["status"] = {"nodeName": f"n{index}"}, {"phase": "Running"}
    reports = {pod["metadata"]["uid"]: report for pod in pods}
    neighbours = tuple(
        Neighbour(
            name="other",
            namespace="ml",
            uid="other",
            node=f"n{index}",
            since=NOW,
            until=None,
            limit_seconds=600.0,
        )
        for index in range(number)
    )
    return dataclasses.replace(SERVED, pods=pods, reports=reports, neighbours=neighbours)


def crowded(number: int) -> Observed:
    """Pods that are being measured on one node, on which as many others were active before."""
    found = measured(number)
    pods = tuple(pod | {"spec": {"nodeName": "n"}} for pod in found.pods)
    since, until = NOW - timedelta(days=2), NOW - timedelta(days=1)
    before = [dataclasses.replace(item, node="n", since=since, until=until) for item in found.neighbours]
    return dataclasses.replace(found, pods=pods, neighbours=tuple(before))


@pytest.mark.parametrize("made", [inspections, measured, crowded])
def test_twice_as_many_take_about_twice_as_long(made: Callable[[int], Observed]) -> None:
    few, usual, many = (calls(made(number)) for number in (1, 100, 200))
    assert many - few < 2.5 * (usual - few)


def reported(number: int) -> Observed:
    """Pods whose reports have as many levels as are read, each of a machine of its own."""
    report = codec.to_dict(next(iter(SERVED.reports.values())))
    report["measurement"]["curve"] = [{"concurrency": level} for level in range(1, LISTED)]
    pods, reports = crowd(number, names.ROLE_SERVER), {}
    for pod in pods:
        pod["status"] = {"phase": "Running"}
        report["environment"]["cpuModel"] = pod["metadata"]["uid"]
        reports[pod["metadata"]["uid"]] = codec.from_dict(Report, report)
    return dataclasses.replace(SERVED, pods=pods, reports=reports)


def test_of_thousands_of_measurements_few_are_read() -> None:
    """Of 1,000 pods they took 7 s, in which nothing else ran."""
    few, many = (calls(reported(number)) for number in (MOST_READ, MOST_READ + 50))
    assert many - few < 50 * 1000


def test_the_traffic_of_thousands_of_pods_is_read_once() -> None:
    """That of all 5,000 was read for each of them: 3 s, in which nothing else ran."""

    class Traffic(dict[tuple[str, str], SeenTraffic]):
        reads = 0

        def items(self) -> Any:
            self.reads += 1
            return super().items()

    observed = reported(3)
    traffic = Traffic(
        {(pod["metadata"]["uid"], "f"): SeenTraffic(observed_time=at(0)) for pod in observed.pods}
    )
    decide(dataclasses.replace(observed, traffic=traffic), CONFIG, NOW)
    assert traffic.reads == 1


def lacking(number: int) -> Observed:
    """A pod for which nodes lack so many resources, and a Deployment with thousands of containers."""
    pod, deployment = copied(SERVER), copied(SERVED.deployments[0])
    text = ", ".join(f"1 Insufficient example.com/r{index}" for index in range(number))
    scheduled = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": text}
    pod["status"] = {"phase": "Pending", "conditions": [scheduled]}
    deployment["spec"]["template"]["spec"]["containers"] += [{"name": f"c{n}"} for n in range(2000)]
    return dataclasses.replace(SERVED, pods=(pod,), reports={}, deployments=(deployment,))


def test_of_hundreds_of_resources_that_nodes_lack_few_are_looked_up() -> None:
    """300 in 10,000 containers took 4.6 s, in which nothing else ran."""
    few, many = (calls(lacking(number)) for number in (MOST_MISSING, 10 * MOST_MISSING))
    assert many < 1.2 * few


def test_a_model_s_inspection_reads_each_of_thousands_of_nodes_briefly() -> None:
    """Of each node the GPU was looked up, in 0.07 ms: 0.3 s of every decision in a cluster of 5,000."""
    world = World(HUB_SPEC)
    world.reconcile()
    labels = {"nvidia.com/gpu.product": "NVIDIA-L4", "nvidia.com/gpu.memory": "23034"}
    allocatable = {"nvidia.com/gpu": "8", "memory": "64Gi"}
    node = NodeFacts(name="n", labels=labels, allocatable=allocatable)
    nodes = tuple(dataclasses.replace(node, name=f"n{at}") for at in range(5000))
    assert calls(dataclasses.replace(world.observed(), nodes=nodes)) < 50 * len(nodes)
