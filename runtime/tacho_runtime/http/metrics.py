"""The runtime's Prometheus metrics: a view of the report, made at each scrape."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence

from prometheus_client.core import GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector, CollectorRegistry

from tacho_contract.measurement import Measurement
from tacho_contract.report import Report

__all__ = ["CONTENT_TYPE_LATEST", "RuntimeCollector", "families", "render"]


class RuntimeCollector(Collector):
    """Shows ``report()`` in a registry. ``phases``: all that a report may name."""

    def __init__(self, report: Callable[[], Report], phases: Sequence[str]) -> None:
        self._report, self._phases = report, phases

    def collect(self) -> Iterator[Metric]:
        return families(self._report(), self._phases)


def render(registry: CollectorRegistry) -> bytes:
    """The registry in the Prometheus text format (CONTENT_TYPE_LATEST)."""
    return generate_latest(registry)


def families(report: Report, phases: Sequence[str]) -> Iterator[Metric]:
    """The report as metric families. An unknown value has no sample, rather than a zero."""
    yield InfoMetricFamily(
        "tacho_runtime",
        "The runtime, and what it runs.",
        value={
            "version": report.runtime_version,
            "revision": report.revision,
            "engine": report.engine,
            "engine_version": report.engine_version,
        },
    )
    phase = GaugeMetricFamily("tacho_runtime_phase", "1 for the phase the runtime is in.", labels=["phase"])
    for name in phases:
        phase.add_metric([name], float(name == report.phase))
    yield phase
    yield _gauge("tacho_runtime_ready", "1 when /readyz says so.", float(report.ready))
    yield _gauge(
        "tacho_runtime_engine_restarts",
        "How often the engine was started again in this pod.",
        float(report.engine_restarts),
    )
    if report.fetch is not None:
        done, total = float(report.fetch.bytes_done), float(report.fetch.bytes_total)
        yield _gauge("tacho_runtime_download_bytes", "Bytes of the model that are there.", done)
        yield _gauge("tacho_runtime_download_size_bytes", "Bytes the model has.", total)
    startup = GaugeMetricFamily(
        "tacho_runtime_startup_seconds", "How long each part of the start took.", labels=["stage"]
    )
    for item in dataclasses.fields(report.startup):
        stage, seconds = item.name, getattr(report.startup, item.name)
        if seconds is not None:
            startup.add_metric([stage], seconds)
    yield startup
    if report.measurement is not None:
        yield from _measured(report.measurement)


def _measured(measurement: Measurement) -> Iterator[Metric]:
    state = GaugeMetricFamily(
        "tacho_runtime_measurement_state", "1 for the state the last probe ended in.", labels=["state"]
    )
    for name in ("Complete", "Partial", "Failed", "Skipped"):
        state.add_metric([name], float(name == measurement.state))
    yield state
    single, capacity = measurement.single_stream, measurement.capacity
    if single is not None:
        yield _gauge(
            "tacho_runtime_single_stream_output_tokens_per_second",
            "Measured decode rate of one stream.",
            single.decode_tokens_per_second,
        )
        yield _gauge(
            "tacho_runtime_single_stream_ttft_seconds",
            "Measured median time to the first token of one stream.",
            _seconds(single.ttft_milliseconds_p50),
        )
        yield _gauge(
            "tacho_runtime_single_stream_tpot_seconds",
            "Measured median time per output token of one stream.",
            _seconds(single.tpot_milliseconds_p50),
        )
    if capacity is not None:
        yield _gauge(
            "tacho_runtime_capacity_output_tokens_per_second",
            "Measured output tokens per second at the best concurrency.",
            capacity.output_tokens_per_second,
        )
        yield _gauge(
            "tacho_runtime_capacity_requests_per_second",
            "Measured requests per second at the best concurrency.",
            capacity.requests_per_second,
        )
        yield _gauge("tacho_runtime_capacity_concurrency", "The best concurrency.", capacity.concurrency)


def _seconds(milliseconds: float | None) -> float | None:
    return None if milliseconds is None else milliseconds / 1000


def _gauge(name: str, help_text: str, value: float | None) -> Metric:
    """A gauge with one sample; without a sample where ``value`` is None."""
    return GaugeMetricFamily(name, help_text, value=value)
