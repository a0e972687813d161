"""Settings of the runtime in the engine's container, and of a probe of any other engine."""

from __future__ import annotations

from dataclasses import dataclass, field

from tacho_contract import SCHEMA
from tacho_contract.codec import flat
from tacho_contract.measurement import Baseline, Measurement, Workload
from tacho_contract.pod import ENGINE_PORT, HEALTH_PATH, LIVE_FILE, RUNTIME_PORT, STATE_DIR, TERMINATION_LOG
from tacho_contract.units import GIB

ENV_RUNTIME_CONFIG = "TACHO_RUNTIME_CONFIG"
ENV_FULL_PROBE = "TACHO_FULL_PROBE"
"""Environment variable set for a probe pod: the pod is measured in full, even where baselines exist."""
ENV_ENGINE_FAILURE = "TACHO_ENGINE_FAILURE"
"""Environment variable of the engine: the file for its launcher's Failure as JSON, before it ends."""

ENV_POD_UID = "TACHO_POD_UID"
"""Environment variable with the pod's uid, which tells a report from one of a pod that got its address."""
ENV_CPU_REQUEST = "TACHO_CPU_REQUEST_MILLICORES"
"""Environment variable with the container's CPU request in millicores, if the user set one. Without a CPU
limit, engines start as many threads.
"""

ENV_USABLE_CPUS = "TACHO_USABLE_CPUS"
"""Environment variable of the engine: the number of CPUs that the runtime found the container may use."""
BASE_STARTUP_SECONDS = 30 * 60
LONGEST_STARTUP_SECONDS = 7 * 86400
"""Longest time in seconds that a resource may set for its starts."""
STARTUP_SECONDS_PER_GIB = 18
"""Seconds that may pass per GiB of weights: 60 MB/s, a slow network or disk."""


