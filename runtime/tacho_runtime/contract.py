"""What operator and runtime agree on: paths, ports, and the documents that cross between them.

The only module of this package that the operator imports. Standard library only, frozen data, no I/O.
Documents are JSON with camelCase keys (``codec``); readers ignore keys they do not know, so that
operator N reads reports of runtimes back to N-2.
"""

from __future__ import annotations

from dataclasses import dataclass

from .contract_facts import (
    SCHEMA as SCHEMA,
    Architecture as Architecture,
    LayerGroup as LayerGroup,
    ModelFacts as ModelFacts,
    StoredQuantization as StoredQuantization,
    TensorClass as TensorClass,
)
from .contract_failure import (
    AUTH_REQUIRED as AUTH_REQUIRED,
    DISK_FULL as DISK_FULL,
    DOES_NOT_FIT as DOES_NOT_FIT,
    ENGINE_CRASHED as ENGINE_CRASHED,
    ENGINE_NOT_SUPPORTED as ENGINE_NOT_SUPPORTED,
    GPU_FAULT as GPU_FAULT,
    GPU_OUT_OF_MEMORY as GPU_OUT_OF_MEMORY,
    HOST_OUT_OF_MEMORY as HOST_OUT_OF_MEMORY,
    HUB_UNREACHABLE as HUB_UNREACHABLE,
    INVALID_CONFIG as INVALID_CONFIG,
    KV_CACHE_TOO_SMALL as KV_CACHE_TOO_SMALL,
    MODEL_INVALID as MODEL_INVALID,
    MODEL_NOT_FOUND as MODEL_NOT_FOUND,
    PORT_IN_USE as PORT_IN_USE,
    QUANTIZATION_NOT_APPLIED as QUANTIZATION_NOT_APPLIED,
    STARTUP_TIMEOUT as STARTUP_TIMEOUT,
    UNSUPPORTED_GPU as UNSUPPORTED_GPU,
    UNSUPPORTED_QUANTIZATION as UNSUPPORTED_QUANTIZATION,
    Failure as Failure,
)

# --- where things are in a model pod -------------------------------------------------------------
TACHO_DIR = "/tacho"
"""emptyDir shared by the inject, fetch and engine containers."""
ZIPAPP_IN_IMAGE = "/opt/tacho/tacho-runtime.pyz"
ZIPAPP = f"{TACHO_DIR}/runtime.pyz"
STATE_DIR = f"{TACHO_DIR}/state"
"""The last report is kept here, so that a restarted container does not measure again."""
HOME_DIR = f"{TACHO_DIR}/home"
FETCH_DIR = f"{TACHO_DIR}/fetch"
MODEL_DIR = "/models"
"""The cache volume, or the claim a pvc:// URI names."""
LIVE_DIR = "/etc/tacho"
LIVE_FILE = f"{LIVE_DIR}/live.json"
TERMINATION_LOG = "/dev/termination-log"

ENGINE_PORT = 8000
RUNTIME_PORT = 9400

ENV_RUNTIME_CONFIG = "TACHO_RUNTIME_CONFIG"
ENV_FETCH_CONFIG = "TACHO_FETCH_CONFIG"
ENV_INSPECT_CONFIG = "TACHO_INSPECT_CONFIG"

REPORT_LIMIT_BYTES = 64 * 1024
TERMINATION_LIMIT_BYTES = 3 * 1024
"""The kubelet cuts messages at 4 KiB a container without a warning; this leaves room for escapes."""


# --- inspection ------------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True, kw_only=True)
class InspectConfig:
    """What an inspect pod, or ``tacho plan``, is asked. Environment TACHO_INSPECT_CONFIG."""

    uri: str
    revision: str = "main"
    files: tuple[str, ...] = ()
    engine: str = ""
    """Which engine will load it, "" while undecided: selects files when ``files`` is empty."""
    parse: bool = True
    """False (engine custom): the files are listed and sized, not parsed."""
    endpoint: str = ""
    """Hub mirror; "" is the library's own default."""
    claim_dir: str = MODEL_DIR
    """pvc://: where the claim is mounted."""
    timeout_seconds: int = 120


@dataclass(frozen=True, slots=True, kw_only=True)
class InspectResult:
    """The inspect pod's termination message (zlib, then base64)."""

    facts: ModelFacts | None = None
    failure: Failure | None = None


