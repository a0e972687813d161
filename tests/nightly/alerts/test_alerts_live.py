"""Each alert fires on its fault and ends with it, on a real Prometheus that scrapes a real operator."""

from __future__ import annotations

import math
import re
import socket
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tacho_contract.failure import Failure, FailureClass
from tests.api.scheduling import NAMESPACE as MODELS, advertise, crash, end, on_a_gpu, replaced
from tests.charts.test_dashboards import DASHBOARDS
from tests.nightly.alerts import live_prometheus
from tests.nightly.scalers.prometheus import Prometheus
from tools import lab
from tools.cluster import binaries, packages
from tools.cluster.binaries import Binaries
from tools.cluster.controlplane import ControlPlane
from tools.cluster.handle import Cluster
from tools.harness.definition import install_definition
from tools.harness.helm import Helm
from tools.harness.operating import FACTS, NAME, await_condition
from tools.harness.operator_process import (
    ACCOUNT,
    NAMESPACE,
    Kubelet,
    Operator,
    eventually,
    install_rights,
)

pytestmark = pytest.mark.timeout(900)

PRODUCT = "NVIDIA-H200"
SPEC: dict[str, Any] = {
    "slo": {"tpotMilliseconds": 100},
    "cost": {"pricePerGPUHour": "3.6", "currency": "EUR"},
    "autoscaling": {"minReplicas": 1, "maxReplicas": 1},
}
LEASE = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease"}
SECONDS_OF_A_PANEL = 20
DECISIONS = "scaling_decisions_total"
HANGING = "hanging.tests.tacho.dev"


class Watched:
    """A cluster with a scheduler, an operator that may run, and a Prometheus that scrapes it."""

    def __init__(self, cluster: Cluster, operator: Operator, prometheus: Prometheus) -> None:
        self.cluster, self.operator, self.prometheus = cluster, operator, prometheus

    def apply(self, **spec: Any) -> None:
        self.cluster.apply(on_a_gpu(**{**SPEC, **spec}))

    def series(self, query: str) -> list[dict[str, Any]] | None:
        """Over the last seconds; None: there is none."""
        return self.prometheus.query_range(query, SECONDS_OF_A_PANEL) or None

    def await_alert(self, name: str, *, fires: bool) -> None:
        query = f'ALERTS{{alertname="{name}",alertstate="firing"}}'
        began, words = time.monotonic(), "fires" if fires else "ends"
        eventually(f"{name} {words}", lambda: bool(self.prometheus.query(query)) == fires or None)
        print(f"{name} {words} after {time.monotonic() - began:.0f} s")


@pytest.fixture(scope="module")
def watched(cluster_binaries: Binaries, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    packages.ensure(packages.PROMETHEUS_TOOLS, print)
    folder = tmp_path_factory.mktemp("alerts")
    with ControlPlane(cluster_binaries, scheduler=True, node_grace_seconds=3600) as cluster:
        install_definition(cluster)
        cluster.create_namespace(MODELS)
        cluster.apply(*lab.claim_of_node(MODELS, "models", Path("/nowhere")))
        advertise(cluster, "node-1", 4)
        cluster.kubectl("label", "node", "node-1", f"nvidia.com/gpu.product={PRODUCT}")
        operator = Operator(
            install_rights(cluster),
            folder / "operator.log",
            TACHO_SCALING_PERIOD_SECONDS="1",
            TACHO_WORKERS="1",
        )
        address = operator.metrics_url.removeprefix("http://").removesuffix("/metrics")
        try:
            with live_prometheus.running(Helm(binaries.helm(print)), folder, address) as prometheus:
                yield Watched(cluster, operator, prometheus)
        finally:
            operator.kill()
            print(operator.log.read_text()[-20000:])


@pytest.fixture(scope="module")
def kubelet(watched: Watched) -> Iterator[Kubelet]:
    player = Kubelet(watched.cluster, MODELS)
    with player.answering():
        yield player


def test_no_operator_and_no_holder_of_the_lease(watched: Watched) -> None:
    cluster = watched.cluster
    watched.await_alert("TachoOperatorAbsent", fires=True)
    moment = time.strftime("%Y-%m-%dT%H:%M:%S.000000Z", time.gmtime(time.time() + 3600))
    spec = {"holderIdentity": "ghost", "leaseDurationSeconds": 15, "renewTime": moment}
    cluster.apply({**LEASE, "metadata": {"name": ACCOUNT, "namespace": NAMESPACE}, "spec": spec})
    watched.operator.start()
    # The operator takes a Lease that nobody renews after 15 s.
    watched.await_alert("TachoNoLeader", fires=True)
    watched.await_alert("TachoOperatorAbsent", fires=False)
    watched.await_alert("TachoNoLeader", fires=False)


def test_a_plan_that_is_refused_and_a_service_that_is_not_ready(watched: Watched, kubelet: Kubelet) -> None:
    watched.apply()
    kubelet.finish_inspection(
        Failure(
            failure_class=FailureClass.MODEL_NOT_FOUND, message="demo is not there.", next_step="Name it."
        )
    )
    watched.await_alert("TachoPlanRefused", fires=True)
    watched.await_alert("TachoNotReady", fires=True)
    watched.apply(model={"uri": "pvc://models/another"})
    kubelet.finish_inspection(FACTS)
    watched.await_alert("TachoPlanRefused", fires=False)
    kubelet.loads.late = False
    kubelet.loads.demand = 0.5
    kubelet.serve()
    watched.await_alert("TachoNotReady", fires=False)
    await_condition(watched.cluster, MODELS, "Measured", "True")


def test_each_query_of_the_dashboards_has_figures(watched: Watched) -> None:
    """But for scaling decisions, of which there is none yet."""
    for panel, target in targets():
        if DECISIONS not in target["expr"]:
            assert_drawn(watched, panel, target)


def assert_drawn(watched: Watched, panel: dict[str, Any], target: dict[str, Any]) -> None:
    """Each series of the panel has numbers and what its legend names, over a range of time."""
    query = target["expr"].replace("[5m]", "[20s]")
    query = query.replace("$namespace", MODELS).replace("$name", NAME)
    found = eventually(f"{panel['title']}: {query}", partial(watched.series, query))
    for series in found:
        assert not any(math.isnan(float(value)) for _, value in series["values"]), query
        for label in re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]):
            assert series["metric"].get(label), (query, label)


