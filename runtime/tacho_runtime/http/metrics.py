"""The runtime's Prometheus metrics, made from its report at each scrape."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector

from tacho_contract.measurement import Measurement
from tacho_contract.report import Report

__all__ = ["CONTENT_TYPE_LATEST", "render"]

MEASUREMENT_STATES = ("Complete", "Partial", "Failed", "Skipped")


def render(report: Report, phases: Collection[str]) -> bytes:
    """``report`` in the Prometheus text format (CONTENT_TYPE_LATEST). ``phases``: every phase that a report
    may name."""
    return generate_latest(ReportCollector(report, phases))


@dataclass(frozen=True)
class ReportCollector(Collector):
    """Converts the report to metric families. An unknown value has no sample."""

    report: Report
    phases: Collection[str]

    def collect(self) -> Iterator[Metric]:
        report = self.report
        identity = {
            "version": report.runtime_version,
            "revision": report.revision,
            "engine": report.engine,
            "engine_version": report.engine_version,
        }
        yield InfoMetricFamily("tacho_runtime", "Versions of the runtime and of its engine.", value=identity)
        phases = {name: float(name == report.phase) for name in self.phases}
        yield _labelled("phase", "1 for the current phase of the runtime.", "phase", phases)
        yield _gauge("ready", "1 while the pod is ready (/readyz).", float(report.ready))
        restarts = float(report.engine_restarts)
        name = "tacho_runtime_engine_restarts"
        yield CounterMetricFamily(name, "Restarts of the engine in this pod.", value=restarts)
        if report.fetch is not None:
            done, total = float(report.fetch.bytes_done), float(report.fetch.bytes_total)
            yield _gauge("download_bytes", "Downloaded bytes of the model.", done)
            yield _gauge("download_size_bytes", "Size of the model in bytes.", total)
        spent = dataclasses.asdict(report.startup)
        yield _labelled("startup_seconds", "Seconds of each part of the start.", "phase", spent)
        if report.measurement is not None:
            yield from _measured(report.measurement)


def _measured(measurement: Measurement) -> Iterator[Metric]:
    states = {name: float(name == measurement.state) for name in MEASUREMENT_STATES}
    yield _labelled("measurement_state", "1 for the state of the last measurement.", "state", states)


def _gauge(name: str, help_text: str, value: float | None) -> Metric:
    """A gauge with one sample; without a sample where ``value`` is None."""
    return GaugeMetricFamily(f"tacho_runtime_{name}", help_text, value=value)


def _labelled(name: str, help_text: str, label: str, values: Mapping[str, float | None]) -> Metric:
    """A gauge with a sample for each label whose value is known."""
    family = GaugeMetricFamily(f"tacho_runtime_{name}", help_text, labels=[label])
    for key, value in values.items():
        if value is not None:
            family.add_metric([key], value)
    return family
