"""The operator's Prometheus metrics about itself and each resource's status. A deleted resource has no
series."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from sys import intern
from typing import NamedTuple

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from tacho_contract import __version__
from tacho_contract.failure import FailureClass
from tacho_operator.api.conditions import Reason
from tacho_operator.api.status.status import LLMDeploymentStatus, Startup
from tacho_operator.shell.gpu_time import GpuTime
from tacho_operator.shell.resource_metrics import SCALING_PREFIX, MeasuredMetrics
from tacho_operator.shell.series import LABELS, KnownFigures, ResourceSeries, SeriesValue
from tacho_operator.shell.workqueue import Key

logger = logging.getLogger(__name__)

REPLICA_STATES = ("desired", "current", "ready")
KNOWN_REASONS = frozenset(map(str, (*Reason, *FailureClass)))
OTHER_REASON = "Other"
STARTUP_PHASES = (
    "schedule",
    "image",
    "download",
    "preflight",
    "verify",
    "load",
    "compile",
    "graph",
    "probe",
    "total",
)
"""Names of the durations in status.startup, without their unit."""


class ShownStatus(NamedTuple):
    """Values of a resource's status that metrics show; those of measurements are in resource_metrics."""

    conditions: tuple[tuple[str, str, str], ...]
    """Type, status and reason of each condition."""
    replicas: tuple[int, int, int]
    """Replica counts of the resource, in the order of REPLICA_STATES."""
    gpu_fault_nodes: int
    startup: tuple[float | None, ...] | None
    """Seconds of the latest start of a pod, in the order of STARTUP_PHASES."""


