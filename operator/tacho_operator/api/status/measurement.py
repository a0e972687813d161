"""`status.measurements`: what was measured, on what, and how far to trust it."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from tacho_operator.api.base import (
    PLANNED,
    Bytes,
    Count,
    Decimal,
    Seconds,
    ShortText,
    StatusModel,
    Timestamp,
    Tokens,
    Word,
)

Key = Annotated[str, Field(max_length=64)]


class MeasuredWorkload(StatusModel):
    """The shape of the requests that were sent."""

    input_tokens: Tokens | None = None
    """Tokens of a prompt."""
    output_tokens: Tokens | None = None
    """Tokens of an answer, on average."""
    output_spread_percent: Annotated[Decimal | None, PLANNED] = None
    """How far the lengths of answers were spread around that, in percent to either side."""


class SingleStream(StatusModel):
    """One request at a time."""

    requests: Annotated[Count | None, PLANNED] = None
    """Requests the figures rest on."""
    ttft_milliseconds_p50: Decimal | None = None
    """Median time to the first token, in milliseconds."""
    ttft_milliseconds_p95: Annotated[Decimal | None, PLANNED] = None
    """95th percentile of the time to the first token, in milliseconds."""
    tpot_milliseconds_p50: Decimal | None = None
    """Median time per further token, in milliseconds: (last - first token) / (tokens - 1)."""
    tpot_milliseconds_p95: Decimal | None = None
    """95th percentile of the time per further token, in milliseconds."""
    itl_milliseconds_p50: Annotated[Decimal | None, PLANNED] = None
    """Median gap between two tokens, in milliseconds."""
    itl_milliseconds_p95: Annotated[Decimal | None, PLANNED] = None
    """95th percentile of the gap between two tokens, in milliseconds."""
    decode_tokens_per_second: Decimal | None = None
    """Output tokens per second after the first token."""
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
    """How the capacity is bounded: Plateau (more concurrency brings no more throughput) or Floor (nothing
    higher was tried)."""


class Latency(StatusModel):
    """Latencies at the capacity."""

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
    end_to_end_milliseconds_p95: Annotated[Decimal | None, PLANNED] = None
    """95th percentile of the time to the last token, in milliseconds."""
    open_loop: Annotated[bool | None, PLANNED] = None
    """True: requests arrived at a rate of their own, and times count from the intended arrival."""


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
    steady: bool | None = None
    """False: the throughput was still drifting when the window closed."""


class Fit(StatusModel):
    """The law fitted to the curve: gap between tokens = alpha + beta times concurrency."""

    alpha_milliseconds: Decimal | None = None
    """Gap at no concurrency, in milliseconds."""
    beta_microseconds: Decimal | None = None
    """What each further request adds, in microseconds."""
    r2: Decimal | None = None
    """Share of the variance the law explains, 0 to 1."""


class DeviceMemory(StatusModel):
    """Memory of one GPU."""

    index: Count
    """The GPU, as the pod counts those it sees."""
    actual_bytes: Bytes | None = None
    """Memory in use after the measurement, in bytes."""
    peak_bytes: Bytes | None = None
    """The most that was seen in use, from the engine's start to the end of the measurement, in bytes."""


class MeasuredMemory(StatusModel):
    """Predicted against actual memory, for the most loaded GPU; on a CPU, of the engine's processes."""

    predicted_bytes: Bytes | None = None
    """Memory the plan predicted, in bytes."""
    actual_bytes: Bytes | None = None
    """Memory in use after the measurement, in bytes."""
    peak_bytes: Bytes | None = None
    """The most that was seen in use, from the engine's start to the end of the measurement, in bytes."""
    source: Word | None = None
    """Where the two figures are from: Process (what the driver counts for the engine's processes), Device
    (the whole GPU, less what was in use before the engine's start) or Host (resident memory of the engine's
    processes)."""
    predicted_weights_bytes: Bytes | None = None
    """Weights the plan predicted, in bytes."""
    actual_weights_bytes: Bytes | None = None
    """Weights the engine says it loaded, in bytes."""
    predicted_kv_cache_bytes: Annotated[Bytes | None, Field(alias="predictedKVCacheBytes")] = None
    """Size of the KV cache the plan predicted, in bytes."""
    actual_kv_cache_bytes: Annotated[Bytes | None, Field(alias="actualKVCacheBytes")] = None
    """Size of the KV cache, as the engine says, in bytes."""
    predicted_kv_cache_tokens: Annotated[Tokens | None, Field(alias="predictedKVCacheTokens")] = None
    """Tokens the plan predicted the KV cache to hold."""
    actual_kv_cache_tokens: Annotated[Tokens | None, Field(alias="actualKVCacheTokens")] = None
    """Tokens the engine says its KV cache holds."""
    predicted_graph_bytes: Bytes | None = None
    """CUDA graphs the plan predicted, in bytes."""
    actual_graph_bytes: Bytes | None = None
    """CUDA graphs, as the engine says, in bytes."""
    host_actual_bytes: Bytes | None = None
    """Host memory of the engine's processes after the measurement, in bytes."""
    host_peak_bytes: Bytes | None = None
    """The most host memory of the engine's processes that was seen, in bytes."""
    devices: Annotated[
        list[DeviceMemory],
        Field(
            max_length=16,
            json_schema_extra={"x-kubernetes-list-type": "atomic"},
        ),
    ] = Field(default_factory=list)
    """Each GPU of the replica."""


