"""Prometheus metrics of each resource: measured values, load, and scaling decisions.

A provisional or stale value has no series; ``…_measured_provisional`` says that there is a provisional one.
Labels are the resource's name, and of the cost its currency and basis: the number of series depends on the
number of resources alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from sys import intern
from typing import NamedTuple

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import CounterMetricFamily

from tacho_operator.api.status.measurement import MeasurementEntry
from tacho_operator.api.status.status import LLMDeploymentStatus, Summary
from tacho_operator.core.autoscaling.algorithm.guards import grown
from tacho_operator.core.autoscaling.algorithm.types import Decision, Figures, Sample
from tacho_operator.core.measurement.states import clean, current
from tacho_operator.shell.series import LABELS, RESTARTS, KnownFigures, ResourceSeries, SeriesValue
from tacho_operator.shell.workqueue import Key

MEASURED_PREFIX = "tacho_llmdeployment_measured_"
SCALING_PREFIX = "tacho_llmdeployment_"
COST_LABELS = (*LABELS, "currency", "basis")
MILLISECOND, PERCENT, ONE = 1e-3, 1e-2, 1.0


@dataclass(frozen=True, slots=True)
class MeasuredGauge:
    """One gauge of a measured value: its name, unit factor and how to read it from a measurement."""

    name: str
    documentation: str
    factor: float
    """Factor from the unit in status to the base unit in the metric's name."""
    read: Callable[[MeasurementEntry], float | None]


MEASURED_GAUGES = (
    MeasuredGauge(
        "output_tokens_per_second",
        "Output tokens per second of one replica of the active revision, as measured.",
        ONE,
        lambda item: item.capacity.output_tokens_per_second if item.capacity else None,
    ),
    MeasuredGauge(
        "ci_ratio",
        "Half the 95 % interval of the measured output tokens per second, as a part of them.",
        PERCENT,
        lambda item: item.capacity.ci_percent if item.capacity else None,
    ),
    MeasuredGauge(
        "requests_per_second",
        "Requests per second of one replica, as measured.",
        ONE,
        lambda item: item.capacity.requests_per_second if item.capacity else None,
    ),
    MeasuredGauge(
        "concurrency",
        "Concurrent requests at which the output tokens per second were measured.",
        ONE,
        lambda item: item.capacity.concurrency if item.capacity else None,
    ),
    MeasuredGauge(
        "ttft_seconds",
        "Median time to first token, as requests arrive where that was tried, else at that concurrency.",
        MILLISECOND,
        lambda item: item.latency.ttft_milliseconds_p50 if item.latency else None,
    ),
    MeasuredGauge(
        "tpot_seconds",
        "Median time per further token, of the same requests.",
        MILLISECOND,
        lambda item: item.latency.tpot_milliseconds_p50 if item.latency else None,
    ),
    MeasuredGauge(
        "decode_tokens_per_second",
        "Output tokens per second of a single request, as measured.",
        ONE,
        lambda item: item.single_stream.decode_tokens_per_second if item.single_stream else None,
    ),
    MeasuredGauge(
        "prefill_tokens_per_second",
        "Prompt tokens per second of a single request, as measured.",
        ONE,
        lambda item: item.single_stream.prefill_tokens_per_second if item.single_stream else None,
    ),
    MeasuredGauge(
        "decode_efficiency_ratio",
        "Part of the GPU's memory bandwidth that a single request uses.",
        PERCENT,
        lambda item: item.roofline.decode_efficiency_percent if item.roofline else None,
    ),
    MeasuredGauge(
        "perplexity",
        "Perplexity of a fixed text, as the model was loaded.",
        ONE,
        lambda item: item.quality.perplexity if item.quality else None,
    ),
)


class ShownMeasurement(NamedTuple):
    """The current measurement of one resource, in the form of its metrics."""

    provisional: bool
    figures: tuple[float | None, ...]
    """Values in the order of MEASURED_GAUGES; None: no series."""
    cost: tuple[str, str, float] | None
    """(currency, basis, cost of a million output tokens); None: unknown."""


