"""An engine's interfaces: PlannerAdapter, RuntimeAdapter, and the types of their arguments.

An engine's files are pure. For the plan: which hardware it runs on, which models it loads, how much memory it
needs, and its switches. For the run: its command line, its health path, its metrics, and the failure that its
last lines show. The runtime sends the requests.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from tacho_contract.failure import Failure, FailureClass
from tacho_contract.launch import RuntimeConfig, ServiceLevel
from tacho_contract.model import Architecture, ModelFacts
from tacho_contract.pod import HEALTH_PATH
from tacho_engines.hardware.device import Device
from tacho_engines.memory.account import Account
from tacho_engines.profile import EngineProfile, MethodSupport, Preset
from tacho_engines.shared.switches import parse_arguments

LONGEST_VERSION = 64
"""Characters of an engine's version that are kept, as an engine may claim any."""


# --- for the planner ------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True)
class Context:
    """The context to plan for: ``concurrency`` requests of ``max_model_len`` tokens at the same time."""

    max_model_len: int
    concurrency: int


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineOptions:
    """The user's settings of the engine. None and "": not set."""

    arguments: tuple[str, ...] = ()
    """The user's ``engine.extraArgs``, unchanged."""
    env: Mapping[str, str] = field(default_factory=dict)
    kv_cache_dtype: str = ""
    double_quant: bool | None = None
    compute_dtype: str = ""
    tensor: int | None = None
    pipeline: int | None = None
    memory_limit_bytes: int | None = None
    """Memory limit of the engine's container, in bytes."""
    cpu_cores: float | None = None
    """Number of CPUs that the user requested for the engine's container, where tacho's own command starts the
    engine; else None.
    """
    usable_cpus: float | None = None
    """Number of CPUs that the engine's container may use: its limit, else its request; None: unknown."""
    preset: str = ""
    """The user's ``engine.custom.preset``."""
    own_image: bool = False
    """Whether ``engine.image`` is set. That image may have packages that tacho's lacks."""
    trust_remote_code: bool = False
    """The user's ``model.trustRemoteCode``: the engine may run Python files of the model's repository."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """One way to run a model: an engine's method on a number of devices of one kind."""

    engine: str
    """Name of the engine."""
    facts: ModelFacts
    architecture: Architecture
    method: MethodSupport
    device: Device
    count: int
    """Number of GPUs; 0 on the host."""
    tensor: int = 1
    pipeline: int = 1
    version: str
    """Version of the engine."""
    version_assumed: bool = False
    """Whether the image's tag names no version, and that of the default image is assumed."""
    image: str
    options: EngineOptions


