"""What one probe found, and on what."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    input_tokens: int = 512
    output_tokens: int = 200


# --- what the runtime reports ---------------------------------------------------------------------
@dataclass(frozen=True, slots=True, kw_only=True)
class SingleStream:
    """One request at a time."""

    decode_tokens_per_second: float
    """1 / mean TPOT, TPOT = (t_last - t_first) / (n_out - 1)."""
    tpot_milliseconds_p50: float
    tpot_milliseconds_p95: float
    ttft_milliseconds_p50: float
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
    ttft_milliseconds_p50: float
    ttft_milliseconds_p95: float
    tpot_milliseconds_p50: float
    tpot_milliseconds_p95: float
    end_to_end_milliseconds_p50: float
    steady: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Capacity:
    """The level with the highest output tokens per second at most ``concurrency`` of the plan."""

    concurrency: int
    requests_per_second: float
    output_tokens_per_second: float
    total_tokens_per_second: float
    ci_percent: float | None = None
    boundary: str = "Floor"
    """Edge | Floor | NeverMet | Plateau."""


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """What one probe found. Keyed by (plan_key, measure_key); the operator adds the fingerprint."""

    plan_key: str
    measure_key: str
    observed_time: str
    """RFC 3339, UTC, when the probe ended."""
    state: str
    """Complete | Partial (the time ran out after some levels) | Failed (nothing usable) | Skipped."""
    message: str = ""
    probe_seconds: float
    workload: Workload
    cold_first_request_milliseconds: float | None = None
    single_stream: SingleStream | None = None
    capacity: Capacity | None = None
    curve: tuple[CurvePoint, ...] = ()
    memory: MemoryActual = MemoryActual()
    flags: tuple[str, ...] = ()
    """ClientBound | OtherTraffic | NotSteady | BudgetExhausted | CacheHit | ShortOutput | SharedGPU."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """What only the running pod shows; part of the fingerprint."""

    cpu_model: str = ""
    cpu_count: int = 0
    gpu_product: str = ""
    gpu_count: int = 0
    gpu_memory_bytes: int = 0
    driver_version: str = ""
