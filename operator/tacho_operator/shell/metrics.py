"""The operator's own metrics. Series of a resource go when the resource goes."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from tacho_contract import __version__
from tacho_operator.api.types import LLMDeploymentStatus, Summary
from tacho_operator.shell.workqueue import Key

CONDITION_STATUSES = ("True", "False", "Unknown")
REPLICA_STATES = ("desired", "current", "ready")
LABELS = ("namespace", "name")


class Metrics:
    """All series, on the registry passed in."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.registry = registry
        build = Gauge("tacho_operator_build_info", "Version of the operator.", ["version"], registry=registry)
        build.labels(__version__).set(1)
        self.reconciles = Counter(
            "tacho_operator_reconcile_total", "Reconciles by result.", ["result"], registry=registry
        )
        self.duration = Histogram(
            "tacho_operator_reconcile_duration_seconds", "How long one reconcile takes.", registry=registry
        )
        self.last_success = Gauge(
            "tacho_operator_last_success_timestamp_seconds",
            "When a reconcile last ended without an error.",
            registry=registry,
        )
        self.queue_depth = Gauge(
            "tacho_operator_queue_depth", "Resources waiting to be reconciled.", registry=registry
        )
        self.condition = Gauge(
            "tacho_llmdeployment_condition",
            "1 for the status each condition has.",
            [*LABELS, "type", "status"],
            registry=registry,
        )
        self.replicas = Gauge(
            "tacho_llmdeployment_replicas", "Pods by state.", [*LABELS, "state"], registry=registry
        )
        self.tokens_per_second = Gauge(
            "tacho_llmdeployment_measured_output_tokens_per_second",
            "Output tokens per second of one replica of the active revision, as measured.",
            LABELS,
            registry=registry,
        )
        self.ttft_seconds = Gauge(
            "tacho_llmdeployment_measured_ttft_seconds",
            "Median time to first token at the concurrency of the measured throughput.",
            LABELS,
            registry=registry,
        )
        self._conditions: dict[Key, set[str]] = {}

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

    def observe(self, key: Key, status: LLMDeploymentStatus, *, wanted_replicas: int) -> None:
        """Series of one resource from its status. What is not measured, or stale, has no series."""
        conditions = {item.type: item.status for item in status.conditions}
        for gone in self._conditions.get(key, set()) - set(conditions):
            self._forget_condition(key, gone)
        self._conditions[key] = set(conditions)
        for kind, current in conditions.items():
            for value in CONDITION_STATUSES:
                self.condition.labels(*key, kind, value).set(float(value == current))
        self.replicas.labels(*key, "desired").set(wanted_replicas)
        self.replicas.labels(*key, "current").set(status.replicas or 0)
        self.replicas.labels(*key, "ready").set(status.ready_replicas or 0)
        summary = status.summary or Summary()
        self._set(self.tokens_per_second, key, summary.output_tokens_per_second, 1.0)
        self._set(self.ttft_seconds, key, summary.ttft_milliseconds, 1e-3)

    @staticmethod
    def _set(gauge: Gauge, key: Key, text: str | None, factor: float) -> None:
        if text is None:
            _remove(gauge, *key)
        else:
            gauge.labels(*key).set(float(text) * factor)

    def _forget_condition(self, key: Key, kind: str) -> None:
        for value in CONDITION_STATUSES:
            _remove(self.condition, *key, kind, value)

    def forget(self, key: Key) -> None:
        """The resource is gone: so are its series."""
        for kind in self._conditions.pop(key, set()):
            self._forget_condition(key, kind)
        for state in REPLICA_STATES:
            _remove(self.replicas, *key, state)
        _remove(self.tokens_per_second, *key)
        _remove(self.ttft_seconds, *key)


def _remove(gauge: Gauge, *labels: str) -> None:
    try:
        gauge.remove(*labels)
    except KeyError:
        return