@dataclass(frozen=True, slots=True, kw_only=True)
class Tuning:
    """Arguments that make the engine faster. Empty: the engine's own defaults."""

    arguments: tuple[str, ...] = ()
    reasons: tuple[str, ...] = ()
    """A clause for each argument: what it does, why, and how to keep the engine's default."""
    front_ends: int | None = None
    """Number of HTTP front ends that then start; None: more than needed, or as the user set it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineRefusal:
    """Why an engine cannot run a placement, regardless of memory."""

    failure_class: str
    message: str
    """The reason as a clause, without a full stop."""
    next_step: str = ""
    """What the user should do about the refusal; "": the usual next step of the failure class."""


Splits = tuple[tuple[int, int], ...]
"""Pairs (tensor, pipeline) of parallelism to try, in order of preference."""


@dataclass(frozen=True, slots=True)
class PlannerAdapter:
    """The interface of an engine to the planner; what it answers by default is true of most engines.

    By default an engine has one process, on one GPU, and needs no planned arguments.
    """

    profile: EngineProfile
    cache_bytes: float = 2.0
    """Bytes of one element of the KV cache."""
    presets: tuple[Preset, ...] = ()
    """The presets for third-party servers that the engine can start, in the order of tacho's offers."""

    def spelled_out(self, arguments: tuple[str, ...]) -> tuple[str, ...]:
        """``arguments`` with switches by their full names, where the engine's parser takes others."""
        return arguments

    def switches(self, options: EngineOptions) -> dict[str, str]:
        """The user's switches as the engine's parser reads them, by their full names."""
        return parse_arguments(self.spelled_out(options.arguments))

    def partial_groups(self, _placement: Placement, /) -> bool:
        """Whether a GPU's part of an expert in 4 bits ends within a quantization group, for which the engine
        has slower kernels.
        """
        return False

    def refusal(self, placement: Placement) -> EngineRefusal | None:
        """Why the engine cannot run this placement at all; None when only memory decides.

        Tensor and pipeline sizes are not chosen yet.
        """
        raise NotImplementedError

    def account(self, placement: Placement, context: Context) -> Account | None:
        """The memory that the engine needs, by part; None for an engine whose memory is not predicted."""
        raise NotImplementedError

    def cached_tokens(self, _placement: Placement, _context: Context, account: Account, _each: int, /) -> int:
        """Tokens of the requests of ``_each`` tokens that the KV cache holds at once."""
        return account.cache_tokens

    def splits(self, placement: Placement) -> Splits | EngineRefusal:
        """(tensor, pipeline) sizes with which the model may be spread over the devices, or the refusal."""
        for part in ("tensor", "pipeline"):
            if (getattr(placement.options, part) or 1) > 1:
                return EngineRefusal(
                    failure_class=FailureClass.INVALID_CONFIG,
                    message=f"parallelism.{part} has no effect: {self.profile.name} runs on one GPU",
                    next_step=f"Remove parallelism.{part}",
                )
        return ((1, 1),)

    def settings_refusal(self, _placement: Placement, /) -> EngineRefusal | None:
        """The refusal of settings that the engine itself would refuse on this device at its start; None: it
        accepts them.
        """
        return None

    def pool_refusal(self, _placement: Placement, _context: Context, /) -> EngineRefusal | None:
        """The refusal of settings that the KV cache is too small for, although the context fits; or None."""
        return None

    def extends_context(self, _options: EngineOptions, /) -> bool:
        """Whether the user's switches extend the model's context beyond the length it was trained for."""
        return False

    def cache_element_bytes(self, _placement: Placement) -> float:
        """Bytes of one element of the KV cache."""
        return self.cache_bytes

    def arguments(self, _placement: Placement, _context: Context, /) -> tuple[str, ...]:
        """The command-line switches that the plan decides, frozen with it; the user's extraArgs follow
        them."""
        return ()

    def tuned(self, _placement: Placement, _streamed_tokens_per_second: float | None, /) -> Tuning:
        """Arguments that make the engine faster without more memory; the user's own take precedence.

        The second argument is expected for all requests of the plan together; None: unknown.
        """
        return Tuning()

    def larger_graphs(self, _placement: Placement, _context: Context, /) -> Tuning:
        """Arguments that capture CUDA graphs of more steps than by default, which takes memory. The planner
        decides whether they pay.
        """
        return Tuning()

    def warnings(self, _placement: Placement, /) -> tuple[str, ...]:
        """Sentences about settings or models that the engine may refuse at its start."""
        return ()

    def fallbacks(self, _placement: Placement, /) -> tuple[str, ...]:
        """One clause for each setting that the engine will not apply as requested, or that makes it slower
        than possible.
        """
        return ()


# --- for the runtime ------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True, kw_only=True)
class Exit:
    """How the engine's process ended."""

    code: int | None = None
    """Exit code; None: a signal ended the process."""
    signal: int | None = None
    out_of_memory_kills: int | None = None
    """Number of processes in this container that the kernel killed for lack of memory since its start, and
    shortly before its end; None: unknown.
    """
    reported: Failure | None = None
    """The failure that the launcher wrote to the file of ``launch.ENV_ENGINE_FAILURE``; None: none."""
    served: bool = False
    """Whether clients could reach it, so that its log may hold what they sent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineStartup:
    """Values in an engine's log of its start. None: not logged yet. Of several GPUs the highest counts."""

    weights_bytes: int | None = None
    """Bytes of the weights resident on one device after loading."""
    kv_cache_bytes: int | None = None
    kv_cache_tokens: int | None = None
    """Number of tokens in the replica's KV cache."""
    graph_bytes: int | None = None
    """Bytes of the CUDA graphs."""
    compile_seconds: float | None = None
    """Seconds to compile kernels, including the time to find kernels in a cache."""
    graph_seconds: float | None = None
    """Seconds to capture CUDA graphs."""
    fallbacks: tuple[str, ...] = ()
    """A clause for each setting that the engine did not apply, and each slower method that it chose, such as
    weight-only kernels. At most 8.
    """
    late_kernels: int = 0
    """Number of kernels that the engine compiled after its start. Requests stop while one is compiled."""
    answers: bool = False
    """Whether the log says that the engine answers requests, or soon will: then others may write to it."""

    def updated(self, found: EngineStartup, *, starting: bool) -> EngineStartup:
        """The values after a line in which ``found`` was read.

        Once the engine answers, a line may hold what a client wrote, and counts for late kernels alone.
        """
        return found if starting else replace(self, late_kernels=found.late_kernels)


