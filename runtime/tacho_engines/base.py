"""What an engine is: its row, and the protocols of its two halves.

An engine's files are pure. For the plan: what it runs on, what it can load, where its memory goes and the
switches that follow. For the run: how its command line is made, where it says that it is healthy, what its
metrics mean, and what its last words say about why it died. Talking to it is the runtime's work.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, Protocol

from tacho_contract.failure import Failure
from tacho_contract.launch import RuntimeConfig
from tacho_contract.model import Architecture, ModelFacts
from tacho_engines.hardware.device import Device
from tacho_engines.memory.account import Account


# --- the row: what it is --------------------------------------------------------------------------
@dataclass(frozen=True, slots=True, kw_only=True)
class MethodRow:
    """A quantization method that an engine runs, and what it takes."""

    method: str
    how: Literal["stored", "either", "converted"]
    """stored: the checkpoint holds it; either: that, or the engine applies it to a 16-bit checkpoint;
    converted: the model is converted before it is served."""
    capability: tuple[int, int]
    """Least CUDA compute capability."""
    older: tuple[tuple[str, int, int], ...] = ()
    """(version, major, minor): the least capability before that version, oldest first."""
    quality: float
    """Expected, 100 = as in 16 bits; published evaluations put 8 bits within 0.5 points, 4 bits within 1 to
    3."""
    arithmetic: Literal["fp16", "fp8", "int8"] = "fp16"
    """Units its matrix products run on at large batches: fp16 (weights only), fp8 (from 8.9 on), int8."""
    gpu_only: bool = False
    source: str
    """Where capability and arithmetic are from."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MethodRule:
    """A combination of ``quantization.method`` and ``engine.name`` that the API refuses: CEL over spec, where
    both are set, true where all is well."""

    cel: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheTypes:
    """Values of ``quantization.kvCacheDtype`` that are one engine's own."""

    words: tuple[str, ...]
    cel: str
    """A call on the string that is true of them, such as ``startsWith('fp8')``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CpuBuild:
    """Another build of the same engine, for hosts: where the one for GPUs does not start without any."""

    image: str
    version: str
    entrypoint: tuple[str, ...]
    uid: int
    image_setting: str
    verified_by: str


SLOW_EFFICIENCY = 0.1
"""Below this part of the bandwidth an engine's speed follows from its own overhead, not from the device."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineRow:
    """One engine. A new version of it is new data."""

    name: str
    """As in ``spec.engine.name``."""
    title: str
    """As its makers write it."""
    image: str
    """Used when neither ``spec.engine.image`` nor the operator's settings name one; "": there is none."""
    version: str
    """Of that default image; a tag of the image in use wins where it carries a version."""
    entrypoint: tuple[str, ...]
    """What starts the engine inside the image, before any argument."""
    python: str = "python3"
    """Interpreter (3.10 or newer) in the image that runs tacho's runtime."""
    uid: int
    """User the image runs as; -1: nobody knows."""
    home: str = ""
    """The home folder it expects; "" = tacho's own."""
    devices: tuple[Literal["gpu", "cpu"], ...]
    """Where its image runs."""
    formats: tuple[str, ...]
    """Checkpoint formats it loads."""
    methods: tuple[MethodRow, ...]
    """Empty: whatever its command can."""
    architectures: tuple[str, ...] = ()
    """The only ones its converter knows; empty: all."""
    plugins: tuple[str, ...] = ()
    """Methods that need an image of tacho's own from ``plugins_since`` on, because upstream's lacks them."""
    plugins_since: str = ""
    plugins_image: str = ""
    efficiency: float
    """Part of the memory bandwidth that decoding reaches, for ranking only: 1 stream, H200."""
    batching: bool
    """Admits requests into a running batch; engines that do not come after all that do."""
    built: bool
    """An image exists that tacho can start."""
    predicted: bool = True
    """False: the model is listed and sized, not parsed, and its memory is not predicted."""
    package: str = ""
    """Python package that must be importable for `tacho run`; "": it brings its own command."""
    local_entrypoint: tuple[str, ...] = ()
    """What starts it in this Python, after the interpreter."""
    executes_model_code: bool = True
    """False: no switch makes it execute Python files of the model's repository."""
    method_rule: MethodRule | None = None
    cache_types: CacheTypes | None = None
    keeps: bool = True
    """Compiles or converts what the next start can use; False: ``spec.cache`` is for downloads alone."""
    verified_by: str = ""
    """How the row was checked; "" = nobody has run it yet."""
    image_setting: str = ""
    """Name under which the operator's settings may give another image; "": the engine's."""
    cpu_build: CpuBuild | None = None
    """None: one image serves every device it runs on."""
    presets: tuple[Preset, ...] = ()
    """Servers by others that the engine can be told to be, in the order in which they are offered."""

    @property
    def carries_load(self) -> bool:
        """Whether it is made for many streams: requests join a running batch, and a step costs what the
        device needs for it. Others come after all that are (own measurement, 8B on an H200, 16 streams: vLLM
        with NF4 868 tok/s, Transformers with NF4 89; benchmarks/engines)."""
        return self.batching and self.efficiency >= SLOW_EFFICIENCY

    def build_for(self, *, on_host: bool) -> EngineRow:
        """The row with what differs in the build for this kind of device."""
        build = self.cpu_build
        if build is None or not on_host:
            return self
        return replace(
            self,
            image=build.image,
            version=build.version,
            entrypoint=build.entrypoint,
            uid=build.uid,
            image_setting=build.image_setting,
            verified_by=build.verified_by,
            plugins=(),
        )

    @property
    def image_settings(self) -> tuple[str, ...]:
        """Every name under which an image of this engine may be set."""
        own = self.image_setting or self.name
        return (own, self.cpu_build.image_setting) if self.cpu_build else (own,)


