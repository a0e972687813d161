"""What one probe found, and on what."""

from __future__ import annotations

from dataclasses import dataclass, replace

INVALIDATING = frozenset(
    {"AboveRoofline", "CacheHit", "ClientBound", "Contended", "NotSteady", "OtherTraffic", "Throttled"}
)
"""Flags of figures that something other than the engine moved: they are provisional, never a baseline, and
give way to the next clean measurement of the same fingerprint."""
LIMITING = frozenset({"BudgetExhausted", "FrontendBound", "LowEfficiency", "SharedGPU", "ShortOutput"})
"""Flags that say what a figure means; it holds all the same."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    input_tokens: int = 512
    output_tokens: int = 200


# --- what the runtime reports ---------------------------------------------------------------------
@dataclass(frozen=True, slots=True, kw_only=True)
class SingleStream:
    """One request at a time."""

    requests: int = 0
    """Requests the figures rest on."""
    decode_tokens_per_second: float
    """1 / mean gap between tokens after the first, stalls left out."""
    decode_ci_percent: float | None = None
    """Half the 95 % interval of it, in percent of it. None: too little came to say."""
    stalls: int = 0
    """Gaps far longer than the others, in which the engine did nothing for the stream."""
    stalled_percent: float = 0.0
    """Share of the time between first and last tokens that was spent in them."""
    tpot_milliseconds_p50: float
    """TPOT = (t_last - t_first) / (n_out - 1) of a request, stalls included."""
    tpot_milliseconds_p95: float | None = None
    """None, as every percentile, where fewer requests came than its bound needs."""
    itl_milliseconds_p50: float | None = None
    itl_milliseconds_p95: float | None = None
    ttft_milliseconds_p50: float
    ttft_milliseconds_p95: float | None = None
    ttft_overhead_milliseconds: float | None = None
    """a of TTFT = a + b x input tokens."""
    prefill_tokens_per_second: float | None = None
    """1 / b of the same fit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CurvePoint:
    """One closed-loop concurrency level. Throughput counts tokens that arrived inside the window."""

    concurrency: int
    window_seconds: float
    requests: int
    requests_per_second: float
    output_tokens_per_second: float
    ci_percent: float | None = None
    """Half the 95 % interval of the throughput, in percent of it. None: too little came to say."""
    counted_by: str = "Client"
    """Client (tokens that arrived) | Engine (its counters at both ends of the window)."""
    ttft_milliseconds_p50: float
    ttft_milliseconds_p95: float | None = None
    tpot_milliseconds_p50: float
    tpot_milliseconds_p95: float | None = None
    end_to_end_milliseconds_p50: float
    end_to_end_milliseconds_p95: float | None = None
    slo_met: bool | None = None
    """None: no service level was asked for."""
    steady: bool = True
    flags: tuple[str, ...] = ()
    """What happened while this level was measured; a subset of ``Measurement.flags``' words."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Capacity:
    """What one replica carries: under the service level where one is asked for, else at the knee."""

    concurrency: int
    requests_per_second: float
    output_tokens_per_second: float
    total_tokens_per_second: float
    ci_percent: float | None = None
    boundary: str = "Floor"
    """Edge (a little more breaks the service level) | Floor (nothing above gave a figure) | NeverMet (one
    stream breaks it already) | Plateau (more streams bring no more)."""
    basis: str = "Knee"
    """SLO | Knee (the fewest streams with nine tenths of the highest throughput)."""
    verified: bool | None = None
    """Whether requests that arrive at a rate of their own kept the service level, at 0.85 of it or, if not,
    at 0.72 (``OpenLoop`` says which). None: that was not tried."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenLoop:
    """Requests that arrive by themselves, timed from when they were meant to arrive."""

    offered_requests_per_second: float
    requests: int
    ttft_milliseconds_p50: float
    ttft_milliseconds_p95: float | None = None
    tpot_milliseconds_p50: float
    tpot_milliseconds_p95: float | None = None
    end_to_end_milliseconds_p50: float
    end_to_end_milliseconds_p95: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Goodput:
    """Requests that kept the service level, of those of the open loop, else of the capacity's level."""

    requests_per_second: float
    compliance_percent: float
    compliance_percent_lower95: float
    """Wilson's one-sided bound."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Saturation:
    """The steady level with the highest throughput, whatever its latency."""

    concurrency: int
    output_tokens_per_second: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """Gap between tokens = alpha + beta x concurrency."""

    alpha_milliseconds: float
    beta_microseconds: float
    r2: float


@dataclass(frozen=True, slots=True, kw_only=True)
class KvUse:
    """The KV cache under load, by the engine's own metrics. None: it does not say."""

    max_usage_percent: float | None = None
    preemptions: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Quality:
    """How well the model, as it was loaded, foresees a fixed text."""

    text: str = ""
    """Which text; figures of different texts are not compared."""
    tokens: int = 0
    negative_log_likelihood: float | None = None
    """Mean, nats a token. None: ``message`` says why there is none."""
    perplexity: float | None = None
    """exp of it."""
    message: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceMemory:
    """One GPU."""

    index: int
    """As NVML counts those that the container sees."""
    used_bytes: int
    """After the probe."""
    peak_bytes: int
    """The most that was seen, from the engine's start to the end of the probe."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryActual:
    """What was in use, and what the engine says of it. None is unknown. Of several GPUs, a figure without a
    list is that of the one with the most."""

    weights_bytes: int | None = None
    """By the engine's own log, as the three that follow."""
    kv_cache_bytes: int | None = None
    kv_cache_tokens: int | None = None
    graph_bytes: int | None = None
    gpu_used_bytes: int | None = None
    """After the probe."""
    gpu_peak_bytes: int | None = None
    """The most that was seen, from the engine's start to the end of the probe."""
    gpu_source: str = ""
    """Process: what NVML counts for the engine's processes. Device: the whole GPU less what was in use before
    the engine's start, where NVML does not tell processes apart. "": no GPU was looked at."""
    gpu_devices: tuple[DeviceMemory, ...] = ()
    host_used_bytes: int | None = None
    """Resident memory of the engine's processes after the probe; what they share is counted once where the
    kernel tells it (proportional set size)."""
    host_peak_bytes: int | None = None
    """The most that was seen of the same figure in samples, once a second at most; no less than what any one
    process has had resident since it began. Not the container's peak, which counts files read as well."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """What one probe found. Keyed by (plan_key, measure_key); the operator adds the fingerprint."""

    plan_key: str
    measure_key: str
    observed_time: str
    """RFC 3339, UTC, when the probe ended."""
    kind: str = "Full"
    """Full | Check (a short look whether this pod does what an earlier full one found)."""
    state: str
    """Complete | Partial (the time ran out after some levels) | Failed (nothing usable) | Skipped."""
    message: str = ""
    probe_seconds: float
    workload: Workload
    output_spread_percent: float = 0.0
    """Lengths of answers were drawn evenly from so much around ``workload.output_tokens``, to either side."""
    cold_first_request_milliseconds: float | None = None
    single_stream: SingleStream | None = None
    capacity: Capacity | None = None
    open_loop: OpenLoop | None = None
    goodput: Goodput | None = None
    saturation: Saturation | None = None
    curve: tuple[CurvePoint, ...] = ()
    fit: Fit | None = None
    memory: MemoryActual = MemoryActual()
    kv_use: KvUse = KvUse()
    quality: Quality | None = None
    flags: tuple[str, ...] = ()
    """Words of INVALIDATING and LIMITING."""
    request: str = ""
    """The request that it answers (``LiveConfig.again``). "": nobody asked for it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """What only the running pod shows; part of the fingerprint."""

    cpu_model: str = ""
    cpu_count: int = 0
    """CPUs that the pod may run on: those of its affinity."""
    cpu_limit_millis: int = 0
    """CPU time that its cgroup and those above it allow, in thousandths of a CPU. 0: no limit."""
    gpu_product: str = ""
    gpu_count: int = 0
    gpu_memory_bytes: int = 0
    driver_version: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Baseline:
    """The last clean full measurement of one fingerprint: what a check of another pod is held against."""

    plan_key: str
    measure_key: str
    environment: Environment
    observed_time: str
    """Of the full measurement."""
    concurrency: int
    """That of the capacity."""
    output_tokens_per_second: float
    ci_percent: float | None = None
    """Half the 95 % interval of it, in percent of it. None: unknown."""
    decode_tokens_per_second: float | None = None
    """Of the single stream. None: unknown."""
    decode_ci_percent: float | None = None


def same_machine(one: Environment, other: Environment) -> bool:
    """Whether figures of one hold for the other. The size of a GPU's memory is its product's, give or take
    what the driver keeps for itself."""
    return replace(one, gpu_memory_bytes=0) == replace(other, gpu_memory_bytes=0)
