"""The documents of a measurement: its values, its workload, and the machine it was made on.

The parts of a measurement are types of the API too: the operator puts them into ``status.measurements`` as
they are. A field's bounds are in its metadata under pydantic's names, and the CRD is generated from them. The
contract itself needs the standard library only.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

from tacho_contract.codec import at_most

NOT_STEADY = "NotSteady"
"""Flag of a rate that changed during its measurement, or whose interval is wider than 100 %."""
INVALIDATING = frozenset((
    "AboveRoofline", "CacheHit", "ClientBound", "Contended", "LongOutput", NOT_STEADY, "OtherTraffic",
    "Throttled",
))  # fmt: skip
"""Flags of measured values that something other than the engine influenced, or whose tokens are in doubt.
Flagged values are provisional, are never a baseline, and are replaced by the next clean measurement of the
same fingerprint."""
LIMITING = frozenset(
    {"BudgetExhausted", "FrontendBound", "LowEfficiency", "OtherInput", "SharedGPU", "ShortOutput"}
)
"""Flags that explain a value but do not make it provisional."""


# --- bounds of the fields, by the names that pydantic gives them ------------------------------------
COUNT = {"ge": 0, "le": 2**31 - 1, "json_schema_extra": {"format": "int32"}}
SIZE = {"ge": 0, "json_schema_extra": {"format": "int64"}}
"""Metadata of a field that counts bytes or tokens: at least 0, 64 bits."""
WORD = {"max_length": 64}
LISTED = 64
"""Most levels, and most GPUs, of a measurement that is read. Pods may send 2,000, which take 30 ms."""
SHORT_TEXT = {"max_length": 256}
MESSAGE = {"max_length": 1024}
FLAGS = {
    "max_length": 16,
    "json_schema_extra": {
        "x-kubernetes-list-type": "set",
        "items": {"type": "string", "maxLength": WORD["max_length"]},
    },
}


def samples_for(percent: float) -> int:
    """Fewest values whose maximum is above the percentile with 95 % confidence.

    29 for the 90th, 59 for the 95th, 299 for the 99th.
    """
    return math.ceil(math.log(0.05) / math.log(percent / 100))


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """The shape of the requests."""

    input_tokens: int = field(default=512, metadata=SIZE)
    """Tokens per prompt."""
    output_tokens: int = field(default=200, metadata=SIZE)
    """Tokens of an answer, on average."""


# --- what was measured: parts of a pod's report, and of an entry of status.measurements -----------
# None is unknown: the pod could not measure it, or the value is not valid.
@dataclass(frozen=True, slots=True, kw_only=True)
class SingleStream:
    """Measured values of a single stream: one request at a time."""

    requests: int | None = field(default=None, metadata=COUNT)
    """Requests the values rest on."""
    decode_tokens_per_second: float | None = None
    """Output tokens per second after the first token, without stalls: 1 / mean gap between tokens."""
    decode_ci_percent: float | None = None
    """Half width of the 95 % confidence interval of decodeTokensPerSecond, in percent of it. Absent: too few
    tokens came."""
    stalls: int = field(default=0, metadata=COUNT)
    """Gaps far longer than the others, in which the engine did nothing for the request."""
    stalled_percent: float | None = 0.0
    """Share of the time between first and last tokens that was spent in stalls, in percent."""
    tpot_milliseconds_p50: float | None = None
    """Median time per further token, in milliseconds: (last - first token) / (tokens - 1), with stalls."""
    tpot_milliseconds_p95: float | None = None
    """95th percentile of the time per further token, in milliseconds. Absent, as every percentile, where
    fewer requests came than its bound needs."""
    itl_milliseconds_p50: float | None = None
    """Median gap between two tokens, with stalls, in milliseconds."""
    itl_milliseconds_p95: float | None = None
    """95th percentile of the gap between two tokens, with stalls, in milliseconds."""
    ttft_milliseconds_p50: float | None = None
    """Median time to the first token, in milliseconds."""
    ttft_milliseconds_p95: float | None = None
    """95th percentile of the time to the first token, in milliseconds."""
    ttft_overhead_milliseconds: float | None = None
    """The part of the time to the first token that does not grow with the prompt, in milliseconds: a of
    TTFT = a + b x input tokens."""
    prefill_tokens_per_second: float | None = None
    """Prompt tokens per second: 1 / b of TTFT = a + b x input tokens."""
    textless_percent: float | None = None
    """Share of the events that brought no text, in percent: part of a character, or a special token.
    Absent: the events were not counted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CurvePoint:
    """One closed-loop level of concurrency. Throughput counts tokens that arrived inside the window."""

    concurrency: int = field(metadata=COUNT)
    """Requests at the same time."""
    window_seconds: float | None = None
    """Length of the window the throughput was counted in, in seconds."""
    requests: int | None = field(default=None, metadata=COUNT)
    """Requests the values rest on."""
    requests_per_second: float | None = None
    """Finished requests per second."""
    output_tokens_per_second: float | None = None
    """Aggregate output tokens per second."""
    ci_percent: float | None = None
    """Half width of the 95 % confidence interval of the throughput, in percent of it. Absent: too few tokens
    came."""
    counted_by: str = field(default="Client", metadata=WORD)
    """Where tokens were counted: Client (those that arrived) or Engine (its counters at both ends of the
    window)."""
    ttft_milliseconds_p50: float | None = None
    """Median time to the first token, in milliseconds."""
    ttft_milliseconds_p95: float | None = None
    """95th percentile of the time to the first token, in milliseconds."""
    engine_ttft_milliseconds: float | None = None
    """Mean time to the first token by the engine's own count, in milliseconds, without its HTTP front end.
    Absent: the engine does not count it."""
    tpot_milliseconds_p50: float | None = None
    """Median time per further token, in milliseconds."""
    tpot_milliseconds_p95: float | None = None
    """95th percentile of the time per further token, in milliseconds."""
    end_to_end_milliseconds_p50: float | None = None
    """Median time to the last token, in milliseconds."""
    end_to_end_milliseconds_p95: float | None = None
    """95th percentile of the time to the last token, in milliseconds."""
    slo_met: bool | None = None
    """Whether this level met the SLO. Absent: no target, or too few requests."""
    ttft_slo_ratio: float | None = None
    """The SLO's percentile of the time to the first token over its target; above 1 misses it. Absent: the SLO
    has no such target."""
    tpot_slo_ratio: float | None = None
    """The SLO's percentile of the time per further token over its target; above 1 misses it. Absent: the SLO
    has no such target."""
    steady: bool = True
    """False: the throughput was still drifting when the window closed."""
    flags: tuple[str, ...] = field(default=(), metadata=FLAGS)
    """What happened while this level was measured, in the words of the measurement's flags."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Capacity:
    """What one replica sustains: under the SLO where it has a target, else at the knee."""

    concurrency: int | None = field(default=None, metadata=COUNT)
    """Requests at the same time."""
    requests_per_second: float | None = None
    """Finished requests per second."""
    output_tokens_per_second: float | None = None
    """Aggregate output tokens per second."""
    total_tokens_per_second: float | None = None
    """Aggregate prompt and output tokens per second."""
    ci_percent: float | None = None
    """Half width of the 95 % confidence interval of the throughput, in percent of it."""
    boundary: str = field(default="Floor", metadata=WORD)
    """How it is bounded: Edge (a little more breaks the SLO), NeverMet (one request at a time does), Plateau
    (more concurrency brings no more throughput) or Floor (no higher level gave a measured value)."""
    basis: str = field(default="Knee", metadata=WORD)
    """What made it the capacity: SLO, or Knee (the fewest requests at the same time with nine tenths of the
    highest throughput)."""
    verified: bool | None = None
    """Whether open-loop requests at 85 % of the capacity met the SLO, with 95 % confidence. Absent: too
    little time or too few requests."""
    # For a 95th percentile true takes 59 of 59, or 92 of 93, and false 7 of 59.


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenLoop:
    """Latencies of open-loop requests, sent at a fixed rate and timed from their intended arrival."""

    offered_requests_per_second: float | None = None
    """Rate at which requests arrived, in requests per second."""
    requests: int | None = field(default=None, metadata=COUNT)
    """Requests the values rest on."""
    ttft_milliseconds_p50: float | None = None
    """Median time to the first token, in milliseconds."""
    ttft_milliseconds_p95: float | None = None
    """95th percentile of the time to the first token, in milliseconds."""
    tpot_milliseconds_p50: float | None = None
    """Median time per further token, in milliseconds."""
    tpot_milliseconds_p95: float | None = None
    """95th percentile of the time per further token, in milliseconds."""
    end_to_end_milliseconds_p50: float | None = None
    """Median time to the last token, in milliseconds."""
    end_to_end_milliseconds_p95: float | None = None
    """95th percentile of the time to the last token, in milliseconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Goodput:
    """Requests that met the SLO: of the open loop where it ran, else of the capacity's level."""

    requests_per_second: float | None = None
    """Requests per second that met the SLO."""
    compliance_percent: float | None = None
    """Share of requests that met the SLO, in percent."""
    compliance_percent_lower95: float | None = None
    """Lower 95 % bound of that share, in percent: Wilson's, one-sided."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Saturation:
    """The steady level with the highest throughput, whatever its latency."""

    concurrency: int | None = field(default=None, metadata=COUNT)
    """Requests at the same time."""
    output_tokens_per_second: float | None = None
    """Aggregate output tokens per second."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """The line fitted to the curve: gap between tokens = alpha + beta x concurrency."""

    alpha_milliseconds: float | None = None
    """alpha: the gap between tokens that does not depend on the concurrency, in milliseconds."""
    beta_microseconds: float | None = None
    """beta: what each concurrent request adds to the gap, in microseconds."""
    r2: float | None = None
    """Coefficient of determination of the fit, 0 to 1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KvUse:
    """The KV cache under load, by the engine's own metrics."""

    max_usage_percent: float | None = None
    """Highest use while measuring, in percent."""
    preemptions: int | None = field(default=None, metadata=COUNT)
    """Requests that were preempted for lack of room while measuring."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Quality:
    """How well the model, as it was loaded, predicts a fixed text: what quantization costs."""

    text: str = field(default="", metadata=SHORT_TEXT)
    """Name of the scored text. Values of different texts are not compared."""
    tokens: int = field(default=0, metadata=SIZE)
    """Tokens of the text the values rest on."""
    negative_log_likelihood: float | None = None
    """Mean over the tokens, in nats; less is better. Absent: the message says why."""
    perplexity: float | None = None
    """e to the power of the negative log-likelihood; less is better."""
    message: str = field(default="", metadata=MESSAGE)
    """Why there are no values, where there are none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceMemory:
    """Memory of one GPU."""

    index: int = field(metadata=COUNT)
    """The GPU, as the pod counts those it sees (by NVML)."""
    actual_bytes: int | None = field(default=None, metadata=SIZE)
    """Memory in use after the measurement, in bytes."""
    peak_bytes: int | None = field(default=None, metadata=SIZE)
    """The highest use that was sampled, from the engine's start to the end of the measurement, in bytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryActual:
    """Memory in use, and memory as the engine's log reports it. None is unknown. Of several GPUs, a value
    that is not a list is the highest of any GPU."""

    weights_bytes: int | None = None
    """Size of the loaded weights by the engine's own log, which also is the source of the next three
    values."""
    kv_cache_bytes: int | None = None
    kv_cache_tokens: int | None = None
    graph_bytes: int | None = None
    gpu_used_bytes: int | None = None
    """GPU memory in use after the probe, in bytes."""
    gpu_peak_bytes: int | None = None
    """Highest GPU memory in use that was sampled, from the engine's start to the end of the probe, in
    bytes."""
    gpu_source: str = ""
    """Process: what NVML counts for the engine's processes. Device: the whole GPU less what was in use before
    the engine's start, where NVML does not tell processes apart. "": no GPU was read."""
    gpu_devices: tuple[DeviceMemory, ...] = field(default=(), metadata=at_most(LISTED))
    host_used_bytes: int | None = None
    """Resident memory of the engine's processes after the probe, in bytes; shared pages are counted once
    where the kernel reports them (proportional set size)."""
    host_peak_bytes: int | None = None
    """The most that was seen of the same figure in samples, once a second at most; no less than what any one
    process has had resident since it began. Not the container's peak, which counts files read as well."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """The result of one probe.

    Its keys are plan_key and measure_key; the operator adds the fingerprint.
    """

    plan_key: str
    measure_key: str
    observed_time: str
    """RFC 3339, UTC, when the probe ended."""
    kind: str = "Full"
    """Full | Check (a short measurement that is compared with an earlier full one)."""
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
    curve: tuple[CurvePoint, ...] = field(default=(), metadata=at_most(LISTED))
    fit: Fit | None = None
    memory: MemoryActual = MemoryActual()
    kv_use: KvUse = KvUse()
    quality: Quality | None = None
    flags: tuple[str, ...] = ()
    """Flags of INVALIDATING and LIMITING."""
    request: str = ""
    """Name of the re-measure request that this measurement answers (``LiveConfig.again``). "": it was not
    requested."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """Facts about the machine that only the running pod can see; part of the fingerprint."""

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
    """The last clean full measurement of one fingerprint, with which a check of another pod is compared."""

    plan_key: str
    measure_key: str
    environment: Environment
    observed_time: str
    """Time of the full measurement that this baseline is from."""
    concurrency: int
    """Concurrency of the capacity: number of streams."""
    output_tokens_per_second: float
    ci_percent: float | None = None
    """Half the 95 % interval of it, in percent of it. None: unknown."""
    decode_tokens_per_second: float | None = None
    """Decode rate of the single stream, in tokens per second. None: unknown."""
    decode_ci_percent: float | None = None


def same_machine(one: Environment, other: Environment) -> bool:
    """Whether a measurement on one machine is valid for the other.

    GPU memory sizes may differ by the memory that a driver keeps for itself.
    """
    return replace(one, gpu_memory_bytes=0) == replace(other, gpu_memory_bytes=0)