@dataclass(frozen=True, slots=True, kw_only=True)
class Preset:
    """How a server that somebody else makes is started, as data: ``spec.engine.custom.preset``.

    Words may hold {max_model_len}, {longest_prompt}, {concurrency}, {tensor} and {pipeline}, and the command
    the $(TACHO_…) that only the pod knows.
    """

    row: EngineRow
    """Its image, command (``entrypoint``) and interpreter, under the name of the engine that runs it."""
    name: str
    """As in ``spec.engine.custom.preset``."""
    health_path: str
    """Answers 2xx once the model serves."""
    context: tuple[str, ...]
    """Switches of the planned context."""
    takes_concurrency: bool = True
    """False: no switch bounds how many requests run at once."""
    tensor: tuple[str, ...] = ()
    """Switches that split layers over GPUs; not given for one."""
    pipeline: tuple[str, ...] | None = None
    """Switches that divide layers among groups of GPUs, not given for one; None: it cannot."""
    spreads_layers: bool = False
    """What is not split over GPUs is divided among them by itself."""
    trust_remote_code: tuple[str, ...] = ()
    """(): it never executes code of the model's repository."""
    methods: Mapping[str, tuple[str, ...]]
    """Switches by quantization method. What the checkpoint alone decides is ``none``."""
    cache_types: Mapping[str, tuple[str, ...]]
    """Switches by type of the KV cache."""
    caveat: str = ""
    """What a user must know before the first start."""
    source: str
    """Where the switches are from, with the version."""


# --- the half of the plan -------------------------------------------------------------------------
@dataclass(frozen=True, slots=True)
class Context:
    """What to plan for: ``concurrency`` requests of ``max_model_len`` tokens at once."""

    max_model_len: int
    concurrency: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What the user said to the engine. None and "": not said."""

    arguments: tuple[str, ...] = ()
    """``engine.extraArgs``, as written."""
    env: Mapping[str, str] = field(default_factory=dict)
    kv_cache_dtype: str = ""
    double_quant: bool | None = None
    compute_dtype: str = ""
    tensor: int | None = None
    pipeline: int | None = None
    memory_limit_bytes: int | None = None
    """Of the engine's container."""
    preset: str = ""
    """``engine.custom.preset``."""
    trust_remote_code: bool = False
    """``model.trustRemoteCode``: the engine may execute Python files of the model's repository."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """One way to run a model: by a method of an engine, on some number of one kind of device."""

    facts: ModelFacts
    architecture: Architecture
    method: MethodRow
    device: Device
    count: int
    """GPUs; 0 on the host."""
    tensor: int = 1
    pipeline: int = 1
    version: str
    """Of the engine."""
    image: str
    options: Options


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """Why an engine cannot run a placement, whatever the memory."""

    failure_class: str
    message: str
    """A clause without a full stop."""
    next_step: str = ""
    """What to do about it; "": what is usual for the class."""


Splits = tuple[tuple[int, int], ...]
"""(tensor, pipeline) to try, in order of preference."""


class PlanHalf(Protocol):
    """What a plan must know of one engine. Instances have no state."""

    @property
    def row(self) -> EngineRow: ...

    def refusal(self, placement: Placement) -> Refusal | None:
        """Why this cannot be run at all; None when memory decides. Tensor and pipeline are not chosen yet."""

    def splits(self, placement: Placement) -> Splits | Refusal:
        """How the model may be spread over the placement's devices."""

    def settings_refusal(self, placement: Placement) -> Refusal | None:
        """Why the engine would refuse its own settings on this device before it loads anything."""

    def extends_context(self, options: Options) -> bool:
        """Whether the user stretches the model's context beyond what it was made for."""

    def cache_element_bytes(self, placement: Placement) -> float:
        """Bytes of one element of the KV cache."""

    def account(self, placement: Placement, context: Context) -> Account | None:
        """Where the memory goes; None for an engine that is not predicted."""

    def arguments(self, placement: Placement, context: Context) -> tuple[str, ...]:
        """The switches that the plan itself decides, frozen with it; the user's extraArgs come after them."""

    def fallbacks(self, placement: Placement) -> tuple[str, ...]:
        """What the engine will do otherwise than asked or than is fastest, as far as it is known before a
        start; a clause each."""


