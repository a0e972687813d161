"""The figures of a report as status shows them, each with the digits that its interval allows."""

from __future__ import annotations

from tacho_contract import measurement as contract
from tacho_contract.measurement import Measurement
from tacho_operator.api import types as api
from tacho_operator.api.base import decimal
from tacho_operator.core.measurement.digits import figure

_LEVELS_SHOWN = 16
_FLAGS_SHOWN = 16


def single_stream(found: contract.SingleStream | None) -> api.SingleStream | None:
    if found is None:
        return None
    return api.SingleStream(
        requests=found.requests or None,
        decode_tokens_per_second=figure(found.decode_tokens_per_second, found.decode_ci_percent),
        decode_ci_percent=figure(found.decode_ci_percent),
        stalls=found.stalls,
        stalled_percent=figure(found.stalled_percent),
        tpot_milliseconds_p50=figure(found.tpot_milliseconds_p50, found.decode_ci_percent),
        tpot_milliseconds_p95=figure(found.tpot_milliseconds_p95),
        itl_milliseconds_p50=figure(found.itl_milliseconds_p50),
        itl_milliseconds_p95=figure(found.itl_milliseconds_p95),
        ttft_milliseconds_p50=figure(found.ttft_milliseconds_p50),
        ttft_milliseconds_p95=figure(found.ttft_milliseconds_p95),
        ttft_overhead_milliseconds=figure(found.ttft_overhead_milliseconds),
        prefill_tokens_per_second=figure(found.prefill_tokens_per_second),
    )


def capacity(found: contract.Capacity | None) -> api.Capacity | None:
    if found is None:
        return None
    ci_percent = found.ci_percent
    return api.Capacity(
        concurrency=found.concurrency,
        requests_per_second=figure(found.requests_per_second, ci_percent),
        output_tokens_per_second=figure(found.output_tokens_per_second, ci_percent),
        total_tokens_per_second=figure(found.total_tokens_per_second, ci_percent),
        ci_percent=figure(ci_percent),
        boundary=found.boundary,
        basis=found.basis,
        verified=found.verified,
    )


def latency(measurement: Measurement) -> api.Latency | None:
    """Of the open loop where there is one, else at the capacity's own concurrency."""
    level = measurement.capacity.concurrency if measurement.capacity else None
    opened = measurement.open_loop
    found: contract.OpenLoop | contract.CurvePoint | None = opened
    if found is None:
        found = next((item for item in measurement.curve if item.concurrency == level), None)
    if found is None:
        return None
    return api.Latency(
        ttft_milliseconds_p50=figure(found.ttft_milliseconds_p50),
        ttft_milliseconds_p95=figure(found.ttft_milliseconds_p95),
        tpot_milliseconds_p50=figure(found.tpot_milliseconds_p50),
        tpot_milliseconds_p95=figure(found.tpot_milliseconds_p95),
        end_to_end_milliseconds_p50=figure(found.end_to_end_milliseconds_p50),
        end_to_end_milliseconds_p95=figure(found.end_to_end_milliseconds_p95),
        open_loop=True if opened else None,
        offered_requests_per_second=figure(opened.offered_requests_per_second) if opened else None,
        requests=found.requests,
    )


def goodput(measurement: Measurement) -> api.Goodput | None:
    found, capacity_ = measurement.goodput, measurement.capacity
    if found is None:
        return None
    return api.Goodput(
        requests_per_second=figure(found.requests_per_second, capacity_.ci_percent if capacity_ else None),
        # Not rounded to the digits of a figure: 99.97 % of the requests is not all of them.
        compliance_percent=decimal(found.compliance_percent),
        compliance_percent_lower95=decimal(found.compliance_percent_lower95),
    )


def saturation(measurement: Measurement) -> api.Saturation | None:
    found = measurement.saturation
    if found is None:
        return None
    at = next((item for item in measurement.curve if item.concurrency == found.concurrency), None)
    return api.Saturation(
        concurrency=found.concurrency,
        output_tokens_per_second=figure(found.output_tokens_per_second, at.ci_percent if at else None),
    )


def fit(found: contract.Fit | None) -> api.Fit | None:
    if found is None:
        return None
    return api.Fit(
        alpha_milliseconds=figure(found.alpha_milliseconds),
        beta_microseconds=figure(found.beta_microseconds),
        r2=decimal(found.r2),
    )


def curve(measurement: Measurement) -> list[api.CurvePoint]:
    """By rising concurrency."""
    levels = sorted(measurement.curve, key=lambda item: item.concurrency)
    return [_point(item) for item in levels[:_LEVELS_SHOWN]]


def _point(found: contract.CurvePoint) -> api.CurvePoint:
    return api.CurvePoint(
        concurrency=found.concurrency,
        output_tokens_per_second=figure(found.output_tokens_per_second, found.ci_percent),
        requests_per_second=figure(found.requests_per_second, found.ci_percent),
        ci_percent=figure(found.ci_percent),
        counted_by=found.counted_by,
        ttft_milliseconds_p50=figure(found.ttft_milliseconds_p50),
        ttft_milliseconds_p95=figure(found.ttft_milliseconds_p95),
        tpot_milliseconds_p50=figure(found.tpot_milliseconds_p50),
        tpot_milliseconds_p95=figure(found.tpot_milliseconds_p95),
        end_to_end_milliseconds_p50=figure(found.end_to_end_milliseconds_p50),
        end_to_end_milliseconds_p95=figure(found.end_to_end_milliseconds_p95),
        requests=found.requests,
        window_seconds=decimal(found.window_seconds),
        slo_met=found.slo_met,
        steady=found.steady,
        flags=sorted(set(found.flags))[:_FLAGS_SHOWN],
    )
