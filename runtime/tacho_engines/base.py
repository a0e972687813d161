"""The interfaces of an engine to planner and runtime (PlanHalf, RunHalf), and the types of their arguments.

An engine's files are pure. For the plan: which hardware it runs on, which models it loads, how much memory it
needs, and its switches. For the run: its command line, its health path, its metrics, and the failure that its
last lines show. The runtime sends the requests.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from tacho_contract.failure import Failure
from tacho_contract.launch import RuntimeConfig, ServiceLevel
from tacho_contract.model import Architecture, ModelFacts
from tacho_engines.hardware.device import Device
from tacho_engines.memory.account import Account
from tacho_engines.profile import EngineProfile, MethodSupport, Preset


# --- the half of the plan -------------------------------------------------------------------------
@dataclass(frozen=True, slots=True)
class Context:
    """What to plan for: ``concurrency`` requests of ``max_model_len`` tokens at once."""

    max_model_len: int
    concurrency: int


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineOptions:
    """The user's settings of the engine. None and "": not set."""

    arguments: tuple[str, ...] = ()
    """``engine.extraArgs``, as written."""
    env: Mapping[str, str] = field(default_factory=dict)
    kv_cache_dtype: str = ""
    double_quant: bool | None = None
    compute_dtype: str = ""
    tensor: int | None = None
    pipeline: int | None = None
    memory_limit_bytes: int | None = None
    """Memory limit of the engine's container, in bytes."""
    cpu_cores: float | None = None
    """CPUs that the engine's container has requested, where the user set it and its own command starts it."""
    preset: str = ""
    """``engine.custom.preset``."""
    own_image: bool = False
    """``engine.image`` is set: it may have packages that tacho's image lacks."""
    trust_remote_code: bool = False
    """``model.trustRemoteCode``: the engine may execute Python files of the model's repository."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """One way to run a model: an engine's method, on a number of devices of one kind."""

    facts: ModelFacts
    architecture: Architecture
    method: MethodSupport
    device: Device
    count: int
    """GPUs; 0 on the host."""
    tensor: int = 1
    pipeline: int = 1
    version: str
    """Version of the engine."""
    image: str
    options: EngineOptions


@dataclass(frozen=True, slots=True, kw_only=True)
class Tuning:
    """Command-line switches that make the engine faster and need no memory. Empty: the engine's own
    defaults."""

    arguments: tuple[str, ...] = ()
    reasons: tuple[str, ...] = ()
    """A clause for each: what, why, and how to keep the engine's default."""
    front_ends: int | None = None
    """HTTP front ends that the engine then starts; None: enough, or as many as the user says."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineRefusal:
    """Why an engine cannot run a placement, however much memory there is."""

    failure_class: str
    message: str
    """A clause without a full stop."""
    next_step: str = ""
    """What the user should do about the refusal; "": the usual next step of the failure class."""


Splits = tuple[tuple[int, int], ...]
"""(tensor, pipeline) to try, in order of preference."""


class PlanHalf(Protocol):
    """The interface of an engine to the planner. Implementations have no state."""

    @property
    def profile(self) -> EngineProfile: ...

    @property
    def presets(self) -> tuple[Preset, ...]:
        """Third-party servers that the engine's command can be, in the order in which tacho offers the
        presets."""

    def refusal(self, placement: Placement) -> EngineRefusal | None:
        """Why the engine cannot run this placement at all; None when only memory decides.

        Tensor and pipeline sizes are not chosen yet.
        """

    def splits(self, placement: Placement) -> Splits | EngineRefusal:
        """The (tensor, pipeline) sizes by which the model may be spread over the devices, or why there are
        none."""

    def settings_refusal(self, placement: Placement) -> EngineRefusal | None:
        """Why the engine would refuse its own settings on this device before it loads anything."""

    def extends_context(self, options: EngineOptions) -> bool:
        """Whether the user's switches extend the model's context beyond the length it was trained for."""

    def cache_element_bytes(self, placement: Placement) -> float:
        """Bytes of one element of the KV cache."""

    def account(self, placement: Placement, context: Context) -> Account | None:
        """The memory that the engine needs, by part; None for an engine whose memory is not predicted."""

    def arguments(self, placement: Placement, context: Context) -> tuple[str, ...]:
        """The command-line switches that the plan decides, frozen with it; the user's extraArgs follow
        them."""

    def tuned(self, placement: Placement, streamed_tokens_per_second: float | None) -> Tuning:
        """Command-line switches that make the engine faster than its defaults; the user's own come before
        them.

        ``streamed_tokens_per_second``: expected of all requests of the plan together; None: unknown.
        """

    def fallbacks(self, placement: Placement) -> tuple[str, ...]:
        """One clause for each thing that the engine will do otherwise than requested, or slower than it
        could."""


# --- the half of the run --------------------------------------------------------------------------
@dataclass(frozen=True, slots=True, kw_only=True)
class Exit:
    """How the engine's process ended."""

    code: int | None = None
    """Exit code, None when a signal ended it."""
    signal: int | None = None
    out_of_memory_kills: int | None = None
    """How many processes the kernel killed in this container for memory since its start; None: unknown."""
    reported: Failure | None = None
    """What its launcher left in the file that ``tacho_contract.launch.ENV_ENGINE_FAILURE`` names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineStartup:
    """Values that an engine logs of its start. None: not logged, or not yet. Of several GPUs the largest
    counts."""

    weights_bytes: int | None = None
    """Bytes of the weights resident on one device after loading."""
    kv_cache_bytes: int | None = None
    kv_cache_tokens: int | None = None
    """Tokens that the KV cache of the replica holds."""
    graph_bytes: int | None = None
    """Bytes of the CUDA graphs."""
    compile_seconds: float | None = None
    """Seconds to compile kernels, including the time to find kernels in a cache."""
    graph_seconds: float | None = None
    """Capturing CUDA graphs."""
    fallbacks: tuple[str, ...] = ()
    """What it does otherwise than requested or than is fastest, a clause each: weight-only kernels where the
    GPU lacks a type, eager mode, another attention backend. At most 8."""
    late_kernels: int = 0
    """Kernels that it compiled after its start: requests halt for each."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PackageNeed:
    """A Python package without which the engine cannot run the configuration."""

    name: str
    """Name of the Python distribution."""
    since: str = ""
    """Version of the engine from which on it is a package of its own; "": always."""
    what: str
    """What the package is needed for, as a noun."""