# --- fetching -------------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True, kw_only=True)
class FetchConfig:
    """What the fetch sidecar does. Environment TACHO_FETCH_CONFIG. The hub token is in HF_TOKEN."""

    repository: str
    commit: str
    files: tuple[str, ...]
    file_count: int
    total_bytes: int
    files_digest: str
    """A listing of the pinned commit that has another digest is refused."""
    cache_dir: str = MODEL_DIR
    endpoint: str = ""
    state_dir: str = FETCH_DIR
    """Gets ``progress.json`` (FetchProgress, replaced atomically) and, when done, ``complete``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchProgress:
    """How far a download is. Bytes already in the cache count as done."""

    state: str
    """Listing | Downloading | Complete | Failed."""
    files_done: int = 0
    files_total: int = 0
    bytes_done: int = 0
    bytes_total: int = 0
    elapsed_seconds: float = 0.0
    resumed_bytes: int = 0
    """What a former attempt had already brought."""
    path: str = ""
    """Complete: the folder the files are in."""
    failure: Failure | None = None


PROGRESS_FILE = "progress.json"
COMPLETE_FILE = "complete"


# --- what the engine container is told ------------------------------------------------------------
@dataclass(frozen=True, slots=True, kw_only=True)
class CustomEngine:
    """engine.name custom: ``command`` may hold $(TACHO_MODEL_PATH), $(TACHO_SERVED_NAME),
    $(TACHO_PORT), $(TACHO_MAX_MODEL_LEN) and $(TACHO_CONCURRENCY)."""

    command: tuple[str, ...]
    health_path: str = "/health"


@dataclass(frozen=True, slots=True, kw_only=True)
class RuntimeConfig:
    """Frozen at the revision's birth. Environment TACHO_RUNTIME_CONFIG."""

    schema: int = SCHEMA
    revision: str
    plan_key: str
    engine: str
    """llamacpp | custom | vllm | transformers | ctranslate2."""
    entrypoint: tuple[str, ...] = ()
    """What the engine table says starts this image's engine, e.g. ("llama-server",)."""
    model_path: str
    """Folder or file. For hf:// the folder is known only from fetch's marker and this is ""."""
    files: tuple[str, ...] = ()
    model_file: str = ""
    served_name: str
    max_model_len: int
    concurrency: int
    tensor_parallel: int = 1
    pipeline_parallel: int = 1
    gpu_count: int = 0
    quantization_method: str = "none"
    kv_cache_dtype: str = ""
    extra_args: tuple[str, ...] = ()
    custom: CustomEngine | None = None
    engine_port: int = ENGINE_PORT
    runtime_port: int = RUNTIME_PORT
    bind_host: str = "0.0.0.0"  # noqa: S104 - a pod's ports are what its NetworkPolicy says
    weights_bytes: int = 0
    """Startup budget without an explicit one: 30 min + 18 s per GiB of this."""
    predicted_weights_bytes: int = 0
    """Resident form; far more loaded than this is QuantizationNotApplied."""
    fetch_dir: str = ""
    """"" when there is nothing to wait for; else where fetch writes progress.json and ``complete``."""
    state_dir: str = STATE_DIR
    live_file: str = LIVE_FILE
    termination_log: str = TERMINATION_LOG
    drain_seconds: int = 100
    """How long running requests may take after SIGTERM before the engine is stopped."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    input_tokens: int = 512
    output_tokens: int = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceLevel:
    """0 means not asked for."""

    ttft_milliseconds: int = 0
    tpot_milliseconds: int = 0
    percentile: int = 95


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeSettings:
    policy: str = "Auto"
    """Auto (measure when no result for these keys is known) | Always | Disabled."""
    budget_seconds: int = 45
    timeout_seconds: int = 90


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveConfig:
    """May change under a running pod: the mounted ConfigMap's ``live.json``."""

    schema: int = SCHEMA
    measure_key: str
    workload: Workload = Workload()
    slo: ServiceLevel = ServiceLevel()
    probe: ProbeSettings = ProbeSettings()
    startup_timeout_seconds: int = 0
    """0: from the model's size."""


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
class MemoryActual:
    weights_bytes: int | None = None
    kv_cache_tokens: int | None = None
    gpu_used_bytes: int | None = None


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


@dataclass(frozen=True, slots=True, kw_only=True)
class StartupSeconds:
    """What the runtime itself can time; the operator adds scheduling and image pull."""

    download: float | None = None
    load: float | None = None
    compile: float | None = None
    probe: float | None = None
    total: float | None = None
    """From the runtime's start to readiness."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """GET /report on RUNTIME_PORT."""

    schema: int = SCHEMA
    runtime_version: str
    revision: str
    plan_key: str
    phase: str
    """Preflight | WaitingForModel | Starting | Probing | Serving | Draining | Failed."""
    message: str = ""
    ready: bool = False
    engine: str
    engine_version: str = ""
    engine_restarts: int = 0
    fetch: FetchProgress | None = None
    startup: StartupSeconds = StartupSeconds()
    environment: Environment = Environment()
    measurement: Measurement | None = None
    failure: Failure | None = None
    observed_time: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """GET /load. None is unknown, never zero."""

    running: int | None = None
    waiting: int | None = None
    generation_tokens_total: float | None = None
    prompt_tokens_total: float | None = None
    kv_cache_usage: float | None = None
    observed_time: str


def snapshot_dir(cache_dir: str, repository: str, commit: str) -> str:
    """Where the hub client puts a repository's files: its own cache layout under ``cache_dir``."""
    return f"{cache_dir}/hub/models--{repository.replace('/', '--')}/snapshots/{commit}"
