"""`status.measurements`: the measured values, the pod and workload they were measured on, and their
confidence."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

from pydantic import Field

from tacho_contract.measurement import (
    SIZE,
    Capacity,
    CurvePoint,
    DeviceMemory,
    Fit,
    Goodput,
    KvUse,
    OpenLoop,
    Quality,
    Saturation,
    SingleStream,
    Workload,
)
from tacho_operator.api.base import (
    Bytes,
    Count,
    Seconds,
    ShortText,
    StatusModel,
    Timestamp,
    Tokens,
    Word,
    items,
)

Key = Annotated[str, Field(max_length=64)]


# --- parts of a pod's report with what the operator adds ------------------------------------------
@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredWorkload(Workload):
    """The shape of the requests that were sent."""

    output_spread_percent: float | None = None
    """Spread of the answer lengths around outputTokens, in percent to either side."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Latency(OpenLoop):
    """Latencies at the capacity. A percentile is absent where fewer requests came than its bound needs."""

    open_loop: bool | None = None
    """True: requests were sent at a fixed rate, and times count from the intended arrival. Absent or false:
    the next request was sent when one had ended."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KvCache(KvUse):
    """The KV cache under load."""

    capacity_tokens: int | None = field(default=None, metadata=SIZE)
    """Tokens it holds, as the engine says; of layers with windows, those of requests of the workload."""


class MeasuredMemory(StatusModel):
    """Predicted against actual memory, for the most loaded GPU; on a CPU, of the engine's processes."""

    predicted_bytes: Bytes | None = None
    """Memory that the plan predicted the engine to use, in bytes."""
    actual_bytes: Bytes | None = None
    """Memory that the engine uses after the measurement, in bytes."""
    peak_bytes: Bytes | None = None
    """Highest use that was sampled, from the engine's start to the end of the measurement, in bytes."""
    source: Word | None = None
    """Source of actualBytes and peakBytes: Process (the engine's processes, by the driver), Device (the
    whole GPU, less what was in use before) or Host (resident memory)."""
    predicted_weights_bytes: Bytes | None = None
    """Memory that the plan predicted for the weights, in bytes."""
    actual_weights_bytes: Bytes | None = None
    """Memory of the loaded weights by the engine's log, in bytes."""
    predicted_kv_cache_bytes: Annotated[Bytes | None, Field(alias="predictedKVCacheBytes")] = None
    """Memory that the plan predicted for the KV cache, in bytes."""
    actual_kv_cache_bytes: Annotated[Bytes | None, Field(alias="actualKVCacheBytes")] = None
    """Memory of the KV cache by the engine's log, in bytes."""
    predicted_kv_cache_tokens: Annotated[Tokens | None, Field(alias="predictedKVCacheTokens")] = None
    """Tokens that the plan predicted to fit into the KV cache."""
    actual_kv_cache_tokens: Annotated[Tokens | None, Field(alias="actualKVCacheTokens")] = None
    """Tokens that fit into the KV cache by the engine's log."""
    predicted_graph_bytes: Bytes | None = None
    """Memory that the plan predicted for CUDA graphs, in bytes."""
    actual_graph_bytes: Bytes | None = None
    """Memory of CUDA graphs by the engine's log, in bytes."""
    host_actual_bytes: Bytes | None = None
    """Host memory of the engine's processes after the measurement, in bytes; shared pages count once."""
    host_peak_bytes: Bytes | None = None
    """Maximum host memory of the engine's processes during the measurement, in bytes, without the page cache;
    shared pages count once."""
    devices: Annotated[list[DeviceMemory], items(16)] = Field(default_factory=list)
    """Each GPU of the replica."""


class Roofline(StatusModel):
    """Efficiency of the engine: measured speed as a share of the hardware's bounds."""

    decode_efficiency_percent: float | None = None
    """Share of the memory bandwidth that decoding uses, in percent."""
    prefill_mfu_percent: float | None = None
    """Share of the arithmetic peak that prefill uses, in percent."""


class AgainstPlan(StatusModel):
    """Measured speed in percent of the speed that the plan expected; above 100: faster."""

    decode_percent: float | None = None
    """Measured decode rate of one stream, in percent of the plan's."""
    output_percent: float | None = None
    """Measured throughput at the planned concurrency, in percent of the plan's. Absent: no level was at or
    around it."""
    capacity_percent: float | None = None
    """Measured capacity, in percent of the plan's. Absent: it is not known, or was not predicted."""


class MeasuredEnvironment(StatusModel):
    """Properties that only the running pod reports; part of the fingerprint."""

    image_id: Annotated[str | None, Field(alias="imageID", max_length=512)] = None
    """Image of the engine container, by digest."""
    engine_version: Word | None = None
    """Version the engine reports."""
    gpu_product: ShortText | None = None
    """Product of the GPUs; absent on a CPU."""
    gpu_count: Count | None = None
    """Number of GPUs that the pod sees."""
    driver_version: Word | None = None
    """Version of the GPU driver."""
    cpu_model: ShortText | None = None
    """Model of the CPU."""
    cpu_count: Count | None = None
    """CPUs that the pod may run on."""
    cpu_limit_millis: Count | None = None
    """CPU time that its limits allow, in thousandths of a CPU. Absent: no limit."""