@dataclass(frozen=True, slots=True)
class NewSwitch:
    """Arguments that older versions of the engine do not accept, and from which version on it does."""

    since: str
    arguments: Callable[[ServiceLevel], tuple[str, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Needs:
    """The packages, switches and disk space that an engine's image must have for one configuration."""

    engine: tuple[str, ...] = ()
    """Distributions that carry the engine itself. If none is found, the engine was installed in an unknown
    way, and the other distributions are not checked."""
    packages: tuple[PackageNeed, ...] = ()
    switches: tuple[NewSwitch, ...] = ()
    """Added to the command where the engine's version is known to take them."""
    cache_bytes: int = 0
    """What the engine writes below ``RuntimeConfig.cache_dir``, where it is much: a converted model."""
    cache_folder: str = ""
    """Where below it: a folder with an entry for each model, of which this may be one already."""


class RunHalf(Protocol):
    """The interface of an engine to the runtime. Implementations have no state."""

    @property
    def name(self) -> str: ...

    @property
    def users_command(self) -> bool:
        """Whether the user gives the whole command (RuntimeConfig.custom), without the entrypoint of a known
        image."""

    def api_key_variable(self, config: RuntimeConfig) -> str:
        """The environment variable that this engine takes its API key from; "" when it has none."""

    def version_path(self, config: RuntimeConfig) -> str:
        """HTTP path of a JSON document that contains the engine's version; "": none."""

    def version(self, document: Mapping[str, object]) -> str:
        """The version in the document of ``version_path``; "" when it has none."""

    def health_path(self, config: RuntimeConfig) -> str:
        """HTTP path that answers with a status 2xx when the engine can serve."""

    def command(self, config: RuntimeConfig, model_path: str) -> tuple[str, ...]:
        """The command line that starts the engine. Raises FailedError(InvalidConfig) for unusable
        settings."""

    def environment(self, config: RuntimeConfig) -> Mapping[str, str]:
        """Environment variables for the engine; variables that are set already are kept."""

    def slots(self, config: RuntimeConfig) -> int:
        """How many requests the engine runs at a time by its settings; further ones wait. 0: no limit."""

    def needs(self, config: RuntimeConfig) -> Needs:
        """Packages and disk space that the start needs; their lack is reported before anything is loaded."""

    def read(self, startup: EngineStartup, line: str) -> EngineStartup:
        """``startup`` with the values of one more line of the engine's output; called for each line."""

    def fallbacks(self, startup: EngineStartup, capability: tuple[int, int] | None) -> tuple[str, ...]:
        """Messages about slower kernels that the log names, on a GPU of this compute capability (None:
        unknown)."""

    def names_cause(self, line: str) -> bool:
        """Whether a line names a cause of failure. Lines that do are kept longer than others: the last lines
        alone may be the traceback of a consequence."""

    def classify(self, end: Exit, lines: Sequence[str]) -> Failure:
        """The failure of an engine that ended: from its exit status, its lines that name a cause, and its
        last lines."""
