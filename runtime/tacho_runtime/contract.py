"""What operator and runtime agree on: paths, ports, and the documents that cross between them.

The only module of this package that the operator imports. Standard library only, frozen data, no I/O.
Documents are JSON with camelCase keys (``codec``); readers ignore keys they do not know, so that
operator N reads reports of runtimes back to N-2.
"""

from __future__ import annotations

from dataclasses import dataclass, field

SCHEMA = 1
"""Version of the documents below. Raised only when an old reader would misread a new document."""

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

# --- failure classes (design: "Failures are classes") --------------------------------------------
ENGINE_NOT_SUPPORTED = "EngineNotSupported"
MODEL_NOT_FOUND = "ModelNotFound"
MODEL_INVALID = "ModelInvalid"
AUTH_REQUIRED = "AuthRequired"
HUB_UNREACHABLE = "HubUnreachable"
UNSUPPORTED_QUANTIZATION = "UnsupportedQuantization"
UNSUPPORTED_GPU = "UnsupportedGPU"
DOES_NOT_FIT = "DoesNotFit"
KV_CACHE_TOO_SMALL = "KVCacheTooSmall"
GPU_OUT_OF_MEMORY = "GPUOutOfMemory"
HOST_OUT_OF_MEMORY = "HostOutOfMemory"
DISK_FULL = "DiskFull"
ENGINE_CRASHED = "EngineCrashed"
STARTUP_TIMEOUT = "StartupTimeout"
GPU_FAULT = "GPUFault"
PORT_IN_USE = "PortInUse"
QUANTIZATION_NOT_APPLIED = "QuantizationNotApplied"
INVALID_CONFIG = "InvalidConfig"


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """Why something cannot go on: the content of a termination message."""

    failure_class: str
    """One of the classes above; becomes the reason of Ready."""
    message: str
    """What happened, with the names and numbers a person needs."""
    next_step: str
    """What to do about it, as an instruction."""
    retryable: bool = False
    """True when trying again unchanged may help (a hub that did not answer), False when it cannot."""
    details: dict[str, str] = field(default_factory=dict)
    """Figures later decisions use, e.g. ``fitsMaxModelLen`` of KVCacheTooSmall."""
    log_tail: tuple[str, ...] = ()
    """The lines of the engine's output that show the cause, at most 10."""


# --- what inspection finds out about a model -----------------------------------------------------
@dataclass(frozen=True, slots=True, kw_only=True)
class TensorClass:
    """All tensors of one kind and storage type, added up. Never a list of modules."""

    kind: str
    """embedding | lm_head | norm | linear | expert | router | conv | ssm | vision | scale | bias | draft |
    other.
    ``scale`` is what a quantized checkpoint stores beside its packed weights (scales, zeros, g_idx).
    ``draft`` is layers for speculative decoding (multi-token prediction), not loaded unless asked for."""
    dtype: str
    """As stored: BF16, F16, F32, F8_E4M3, I32, U8, …, or a GGML type such as Q4_K."""
    tensors: int
    parameters: int
    """Elements as stored (a packed int32 holding eight 4-bit weights counts as one)."""
    stored_bytes: int
    """Exact, from the header's offsets; not computed from the dtype."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerGroup:
    """Layers that keep the same state per token or per request."""

    kind: str
    """full | sliding | chunked | mla | mamba | linear_attention | none."""
    layers: int
    key_value_heads: int = 0
    key_head_dim: int = 0
    value_head_dim: int = 0
    window_tokens: int = 0
    """sliding and chunked: how far back attention looks."""
    state_bytes: int = 0
    """mamba and linear_attention: constant state per request over all these layers, in the model's dtype."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Architecture:
    """The shape numbers that memory and speed follow from. 0 or "" means unknown."""

    name: str = ""
    """First of config.json's ``architectures``, or GGUF's ``general.architecture``."""
    model_type: str = ""
    hidden_size: int = 0
    layers: int = 0
    attention_heads: int = 0
    key_value_heads: int = 0
    head_dim: int = 0
    intermediate_size: int = 0
    vocabulary: int = 0
    max_positions: int = 0
    """Longest context the checkpoint claims, rope scaling included."""
    rotary_dim: int = 0
    kv_lora_rank: int = 0
    qk_rope_head_dim: int = 0
    experts: int = 0
    experts_per_token: int = 0
    moe_intermediate_size: int = 0
    tied_embeddings: bool = False
    multimodal: bool = False
    dtype: str = ""
    """bfloat16 | float16 | float32: what 16-bit engines compute in."""
    layer_groups: tuple[LayerGroup, ...] = ()
    needs_remote_code: bool = False
    """The repository asks to run its own Python (auto_map). Never run by inspection."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredQuantization:
    """How the checkpoint is already quantized. ``method`` "" means it is not."""

    method: str = ""
    """awq | gptq | compressed-tensors | fp8 | bitsandbytes | mxfp4 | modelopt | gguf | others as stored."""
    bits: int = 0
    group_size: int = 0
    symmetric: bool = True
    scheme: str = ""
    """The finer name: W4A16, W8A8-int8, nf4, Q4_K_M, …"""
    kv_cache_dtype: str = ""
    unquantized_modules: int = 0
    """How many module patterns the checkpoint excludes from quantization."""
    lm_head_quantized: bool = False
    double_quant: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFacts:
    """What the plan may know of a model before its weights are downloaded."""

    schema: int = SCHEMA
    uri: str
    commit: str = ""
    """hf:// only: the commit the revision resolved to."""
    digest: str
    """The commit for hf://, else sha256 over sorted (path, size, header bytes)."""
    files: tuple[str, ...] = ()
    """The globs that select exactly the files to load."""
    file_count: int
    total_bytes: int
    files_digest: str
    """sha256 over sorted (path, size): what fetch checks its own listing against."""
    model_file: str = ""
    """GGUF: the one file to give to the engine (the first shard), relative to the model's folder."""
    format: str
    """safetensors | gguf | ct2 | pytorch | custom."""
    architecture: Architecture | None = None
    quantization: StoredQuantization = StoredQuantization()
    tensors: tuple[TensorClass, ...] = ()
    unknown: tuple[str, ...] = ()
    """What could not be found out, in words. Never guessed silently."""


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