def targets() -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    for dashboard in DASHBOARDS.values():
        for panel in dashboard["panels"]:
            for target in panel["targets"]:
                yield panel, target


def test_an_slo_that_is_missed_and_a_bound_that_is_reached(watched: Watched, kubelet: Kubelet) -> None:
    kubelet.loads.judged_per_second = 6.0  # the newest soon outweigh those before
    kubelet.loads.late, kubelet.loads.demand = True, 3.0
    for name in ("TachoSLOBurnsFast", "TachoSLOBurnsSlowly", "TachoAtMaxReplicas"):
        watched.await_alert(name, fires=True)
    kubelet.loads.late, kubelet.loads.demand = False, 0.1
    for name in ("TachoSLOBurnsFast", "TachoSLOBurnsSlowly", "TachoAtMaxReplicas"):
        watched.await_alert(name, fires=False)


def test_a_figure_that_is_stale(watched: Watched, kubelet: Kubelet) -> None:
    SPEC["workload"] = {"inputTokens": 64, "outputTokens": 32}
    watched.apply(model={"uri": "pvc://models/another"})
    watched.await_alert("TachoMeasurementStale", fires=True)
    kubelet.serve(role="probe")
    watched.await_alert("TachoMeasurementStale", fires=False)


def test_a_gpu_fault(watched: Watched, kubelet: Kubelet) -> None:
    (pod,) = kubelet.pods("server")
    crash(watched.cluster, pod)
    watched.await_alert("TachoGPUFault", fires=True)
    replaced(watched.cluster, kubelet, pod)
    kubelet.serve()
    for marker in kubelet.pods("avoid"):
        end(watched.cluster, marker)
    watched.await_alert("TachoGPUFault", fires=False)


def test_a_rollout_that_falls_back(watched: Watched, kubelet: Kubelet) -> None:
    model = {"uri": "pvc://models/another"}
    watched.apply(model=model, context={"maxModelLen": 512, "concurrency": 1})
    candidate = kubelet.await_pod("server")
    crash(watched.cluster, candidate, restarts=3)  # from then on a user has to act
    watched.await_alert("TachoRolloutFailed", fires=True)
    watched.apply(model=model)
    watched.await_alert("TachoRolloutFailed", fires=False)


def test_a_scaling_decision_is_drawn(watched: Watched, kubelet: Kubelet) -> None:
    """Last of those with replicas: the pod that goes then holds its GPU, as no kubelet ends it."""
    watched.apply(model={"uri": "pvc://models/another"}, autoscaling={"minReplicas": 2, "maxReplicas": 2})
    kubelet.serve()
    found = [(panel, target) for panel, target in targets() if DECISIONS in target["expr"]]
    assert found
    for panel, target in found:
        assert_drawn(watched, panel, target)


def test_an_operator_that_hangs(watched: Watched) -> None:
    """Its one worker waits for an API server that waits for a webhook which never answers."""
    cluster, kind = watched.cluster, "ValidatingWebhookConfiguration"
    pods = {"apiGroups": [""], "apiVersions": ["*"], "resources": ["pods"], "operations": ["CREATE"]}
    with socket.create_server(("127.0.0.1", 0)) as silent:
        hook = {
            "name": HANGING,
            "rules": [pods],
            "clientConfig": {"url": f"https://127.0.0.1:{silent.getsockname()[1]}/"},
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": MODELS}},
            "admissionReviewVersions": ["v1"],
            "sideEffects": "None",
            "timeoutSeconds": 30,
        }
        made = {"apiVersion": "admissionregistration.k8s.io/v1", "kind": kind, "metadata": {"name": HANGING}}
        cluster.apply({**made, "webhooks": [hook]})
        cluster.apply({**on_a_gpu(**SPEC), "metadata": {"name": "other", "namespace": MODELS}})
        watched.await_alert("TachoOperatorHangs", fires=True)
        cluster.kubectl("delete", kind, HANGING)
    watched.await_alert("TachoOperatorHangs", fires=False)


def test_an_operator_that_restarts(watched: Watched) -> None:
    def started() -> list[float]:
        return watched.prometheus.values('process_start_time_seconds{service="tacho"}')

    for _ in range(3):
        before = started()
        watched.operator.kill()
        watched.operator.start()
        eventually("the new process is scraped", partial(is_another, started, before))
    watched.await_alert("TachoOperatorRestarts", fires=True)
    watched.await_alert("TachoOperatorRestarts", fires=False)


def is_another(started: Callable[[], list[float]], before: list[float]) -> bool | None:
    return ((found := started()) != [] and found != before) or None