class Metrics:
    """The operator's metrics, on the registry passed in."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.registry = registry
        gauge, counter = partial(Gauge, registry=registry), partial(Counter, registry=registry)
        histogram = partial(Histogram, registry=registry)
        gauge("tacho_operator_build_info", "Version of the operator.", ["version"]).labels(__version__).set(1)
        self.leader = gauge("tacho_operator_leader", "1 while this process holds the Lease, 0 in a standby.")
        self.reconciles = counter("tacho_operator_reconcile_total", "Reconciles by result.", ["result"])
        self.duration = histogram(
            "tacho_operator_reconcile_duration_seconds", "How long one reconcile takes."
        )
        self.decision_duration = histogram(
            "tacho_operator_decision_duration_seconds",
            "Seconds of one decision; the operator does nothing else meanwhile.",
        )
        self.plan_duration = histogram(
            "tacho_operator_plan_duration_seconds", "How long the planner's process takes for one plan."
        )
        self.last_success = gauge(
            "tacho_operator_last_success_timestamp_seconds",
            "When a reconcile last ended without an error.",
        )
        self.undecided = counter(
            "tacho_operator_undecided_total",
            "Reconciles that ended without a decision, by reason: InternalError or UnreadableSpec.",
            ["reason"],
        )
        self.unseen_writes = counter(
            "tacho_operator_unseen_writes_total",
            "Reconciles that were put off because the watches had not delivered the operator's own writes.",
        )
        self.writes_avoided = counter(
            "tacho_operator_writes_avoided_total", "Objects that a reconcile compared and left unchanged."
        )
        self.requests = counter(
            "tacho_operator_api_requests_total",
            "Requests to the API server; code 0: no answer came.",
            ["verb", "kind", "code"],
        )
        self.reports = counter(
            "tacho_operator_reports_total",
            "Reports of pods by result: answered; silent: no answer; held: not read again, as it is final.",
            ["result"],
        )
        self.reconnects = counter(
            "tacho_operator_watch_reconnects_total",
            "Watches that ended: by the API server's clock (ended), too old (expired), or broken.",
            ["kind", "reason"],
        )
        self.unreadable_objects = counter(
            "tacho_operator_unreadable_objects_total",
            "Objects that were skipped: too long, nested too deep or no JSON.",
            ["kind"],
        )
        self._register_resource_series(registry)
        self.measured, self.gpu_time = MeasuredMetrics(registry), GpuTime(registry)

    def _register_resource_series(self, registry: CollectorRegistry) -> None:
        faults = (
            "gpu_fault_nodes",
            "Nodes on which a GPU fault ended an engine of the resource in the last 30 minutes.",
            lambda item: item.gpu_fault_nodes or None,
        )
        self._shown: KnownFigures[ShownStatus] = KnownFigures(registry, SCALING_PREFIX, [faults])
        ResourceSeries(
            registry,
            "tacho_llmdeployment_condition",
            "1 for the status and the reason that each condition has.",
            [*LABELS, "type", "status", "reason"],
            self._conditions,
        )
        ResourceSeries(
            registry, "tacho_llmdeployment_replicas", "Pods by state.", [*LABELS, "state"], self._replicas
        )
        ResourceSeries(
            registry,
            "tacho_llmdeployment_startup_seconds",
            "Duration of each phase of the latest start of a pod; downloads overlap other phases.",
            [*LABELS, "phase"],
            self._startups,
        )

    def _conditions(self) -> Iterator[SeriesValue]:
        for key, item in self._shown.items():
            for condition in item.conditions:
                yield (*key, *condition), 1.0

    def _startups(self) -> Iterator[SeriesValue]:
        for key, item in self._shown.items():
            for phase, seconds in zip(STARTUP_PHASES, item.startup or (), strict=False):
                if seconds is not None:
                    yield (*key, phase), seconds

    def _replicas(self) -> Iterator[SeriesValue]:
        for key, item in self._shown.items():
            for state, count in zip(REPLICA_STATES, item.replicas, strict=True):
                yield (*key, state), count

    def request(self, verb: str, kind: str, code: int) -> None:
        """Counts one request to the API server."""
        self.requests.labels(verb, kind, str(code)).inc()

    def report(self, result: str) -> None:
        """Counts one attempt to read a pod's report, by its result."""
        self.reports.labels(result).inc()

    def skipped(self, kind: str, name: str, why: str) -> None:
        """Counts and logs an object that cannot be read."""
        self.unreadable_objects.labels(kind).inc()
        logger.warning("%s %s is skipped: %s", kind, name, why)

    def reconnect(self, kind: str, reason: str) -> None:
        """Counts a watch that ended."""
        self.reconnects.labels(kind, reason).inc()

    @contextmanager
    def reconcile(self) -> Iterator[None]:
        """Counts and times one reconcile."""
        started = time.perf_counter()
        try:
            yield
        except Exception:
            self.reconciles.labels("error").inc()
            raise
        else:
            self.reconciles.labels("success").inc()
            self.last_success.set_to_current_time()
        finally:
            self.duration.observe(time.perf_counter() - started)

    def observe(
        self, key: Key, status: LLMDeploymentStatus, *, desired_replicas: int, gpu_fault_nodes: int = 0
    ) -> None:
        """Updates the series of one resource from its status. An unmeasured, provisional or stale value has
        no series."""
        self._shown.known[key] = ShownStatus(
            conditions=tuple(
                (intern(item.type), intern(item.status), _known(item.reason)) for item in status.conditions
            ),
            replicas=(desired_replicas, status.replicas or 0, status.ready_replicas or 0),
            gpu_fault_nodes=gpu_fault_nodes,
            startup=_startup(status.startup),
        )
        self.measured.observe(key, status)

    def forget(self, key: Key) -> None:
        """Removes the series of a deleted resource."""
        self._shown.known.pop(key, None)
        self.measured.forget(key)
        self.gpu_time.forget(key)


def _known(reason: str) -> str:
    """The reason as a label value. Unknown ones become one, as a pod could invent any number."""
    return reason if reason in KNOWN_REASONS else OTHER_REASON


def _startup(found: Startup | None) -> tuple[float | None, ...] | None:
    if found is None:
        return None
    return tuple(getattr(found, f"{phase}_seconds") for phase in STARTUP_PHASES)