class MeasuredMetrics:
    """The gauges of measured values, on the registry passed in."""

    def __init__(self, registry: CollectorRegistry) -> None:
        gauges: list[tuple[str, str, Callable[[ShownMeasurement], float | None]]] = [
            (gauge.name, gauge.documentation, partial(_figure, index))
            for index, gauge in enumerate(MEASURED_GAUGES)
        ]
        help_text = "1 while something other than the engine moved the current figures, 0 while nothing did."
        gauges.append(("provisional", help_text, lambda item: float(item.provisional)))
        self._shown = KnownFigures(registry, MEASURED_PREFIX, gauges)
        ResourceSeries(
            registry,
            "tacho_llmdeployment_cost_per_million_output_tokens",
            "Cost of a million output tokens, at the measured throughput that the basis names.",
            COST_LABELS,
            lambda: (
                ((*key, *item.cost[:2]), item.cost[2]) for key, item in self._shown.items() if item.cost
            ),
        )

    def observe(self, key: Key, status: LLMDeploymentStatus) -> None:
        """Updates the series of one resource from its status."""
        entry = current(status.measurements)
        if entry is None:
            self.forget(key)
        elif not clean(entry):
            self._shown.known[key] = ShownMeasurement(True, (None,) * len(MEASURED_GAUGES), None)
        else:
            read = (figure.read(entry) for figure in MEASURED_GAUGES)
            figures = tuple(
                None if value is None else value * figure.factor
                for figure, value in zip(MEASURED_GAUGES, read, strict=True)
            )
            self._shown.known[key] = ShownMeasurement(False, figures, _cost(status.summary))

    def forget(self, key: Key) -> None:
        """Removes the series of a deleted resource."""
        self._shown.known.pop(key, None)


def _figure(index: int, item: ShownMeasurement) -> float | None:
    return item.figures[index]


def _cost(found: Summary | None) -> tuple[str, str, float] | None:
    if found is None or not found.cost_per_million_output_tokens:
        return None
    cost = float(found.cost_per_million_output_tokens)
    return (intern(found.cost_currency or ""), intern(found.cost_basis or ""), cost)


class ShownLoad(NamedTuple):
    """Load and capacity of one resource, in the form of its metrics."""

    figures: Figures
    desired: int | None
    """Number of desired replicas; None: the resource is not autoscaled."""
    objective: float | None
    """Share of requests (0 to 1) that have to meet the SLO; None: the resource has no SLO."""


def _share(figures: Figures, bound: int) -> float | None:
    shares = figures.attainment.shares
    return shares[bound] if shares else None


LOAD_GAUGES: tuple[tuple[str, str, Callable[[ShownLoad], float | None]], ...] = (
    (
        "demand_replicas",
        "Replicas that the present load would fill to the measured capacity.",
        lambda item: item.figures.demand,
    ),
    (
        "utilization_ratio",
        "Load over the capacity of the serving pods; target 0.8.",
        lambda item: item.figures.utilization,
    ),
    (
        "capacity_requests_per_second",
        "Requests per second that one replica is expected to sustain within the SLO.",
        lambda item: item.figures.trusted_requests_per_second,
    ),
    (
        "capacity_prefill_tokens_per_second",
        "Prompt tokens per second of one replica at its capacity.",
        lambda item: item.figures.trusted_prefill_tokens_per_second,
    ),
    (
        "capacity_output_tokens_per_second",
        "Output tokens per second of one replica at its capacity.",
        lambda item: item.figures.trusted_output_tokens_per_second,
    ),
    (
        "slo_attainment_ratio",
        "Part of the last minutes' requests that met the SLO, at least.",
        lambda item: _share(item.figures, 0),
    ),
    (
        "slo_attainment_upper_ratio",
        "Part of the last minutes' requests that met the SLO, at most.",
        lambda item: _share(item.figures, 1),
    ),
    (
        "slo_objective_ratio",
        "Share of requests that shall meet the targets of spec.slo (0.95 for percentile 95).",
        lambda item: item.objective,
    ),
    ("requests_running", "Requests that pods are answering.", lambda item: item.figures.running),
    ("requests_waiting", "Requests that wait in pods.", lambda item: item.figures.waiting),
    (
        "pods_silent",
        "Serving pods whose load is not known, or that hang.",
        lambda item: item.figures.silent,
    ),
    (
        "cold_start_seconds",
        "Seconds that nine in ten starts of a pod took at most.",
        lambda item: item.figures.cold_start_seconds,
    ),
    ("desired_replicas", "Replicas that the scaler requests or recommends.", lambda item: item.desired),
)
"""Name, help text, and a function to the value; None has no series, as 0 would mean idle."""