# --- the half of the run --------------------------------------------------------------------------
@dataclass(frozen=True, slots=True, kw_only=True)
class Exit:
    """How the engine's process ended."""

    code: int | None = None
    """Exit code, None when a signal ended it."""
    signal: int | None = None
    out_of_memory_kills: int | None = None
    """How many processes the kernel killed in this container for memory since its start; None: unknown."""
    told: Failure | None = None
    """What its launcher left in the file that ``tacho_contract.launch.ENV_ENGINE_FAILURE`` names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadFigures:
    """What an engine's metrics say. None is unknown, never zero."""

    running: int | None = None
    waiting: int | None = None
    generation_tokens_total: float | None = None
    prompt_tokens_total: float | None = None
    kv_cache_usage: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineFigures:
    """What an engine's own log says of its start. None: it has not said so, or never does. Of several GPUs,
    the figure is that of the one that said most."""

    weights_bytes: int | None = None
    """Weights as they are resident on one device after loading."""
    kv_cache_bytes: int | None = None
    kv_cache_tokens: int | None = None
    """Tokens that the KV cache of the replica holds."""
    graph_bytes: int | None = None
    """CUDA graphs."""
    load_seconds: float | None = None
    """Reading the weights and putting them where they are computed with."""
    compile_seconds: float | None = None
    """Compiling kernels; what was found in a cache counts as what it took to find it."""
    graph_seconds: float | None = None
    """Capturing CUDA graphs."""
    fallbacks: tuple[str, ...] = ()
    """What it does otherwise than asked or than is fastest, a clause each: weight-only kernels where the GPU
    lacks a type, eager mode, another attention backend. At most 8."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PackageNeed:
    """A Python package without which the engine cannot do what is asked of it."""

    name: str
    """Of the distribution."""
    since: str = ""
    """Version of the engine from which on it is a package of its own; "": always."""
    what: str
    """What it is needed for, as a noun."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Needs:
    """What an engine's image must have for one configuration. The default says nothing."""

    engine: tuple[str, ...] = ()
    """Distributions that carry the engine itself. Where none of them is found, its packages are installed in
    some way that is not understood, and nothing is said of the others."""
    packages: tuple[PackageNeed, ...] = ()
    cache_bytes: int = 0
    """What the engine writes below ``RuntimeConfig.cache_dir``, where it is much: a converted model."""


class RunHalf(Protocol):
    """What the runtime must know of one engine. Instances have no state."""

    @property
    def name(self) -> str: ...

    @property
    def users_command(self) -> bool:
        """True: the command is the user's (RuntimeConfig.custom), with no entrypoint of a known image."""

    @property
    def api_key_variable(self) -> str:
        """The environment variable that this engine takes its API key from; "" when it has none."""

    @property
    def version_path(self) -> str:
        """Where a JSON document tells the engine's version."""

    def version(self, document: Mapping[str, object]) -> str:
        """The version in that document; "" when it does not say."""

    def health_path(self, config: RuntimeConfig) -> str:
        """Answers 2xx when the engine can serve."""

    def command(self, config: RuntimeConfig, model_path: str) -> tuple[str, ...]:
        """The argument vector. Raises FailedError(InvalidConfig) for a config it cannot be made of."""

    def environment(self, config: RuntimeConfig) -> Mapping[str, str]:
        """Variables that the engine is started with; those that are set already win."""

    def needs(self, config: RuntimeConfig) -> Needs:
        """What must be installed in the image, so that its lack is told before anything is loaded."""

    def read(self, figures: EngineFigures, line: str) -> EngineFigures:
        """``figures`` with what one more line of the engine's output says; called for each line."""

    def load(self, metrics: Mapping[str, float]) -> LoadFigures:
        """What /metrics says; ``metrics`` maps a sample's name to its value summed over labels."""

    def telling(self, line: str) -> bool:
        """Whether a line names a cause: such lines are kept where the last ones alone would be a traceback
        of what came of it."""

    def classify(self, end: Exit, lines: Sequence[str]) -> Failure:
        """Why the engine ended, from how it ended, the telling lines and the last ones it wrote."""


def whole(value: float | None) -> int | None:
    """A gauge that counts, as an integer; unknown stays unknown, and so does what is not a number."""
    return int(value) if value is not None and value == value and abs(value) != float("inf") else None