@dataclass(frozen=True, slots=True)
class NewSwitch:
    """Arguments with the engine version that first accepts them."""

    since: str
    arguments: Callable[[ServiceLevel], tuple[str, ...]]


class RuntimeAdapter:
    """The interface of an engine to the runtime, with the usual paths and no variables of its own.

    An engine's class is derived from ``shared.default_run.DefaultRun``, which reads its log.
    """

    name = ""
    distributions: tuple[str, ...] = ()
    """Python packages that contain the engine, of which one tells its version; (): the version is not
    needed."""
    key_variable = ""
    """The result of ``api_key_variable`` for every configuration."""
    document_path = "/version"
    """The result of ``version_path`` for every configuration."""
    bounds_requests = False
    """Whether the plan's concurrency limits the requests that run at the same time."""

    def api_key_variable(self, _config: RuntimeConfig) -> str:
        """The environment variable that this engine takes its API key from; "" when it has none."""
        return self.key_variable

    def api_key(self, config: RuntimeConfig, environment: Mapping[str, str]) -> str:
        """A key that the engine takes; "" where it asks for none. A Secret may end with a line's end, which
        no header can hold.
        """
        return environment.get(self.api_key_variable(config), "").strip()

    def with_usable_key(self, config: RuntimeConfig, environment: Mapping[str, str]) -> dict[str, str]:
        """``environment`` with the API key as a client can send it. One of blanks alone stays: without a key
        an engine answers everybody.
        """
        variable = self.api_key_variable(config)
        key = environment.get(variable, "")
        return {**environment, variable: key.strip() or key} if key else dict(environment)

    def version_path(self, _config: RuntimeConfig) -> str:
        """HTTP path of a JSON document that contains the engine's version; "": none."""
        return self.document_path

    def version(self, document: Mapping[str, object]) -> str:
        """The version in the document of ``version_path``; "" when it has none."""
        version = document.get("version")
        return version[:LONGEST_VERSION] if isinstance(version, str) else ""

    def health_path(self, _config: RuntimeConfig) -> str:
        """HTTP path that answers with a status 2xx when the engine can serve."""
        return HEALTH_PATH

    def command(self, config: RuntimeConfig, model_path: str) -> tuple[str, ...]:
        """The command line that starts the engine. Raises FailedError(InvalidConfig) for unusable
        settings."""
        raise NotImplementedError

    def new_switches(self, _config: RuntimeConfig) -> tuple[NewSwitch, ...]:
        """Arguments that are added to the command if the engine's version is known to accept them."""
        return ()

    def environment(self, _config: RuntimeConfig) -> Mapping[str, str]:
        """Environment variables for the engine; variables that are set already are kept."""
        return {}

    def slots(self, config: RuntimeConfig) -> int:
        """Most concurrent requests of the engine by its settings; others wait. 0: no limit."""
        return config.concurrency if self.bounds_requests else 0

    def read(self, startup: EngineStartup, line: str) -> EngineStartup:
        """``startup`` with the values of one more line of the engine's output; called for each line."""
        raise NotImplementedError

    def names_cause(self, line: str) -> bool:
        """Whether a log line names a cause of failure. Such lines are kept longer, since the last lines may
        show a consequence only.
        """
        raise NotImplementedError

    def classify(self, end: Exit, lines: Sequence[str]) -> Failure:
        """The failure of an engine that ended: from its exit status, its lines that name a cause, and its
        last lines."""
        raise NotImplementedError