class MeasuredRun(StatusModel):
    """One run of the probe on one kind of hardware: a full measurement, or the short check of a later pod."""

    time: Timestamp
    """When the run ended."""
    pod: Annotated[str, Field(max_length=253)]
    """Pod that was measured."""
    kind: Word | None = None
    """Kind of the run: Full or Check."""
    confidence: Word | None = None
    """Clean or Provisional, as of a measurement."""
    concurrency: Count | None = None
    """Concurrent requests at which the throughput was measured."""
    output_tokens_per_second: float | None = None
    """Output tokens per second of all requests together."""
    ci_percent: float | None = None
    """Half width of the 95 % confidence interval of outputTokensPerSecond, in percent of it."""
    decode_tokens_per_second: float | None = None
    """Output tokens per second of one request alone, after its first token."""
    decode_ci_percent: float | None = None
    """Half width of the 95 % confidence interval of decodeTokensPerSecond, in percent of it."""


class MeasurementHistory(StatusModel):
    """Repeatability between pods: the latest runs of the same fingerprint."""

    clean_runs: Count | None = None
    """How many runs were clean, that is undisturbed. All other values of the history are of the clean runs.
    """
    agreeing_runs: Count | None = None
    """Number of clean runs whose throughput differs from this measurement's by at most 5 %, or by the sum of
    both intervals where that is more.
    """
    last_clean_time: Timestamp | None = None
    """When the last clean run ended."""
    output_tokens_per_second_mean: float | None = None
    """Mean throughput of the clean runs at the measurement's own concurrency, in output tokens per second."""
    spread_percent: float | None = None
    """Difference between the highest and the lowest throughput of the clean runs, in percent of their mean.
    """
    runs: Annotated[list[MeasuredRun], items(8)] = Field(default_factory=list)
    """The latest, newest first."""


class MeasurementEntry(StatusModel):
    """One measurement of one configuration on one kind of hardware."""

    fingerprint: Key
    """Identifies the measured configuration: planKey, measureKey and the pod's environment."""
    revision: Annotated[str, Field(max_length=63)] | None = None
    """Revision that was measured."""
    observed_time: Timestamp | None = None
    """When the measurement ended."""
    state: Word | None = None
    """Complete, Partial (the time ran out after some levels), or Stale: workload, slo, probe, image or
    hardware changed since, so it is history."""
    confidence: Word | None = None
    """Clean, or Provisional: something other than the engine changed the figures. They are measured again."""
    message: Annotated[str, Field(max_length=1024)] | None = None
    """Why it is in this state, in a sentence. Absent: nothing to say."""
    plan_key: Key | None = None
    """Hash of model, quantization, image, arguments, parallelism, resources and mounted volumes."""
    measure_key: Key | None = None
    """Hash of workload, slo and probe."""
    probe_seconds: Seconds | None = None
    """Seconds the measurement took."""
    engine: Word | None = None
    """Engine that was measured."""
    quantization_method: Word | None = None
    """Quantization method that was measured."""
    environment: MeasuredEnvironment | None = None
    """Hardware and software that the measured pod ran on."""
    history: MeasurementHistory | None = None
    """Repeatability: this and other runs of the same fingerprint."""
    workload: MeasuredWorkload | None = None
    """The shape of the requests that were sent."""
    single_stream: SingleStream | None = None
    """One request at a time."""
    capacity: Capacity | None = None
    """Maximum sustainable load of one replica."""
    latency: Latency | None = None
    """Latencies at the capacity: of open-loop requests where they were measured, else of closed-loop ones."""
    goodput: Goodput | None = None
    """Requests that kept the SLO."""
    saturation: Saturation | None = None
    """The level with the highest throughput."""
    curve: Annotated[list[CurvePoint], items(16)] = Field(default_factory=list)
    """The levels that were measured, by rising concurrency."""
    fit: Fit | None = None
    """Performance model fitted to the curve: gap between tokens = alpha + beta x concurrency."""
    memory: MeasuredMemory | None = None
    """Predicted against actual memory."""
    kv_cache: KvCache | None = None
    """The KV cache under load."""
    roofline: Roofline | None = None
    """How near the hardware's bounds one stream runs. Absent on a CPU, on a GPU that the table does not have,
    and with speculative decoding."""
    against_plan: AgainstPlan | None = None
    """Measured speed against the plan's. Absent: no speed was predicted, or it was for another workload, slo
    or probe."""
    quality: Quality | None = None
    """Quality of the model as loaded, by how well it predicts a fixed text: the cost of quantization."""
    cold_first_request_milliseconds: float | None = None
    """Duration of the first request after the start, in milliseconds."""
    fallbacks: Annotated[list[ShortText], items(8)] = Field(default_factory=list)
    """Settings that the engine did not apply, and slower kernels that it chose, by its log."""
    flags: Annotated[list[Word], items(16, unique=True)] = Field(default_factory=list)
    """What happened; see docs/design/measurement.md. Provisional by AboveRoofline, CacheHit, ClientBound,
    Contended, LongOutput, NotSteady, OtherTraffic, Throttled; limited by BudgetExhausted, FrontendBound,
    Incomplete, LowEfficiency, OtherInput, SharedGPU, ShortOutput."""