def local_url(bind_host: str, port: int) -> str:
    """The base URL by which this machine reaches a server that listens on ``bind_host``."""
    every = {"0.0.0.0": "127.0.0.1", "": "127.0.0.1", "::": "::1"}  # noqa: S104 - told apart, not bound
    host = every.get(bind_host, bind_host)
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def startup_budget_seconds(weights_bytes: int, override_seconds: int | None = None) -> int:
    """Seconds that download and load may take together, counted from the runtime's start.

    ``override_seconds``, else 30 minutes and 18 s for each GiB of weights, rounded up.
    """
    return override_seconds or BASE_STARTUP_SECONDS + -(-weights_bytes * STARTUP_SECONDS_PER_GIB // GIB)


# --- configuration of the engine container --------------------------------------------------------
@dataclass(frozen=True, slots=True, kw_only=True)
class CustomEngine:
    """The command and settings of ``engine.name: custom``.

    ``command`` is the user's; it is empty where a preset's command is in ``RuntimeConfig.entrypoint``.
    Variables in both are replaced by ``tacho_engines.custom.run``.
    """

    command: tuple[str, ...]
    health_path: str = HEALTH_PATH
    version_path: str = "/version"
    """HTTP path of a JSON document with the server's ``version``; "": the server has none."""
    api_key_variable: str = "VLLM_API_KEY"
    """Environment variable from which the server reads its API key; "": it reads none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedModel:
    """The files of the model in the plan."""

    path: str
    """Folder or file of the model; "" for hf://, whose folder is in the fetch container's marker file."""
    globs: tuple[str, ...] = ()
    file: str = ""
    """Path of the file that the engine's command line names; "": it names the folder."""
    files_digest: str = ""
    """sha256 over sorted (path, size) of the files that ``globs`` select."""
    headers_digest: str = ""
    """Like ``files_digest``, but with the bytes of the headers. "": the fetch container compares files."""
    content_digest: str = ""
    """sha256 over sorted (path, sha256 of every byte) of the model's files. "": only ``files_digest`` and
    ``headers_digest`` are compared."""
    weights_bytes: int = 0
    """Size of the weights in bytes, from which the startup timeout is computed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedGpus:
    """The GPUs that the plan expects in the pod."""

    count: int = 0
    product: str = ""
    """GPU product as in node labels; "": any product."""
    least_capability: str = ""
    """Minimum CUDA compute capability that engine and quantization method run on, such as "8.0"; "":
    unknown."""
    needed_bytes: int = 0
    """Free memory in bytes that each GPU must have when the engine starts; 0: unknown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RuntimePaths:
    """Folders and files that the runtime uses in its container."""

    cache_dir: str = ""
    """Folder for code and files that the engine compiles or converts, with a subfolder for each kind of
    machine and image; the engine gets its subfolder. "": nothing is kept after the pod.
    """
    fetch_dir: str = ""
    """Folder where the fetch container writes progress.json and ``complete``; "": no download is awaited."""
    state_dir: str = STATE_DIR
    live_file: str = LIVE_FILE
    termination_log: str = TERMINATION_LOG


@dataclass(frozen=True, slots=True, kw_only=True)
class RuntimeConfig:
    """The runtime's settings, stored with the revision; in the environment variable TACHO_RUNTIME_CONFIG."""

    schema: int = SCHEMA
    revision: str
    plan_key: str
    engine: str
    """Name of the engine, which is its folder in ``tacho_engines``."""
    entrypoint: tuple[str, ...] = ()
    """Command that starts the engine in its image, e.g. ("llama-server",)."""
    model: PlannedModel = field(
        metadata=flat(path="modelPath", globs="files", file="modelFile", headers_digest="modelDigest")
    )
    served_name: str
    max_model_len: int
    concurrency: int
    tensor_parallel: int = 1
    pipeline_parallel: int = 1
    gpus: PlannedGpus = field(
        default=PlannedGpus(),
        metadata=flat(
            count="gpuCount",
            product="gpuProduct",
            least_capability="gpuLeastCapability",
            needed_bytes="gpuNeededBytes",
        ),
    )
    quantization_method: str = "none"
    kv_cache_dtype: str = ""
    extra_args: tuple[str, ...] = ()
    custom: CustomEngine | None = None
    engine_port: int = ENGINE_PORT
    runtime_port: int = RUNTIME_PORT
    bind_host: str = "0.0.0.0"  # noqa: S104 - a pod's ports are what its NetworkPolicy says
    predicted_weights_bytes: int = 0
    """Predicted bytes of weights in memory. An engine with far more fails with QuantizationNotApplied."""
    image: str = ""
    """Image reference as in the plan; part of the key under which compiled code is cached."""
    paths: RuntimePaths = field(default=RuntimePaths(), metadata=flat())
    drain_seconds: int = 100
    """Seconds for which running requests are awaited after SIGTERM before the engine is stopped."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceLevel:
    """The SLO: latency targets in milliseconds at a percentile of requests. 0: no target."""

    ttft_milliseconds: int = 0
    tpot_milliseconds: int = 0
    percentile: int = 95

    @property
    def has_target(self) -> bool:
        return bool(self.ttft_milliseconds or self.tpot_milliseconds)


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeSettings:
    policy: str = "Auto"
    """Auto (measure if no result for these keys exists), Always or Disabled."""
    budget_seconds: int = 45
    timeout_seconds: int = 90


@dataclass(frozen=True, slots=True, kw_only=True)
class Again:
    """The rollout gate's request to a candidate's pod to measure itself again."""

    request: str = ""
    """Name of the request; a new name is a new request. "": none."""
    hostname: str = ""
    """Host name of the pod that shall measure itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveConfig:
    """Settings that may change while a pod runs: ``live.json`` of the mounted ConfigMap."""

    schema: int = SCHEMA
    measure_key: str
    workload: Workload = Workload()
    slo: ServiceLevel = ServiceLevel()
    probe: ProbeSettings = ProbeSettings()
    startup_timeout_seconds: int = 0
    """Startup timeout in seconds. 0: computed from the model's size."""
    baselines: tuple[Baseline, ...] = ()
    """Baselines of full measurements. A pod whose machine matches one is only checked."""
    again: Again = Again()


# --- probing an engine that tacho does not run -------------------------------------------------------
ENV_PROBE_ORDER = "TACHO_PROBE_ORDER"
ENV_PROBE_KEY = "TACHO_PROBE_API_KEY"
"""Environment variable with the engine's API key, sent as a bearer token. It is in no document, as documents
may be printed.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeOrder:
    """One engine that answers the OpenAI API, and how to probe it; in the environment variable
    TACHO_PROBE_ORDER."""

    schema: int = SCHEMA
    base_url: str
    """Scheme, host and port; a path prefix before /v1 is kept."""
    served_name: str
    """The ``model`` of requests."""
    concurrency: int
    """Most requests at the same time."""
    levels: tuple[int, ...] = ()
    """Numbers of streams to measure instead of a search; (): search."""
    plan_key: str
    live: LiveConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeLine:
    """One line that a probe prints: a progress message for each phase; the last line has the measurement."""

    progress: str = ""
    measurement: Measurement | None = None
