"""What requests were sent to an engine, and what came of them."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from tacho_operator.api.base import Count, Decimal, StatusModel, Tokens, Word


class MeasuredWorkload(StatusModel):
    """The shape of the requests that were sent."""

    input_tokens: Tokens | None = None
    """Tokens of a prompt."""
    output_tokens: Tokens | None = None
    """Tokens of an answer, on average."""
    output_spread_percent: Decimal | None = None
    """How far the lengths of answers were spread around that, in percent to either side."""


class SingleStream(StatusModel):
    """One request at a time."""

    requests: Count | None = None
    """Requests the figures rest on."""
    ttft_milliseconds_p50: Decimal | None = None
    """Median time to the first token, in milliseconds."""
    ttft_milliseconds_p95: Decimal | None = None
    """95th percentile of the time to the first token, in milliseconds."""
    tpot_milliseconds_p50: Decimal | None = None
    """Median time per further token, in milliseconds: (last - first token) / (tokens - 1)."""
    tpot_milliseconds_p95: Decimal | None = None
    """95th percentile of the time per further token, in milliseconds."""
    itl_milliseconds_p50: Decimal | None = None
    """Median gap between two tokens, in milliseconds."""
    itl_milliseconds_p95: Decimal | None = None
    """95th percentile of the gap between two tokens, in milliseconds."""
    decode_tokens_per_second: Decimal | None = None
    """Output tokens per second after the first token, without stalls."""
    decode_ci_percent: Decimal | None = None
    """Half width of its 95 % confidence interval, in percent of it."""
    stalls: Count | None = None
    """Gaps far longer than the others, in which the engine did nothing for the request."""
    stalled_percent: Decimal | None = None
    """Share of the time between first and last tokens that was spent in them, in percent."""
    ttft_overhead_milliseconds: Decimal | None = None
    """The part of the time to the first token that does not grow with the prompt, in milliseconds."""
    prefill_tokens_per_second: Decimal | None = None
    """Prompt tokens per second."""


class Capacity(StatusModel):
    """What one replica sustains."""

    concurrency: Count | None = None
    """Requests at the same time."""
    requests_per_second: Decimal | None = None
    """Finished requests per second."""
    output_tokens_per_second: Decimal | None = None
    """Output tokens per second of all requests together."""
    total_tokens_per_second: Decimal | None = None
    """Prompt and output tokens per second of all requests together."""
    ci_percent: Decimal | None = None
    """Half width of the 95 % confidence interval of the throughput, in percent of it."""
    boundary: Word | None = None
    """How the capacity is bounded: Edge (a little more breaks the service level), NeverMet (one request at a
    time breaks it already), Plateau (more concurrency brings no more throughput) or Floor (nothing higher
    was tried)."""
    basis: Word | None = None
    """What made it the capacity: SLO, or Knee (the fewest requests at the same time with nine tenths of the
    highest throughput)."""
    verified: bool | None = None
    """Whether requests that arrived at a rate of their own, at 0.85 of it, kept the service level. Absent:
    that was not tried."""


class Latency(StatusModel):
    """Latencies at the capacity. A percentile is absent where fewer requests came than its bound needs."""

    ttft_milliseconds_p50: Decimal | None = None
    """Median time to the first token, in milliseconds."""
    ttft_milliseconds_p95: Decimal | None = None
    """95th percentile of the time to the first token, in milliseconds."""
    tpot_milliseconds_p50: Decimal | None = None
    """Median time per further token, in milliseconds."""
    tpot_milliseconds_p95: Decimal | None = None
    """95th percentile of the time per further token, in milliseconds."""
    end_to_end_milliseconds_p50: Decimal | None = None
    """Median time to the last token, in milliseconds."""
    end_to_end_milliseconds_p95: Decimal | None = None
    """95th percentile of the time to the last token, in milliseconds."""
    open_loop: bool | None = None
    """True: requests arrived at a rate of their own, and times count from the intended arrival. Absent or
    false: the next request was sent when one had ended."""
    offered_requests_per_second: Decimal | None = None
    """The rate at which they arrived."""
    requests: Count | None = None
    """Requests the figures rest on."""


class Goodput(StatusModel):
    """Requests that kept the SLO."""

    requests_per_second: Decimal | None = None
    """Requests per second that kept the SLO."""
    compliance_percent: Decimal | None = None
    """Share of requests that kept the SLO, in percent."""
    compliance_percent_lower95: Decimal | None = None
    """Lower 95 % bound of that share, in percent."""


class Saturation(StatusModel):
    """The level with the highest throughput, whatever its latency."""

    concurrency: Count | None = None
    """Requests at the same time."""
    output_tokens_per_second: Decimal | None = None
    """Output tokens per second of all requests together."""


class CurvePoint(StatusModel):
    """One level of concurrency."""

    concurrency: Count
    """Requests at the same time."""
    output_tokens_per_second: Decimal | None = None
    """Output tokens per second of all requests together."""
    requests_per_second: Decimal | None = None
    """Finished requests per second."""
    ttft_milliseconds_p50: Decimal | None = None
    """Median time to the first token, in milliseconds."""
    ttft_milliseconds_p95: Decimal | None = None
    """95th percentile of the time to the first token, in milliseconds."""
    tpot_milliseconds_p50: Decimal | None = None
    """Median time per further token, in milliseconds."""
    tpot_milliseconds_p95: Decimal | None = None
    """95th percentile of the time per further token, in milliseconds."""
    end_to_end_milliseconds_p50: Decimal | None = None
    """Median time to the last token, in milliseconds."""
    requests: Count | None = None
    """Requests the figures rest on."""
    window_seconds: Decimal | None = None
    """Length of the window the throughput was counted in, in seconds."""
    ci_percent: Decimal | None = None
    """Half width of the 95 % confidence interval of the throughput, in percent of it."""
    counted_by: Word | None = None
    """Who counted the tokens: Client (those that arrived) or Engine (its counters at both ends of the
    window)."""
    end_to_end_milliseconds_p95: Decimal | None = None
    """95th percentile of the time to the last token, in milliseconds."""
    slo_met: bool | None = None
    """Whether this level kept the service level. Absent: none was asked for."""
    steady: bool | None = None
    """False: the throughput was still drifting when the window closed."""
    flags: Annotated[
        list[Word], Field(max_length=16, json_schema_extra={"x-kubernetes-list-type": "set"})
    ] = Field(default_factory=list)
    """What happened while this level was measured, in the words of the measurement's flags."""


class Fit(StatusModel):
    """The law fitted to the curve: gap between tokens = alpha + beta times concurrency."""

    alpha_milliseconds: Decimal | None = None
    """Gap at no concurrency, in milliseconds."""
    beta_microseconds: Decimal | None = None
    """What each further request adds, in microseconds."""
    r2: Decimal | None = None
    """Share of the variance the law explains, 0 to 1."""


class KvCache(StatusModel):
    """The KV cache under load."""

    capacity_tokens: Tokens | None = None
    """Tokens it holds, as the engine says."""
    max_usage_percent: Decimal | None = None
    """Highest use while measuring, in percent."""
    preemptions: Count | None = None
    """Requests thrown out for lack of room while measuring."""