class KvCache(StatusModel):
    """The KV cache under load."""

    capacity_tokens: Tokens | None = None
    """Tokens it holds, as the engine says."""
    max_usage_percent: Decimal | None = None
    """Highest use while measuring, in percent."""
    preemptions: Count | None = None
    """Requests thrown out for lack of room while measuring."""


class Roofline(StatusModel):
    """How near the hardware's bounds the engine runs."""

    decode_efficiency_percent: Decimal | None = None
    """Share of the memory bandwidth that decoding uses, in percent."""
    prefill_mfu_percent: Decimal | None = None
    """Share of the arithmetic peak that prefill uses, in percent."""


class Quality(StatusModel):
    """What quantization costs in quality."""

    perplexity: Decimal | None = None
    """Perplexity on the reference text."""
    perplexity_delta_percent: Annotated[str, Field(max_length=20, pattern=r"^-?\d+(\.\d{1,3})?$")] | None = (
        None
    )
    """Perplexity against the unquantized model, in percent; positive is worse."""
    tokens: Tokens | None = None
    """Tokens of the reference text the figure rests on."""


class Environment(StatusModel):
    """What only the running pod shows; part of the fingerprint."""

    image_id: Annotated[str | None, Field(alias="imageID", max_length=512)] = None
    """Image of the engine container, by digest."""
    engine_version: Word | None = None
    """Version the engine reports."""
    gpu_product: ShortText | None = None
    """Product of the GPUs; absent on a CPU."""
    gpu_count: Count | None = None
    """How many GPUs the pod sees."""
    driver_version: Word | None = None
    """Version of the GPU driver."""
    cpu_model: ShortText | None = None
    """Model of the CPU."""


class Measurement(StatusModel):
    """One measurement of one configuration on one kind of hardware."""

    fingerprint: Key
    """Identifies what was measured: planKey, measureKey and what only the running pod shows."""
    revision: Annotated[str, Field(max_length=63)] | None = None
    """Revision that was measured."""
    observed_time: Timestamp | None = None
    """When the measurement ended."""
    state: Word | None = None
    """Complete, Partial (the time ran out after some levels), or Stale: workload, slo, probe or the hardware
    changed since, so it is history."""
    message: Annotated[str, Field(max_length=1024)] | None = None
    """Why it is in this state, in a sentence. Absent: nothing to say."""
    plan_key: Key | None = None
    """Hash of model, quantization, image, arguments, parallelism and resources."""
    measure_key: Key | None = None
    """Hash of workload, slo and probe."""
    probe_seconds: Seconds | None = None
    """Seconds the measurement took."""
    engine: Word | None = None
    """Engine that was measured."""
    quantization_method: Word | None = None
    """Quantization method that was measured."""
    environment: Environment | None = None
    """What it ran on."""
    workload: MeasuredWorkload | None = None
    """The shape of the requests that were sent."""
    single_stream: SingleStream | None = None
    """One request at a time."""
    capacity: Capacity | None = None
    """What one replica sustains."""
    latency: Latency | None = None
    """Latencies at the capacity."""
    goodput: Annotated[Goodput | None, PLANNED] = None
    """Requests that kept the SLO."""
    saturation: Annotated[Saturation | None, PLANNED] = None
    """The level with the highest throughput."""
    curve: Annotated[
        list[CurvePoint], Field(max_length=16, json_schema_extra={"x-kubernetes-list-type": "atomic"})
    ] = Field(default_factory=list)
    """The levels that were measured, by rising concurrency."""
    fit: Annotated[Fit | None, PLANNED] = None
    """The law fitted to the curve."""
    memory: MeasuredMemory | None = None
    """Predicted against actual memory."""
    kv_cache: Annotated[KvCache | None, PLANNED] = None
    """The KV cache under load."""
    roofline: Annotated[Roofline | None, PLANNED] = None
    """How near the hardware's bounds the engine runs."""
    quality: Annotated[Quality | None, PLANNED] = None
    """What quantization costs in quality."""
    cold_first_request_milliseconds: Decimal | None = None
    """Time of the very first request, in milliseconds."""
    fallbacks: Annotated[
        list[ShortText], Field(max_length=8, json_schema_extra={"x-kubernetes-list-type": "atomic"})
    ] = Field(default_factory=list)
    """What the engine did otherwise than asked or than is fastest, as its log says: weight-only kernels where
    the GPU lacks a type, eager mode, another attention backend. Empty: it said nothing."""
    flags: Annotated[
        list[Word], Field(max_length=16, json_schema_extra={"x-kubernetes-list-type": "set"})
    ] = Field(default_factory=list)
    """What limits the trust in the figures: BudgetExhausted (shortened to fit the budget), CacheHit,
    ClientBound, Incomplete (levels are missing), NotSteady, OtherTraffic, SharedGPU (somebody else had
    memory of the GPU when the engine started), ShortOutput. Empty: nothing known."""
