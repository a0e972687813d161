"""Load, capacity and decisions as metrics: what a person plots, and what KEDA or an adapter scales by."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge

from tacho_operator.core.scaling.law.types import Decision
from tacho_operator.shell.measured import remove
from tacho_operator.shell.workqueue import Key

PREFIX = "tacho_llmdeployment_"
LABELS = ("namespace", "name")


class ScalingMetrics:
    """All series, on the registry passed in. What is not known has no series: 0 would be taken for idle."""

    def __init__(self, registry: CollectorRegistry) -> None:
        def gauge(name: str, what: str) -> Gauge:
            return Gauge(PREFIX + name, what, LABELS, registry=registry)

        self._demand = gauge(
            "demand_replicas", "Replicas that the present load would fill to the measured capacity."
        )
        self._utilization = gauge(
            "utilization_ratio", "Load as a part of what the serving pods were measured to carry."
        )
        self._capacity = gauge(
            "capacity_requests_per_second",
            "Requests per second that one replica is counted on to carry.",
        )
        self._running = gauge("requests_running", "Requests that pods are answering.")
        self._waiting = gauge("requests_waiting", "Requests that wait in pods.")
        self._silent = gauge("pods_silent", "Pods that serve and do not tell their load, or hang.")
        self._cold_start = gauge(
            "cold_start_seconds", "Seconds that nine in ten starts of a pod took at most."
        )
        self._desired = gauge("desired_replicas", "Replicas that the scaler wants.")
        self._decisions = Counter(
            f"{PREFIX}scaling_decisions",
            "Changes of the number of replicas, by direction and by what asked for them.",
            (*LABELS, "direction", "reason"),
            registry=registry,
        )
        self._counted: dict[Key, set[tuple[str, str]]] = {}

    def decided(self, key: Key, decision: Decision, *, before: int, scaled: bool) -> None:
        """One look at a resource; ``scaled``: its replicas are the scaler's."""
        figures = decision.figures
        for gauge, value in (
            (self._demand, figures.demand),
            (self._utilization, figures.utilization),
            (self._capacity, figures.trusted_requests_per_second),
            (self._running, figures.running),
            (self._waiting, figures.waiting),
            (self._silent, figures.silent),
            (self._cold_start, figures.cold_start_seconds),
            (self._desired, decision.replicas if scaled else None),
        ):
            if value is None:
                remove(gauge, *key)
            else:
                gauge.labels(*key).set(value)
        if scaled and decision.replicas != before:
            kind = ("up" if decision.replicas > before else "down", decision.cause)
            self._counted.setdefault(key, set()).add(kind)
            self._decisions.labels(*key, *kind).inc()

    def forget(self, key: Key) -> None:
        """The resource is gone: so are its series."""
        gauges = (
            *(self._demand, self._utilization, self._capacity, self._running),
            *(self._waiting, self._silent, self._cold_start, self._desired),
        )
        for gauge in gauges:
            remove(gauge, *key)
        for kind in self._counted.pop(key, set()):
            self._decisions.remove(*key, *kind)
