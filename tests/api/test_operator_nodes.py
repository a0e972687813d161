"""What status says of nodes whose labels change: another driver, and slices in place of a whole GPU."""

from __future__ import annotations

import contextlib
import dataclasses
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.api.scheduling import advertise, end, on_a_gpu, placed, replaced
from tools import lab
from tools.cluster.handle import Cluster
from tools.harness.operating import FACTS, NAME, await_condition, condition
from tools.harness.operator_process import Kubelet, eventually

pytestmark = pytest.mark.nightly

NAMESPACE, GPU, NODE = "relabelled", "tests.tacho.dev/relabelled-gpu", "gpu-node"
WHOLE, SLICE = "NVIDIA-H200", "NVIDIA-H200-MIG-1g.18gb"


def labelled(cluster: Cluster, **labels: str) -> None:
    """Labels as GPU feature discovery and the MIG manager set them, with _ for a dot."""
    pairs = [f"nvidia.com/{key.replace('_', '.')}={value}" for key, value in labels.items()]
    cluster.kubectl("label", "node", NODE, "--overwrite", *pairs)


def manifest(product: str) -> dict[str, Any]:
    found: dict[str, Any] = on_a_gpu(NAMESPACE, GPU)
    found["spec"]["gpu"]["products"] = [product]
    return found


@pytest.fixture
def kubelet(served: Cluster) -> Iterator[Kubelet]:
    """A resource serves on a whole GPU, with a driver that its pods know."""
    served.create_namespace(NAMESPACE)
    served.apply(*lab.claim_of_node(NAMESPACE, "models", Path("/nowhere")))
    advertise(served, NODE, 1, resource_name=GPU)
    labelled(served, gpu_product=WHOLE, gpu_memory="143771", gpu_count="1")
    player = Kubelet(served, NAMESPACE)
    player.environment = dataclasses.replace(player.environment, driver_version="580.65")
    with player.answering():
        served.apply(manifest(WHOLE))
        player.finish_inspection(FACTS)
        player.serve()
        await_condition(served, NAMESPACE, "Measured", "True")
        yield player
    served.kubectl("delete", "llmd", NAME, "-n", NAMESPACE)
    for pod in player.pods("server"):
        with contextlib.suppress(subprocess.CalledProcessError):  # it is gone already
            end(served, pod)
    eventually("nothing of it is left", lambda: not (revisions(served) or player.pods("server")) or None)


def status(cluster: Cluster) -> dict[str, Any]:
    found: dict[str, Any] = cluster.get("llmd", NAME, "-n", NAMESPACE)["status"]
    return found


def revisions(cluster: Cluster) -> set[str]:
    items = cluster.get("controllerrevisions", "-n", NAMESPACE)["items"]
    return {item["metadata"]["name"] for item in items}


def test_another_driver_is_measured_anew_and_the_old_figure_stays(served: Cluster, kubelet: Kubelet) -> None:
    (pod,), (before,) = kubelet.pods("server"), status(served)["measurements"]
    labelled(served, **{"cuda_driver-version_major": "600", "cuda_driver-version_minor": "1"})
    replaced(served, kubelet, pod)
    kubelet.environment = dataclasses.replace(kubelet.environment, driver_version="600.1")
    kubelet.serve(tokens_per_second=140.0)

    def both() -> dict[str, str] | None:
        states = {item["fingerprint"]: item["state"] for item in status(served)["measurements"]}
        return states if len(states) == 2 and states[before["fingerprint"]] == "Stale" else None

    states = eventually("an entry of each driver, the former stale", both)
    (new,) = set(states) - {before["fingerprint"]}
    assert states[new] == "Complete"
    await_condition(served, NAMESPACE, "Measured", "True", "MeasurementComplete")
    assert status(served)["summary"]["outputTokensPerSecond"] == "140"
    assert len(revisions(served)) == 1, "a driver is no revision"


def test_slices_change_no_plan_until_they_are_asked_for(served: Cluster, kubelet: Kubelet) -> None:
    (pod,), known = kubelet.pods("server"), revisions(served)
    labelled(served, gpu_product=SLICE, gpu_memory="16384", mig_config="all-1g.18gb")
    advertise(served, NODE, 7, resource_name=GPU)
    waiting = replaced(served, kubelet, pod)
    told = await_condition(served, NAMESPACE, "Ready", "False", "Unschedulable")
    assert f"the pod selects nvidia.com/gpu.product={WHOLE}; 0/1 nodes are available" in told["message"]
    assert status(served)["plan"]["gpu"]["product"] == WHOLE
    assert revisions(served) == known

    served.apply(manifest(SLICE))

    def candidate() -> dict[str, Any] | None:
        if any(item["status"].get("phase") == "Pending" for item in kubelet.pods("inspect")):
            kubelet.finish_inspection(FACTS)
        others = (
            item for item in kubelet.pods("server") if item["metadata"]["name"] != waiting["metadata"]["name"]
        )
        return next(others, None)

    sliced = eventually("a pod for the slice", candidate)
    assert placed(served, sliced) == NODE
    kubelet.serve(revision=sliced["metadata"]["labels"]["tacho.dev/revision"])
    await_condition(served, NAMESPACE, "Ready", "True", seconds=120)
    eventually("its plan is the slice's", lambda: status(served)["plan"]["gpu"]["product"] == SLICE or None)
    assert condition(served, NAMESPACE, "Measured")["status"] == "True", "in full"