SERVED_COUNTERS = (
    ("output_tokens", "Output tokens that pods generated between samples of their load."),
    ("prompt_tokens", "Prompt tokens that pods computed, without those of a prefix cache."),
)


SAMPLE_BUCKETS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0)
"""Upper bounds of the histogram of sampling times in seconds; the default period is 10 s."""


class ScalingMetrics:
    """The metrics of the scaler, on the registry passed in."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._shown = KnownFigures(registry, SCALING_PREFIX, LOAD_GAUGES)
        self._decisions = Counter(
            f"{SCALING_PREFIX}scaling_decisions",
            "Changes of the number of replicas, by direction and by reason." + RESTARTS,
            (*LABELS, "direction", "reason"),
            registry=registry,
        )
        self._counted: dict[Key, set[tuple[str, str]]] = {}
        self._served: dict[Key, tuple[float, float]] = {}
        """(output tokens, prompt tokens) served by each resource's pods since the operator's start."""
        for index, (name, documentation) in enumerate(SERVED_COUNTERS):
            ResourceSeries(
                registry,
                SCALING_PREFIX + name,
                documentation + RESTARTS,
                LABELS,
                partial(self._tokens, index),
                CounterMetricFamily,
            )
        self._requests = Counter(
            "tacho_operator_load_requests",
            "Requests for the load of pods by result: answered, or silent.",
            ["result"],
            registry=registry,
        )
        self._reconciles = Counter(
            "tacho_operator_scaling_reconciles",
            "Reconciles that a scaling decision requested: each writes status, and may write replicas.",
            registry=registry,
        )
        self._sample_seconds = Histogram(
            "tacho_operator_scaling_sample_duration_seconds",
            "How long it takes to sample all pods once and to decide.",
            buckets=SAMPLE_BUCKETS,
            registry=registry,
        )

    def sampled(self, *, requests: int, answered: int, reconciles: int, seconds: float) -> None:
        """Counts one sampling of all pods that were due, with its duration."""
        self._requests.labels("answered").inc(answered)
        self._requests.labels("silent").inc(requests - answered)
        self._reconciles.inc(reconciles)
        self._sample_seconds.observe(seconds)

    def decided(
        self,
        key: Key,
        decision: Decision,
        *,
        before: int,
        after: int,
        scaled: bool,
        objective: float | None,
    ) -> None:
        """Updates the metrics of a resource after a scaling decision.

        ``scaled``: whether the resource has autoscaling. ``before``, ``after``: replicas; equal in mode
        Recommend.
        """
        self._shown.known[key] = ShownLoad(decision.figures, decision.replicas if scaled else None, objective)
        if after != before:
            kind = ("up" if after > before else "down", decision.cause)
            self._counted.setdefault(key, set()).add(kind)
            self._decisions.labels(*key, *kind).inc()

    def served(self, key: Key, before: Sample, after: Sample) -> None:
        """Adds to the counters the tokens that one pod generated between two of its samples."""
        known = self._served.get(key, (0.0, 0.0))
        self._served[key] = (
            known[0] + grown(before.generated_tokens, after.generated_tokens),
            known[1] + grown(before.computed_prompt_tokens, after.computed_prompt_tokens),
        )

    def _tokens(self, index: int) -> Iterator[SeriesValue]:
        return ((key, tokens[index]) for key, tokens in self._served.copy().items())

    def unknown(self, key: Key) -> None:
        """Removes the load series of a resource that is no longer sampled."""
        self._shown.known.pop(key, None)

    def forget(self, key: Key) -> None:
        """Removes the series of a deleted resource."""
        self.unknown(key)
        self._served.pop(key, None)
        for kind in self._counted.pop(key, set()):
            self._decisions.remove(*key, *kind)
