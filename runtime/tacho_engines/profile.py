"""Profiles of engines and presets, as data: images, methods, speed, and the API rules that follow."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, field, fields, replace
from typing import Any, Literal


# --- images ---------------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True, kw_only=True)
class EngineImage:
    """One build of an engine, as an image."""

    reference: str
    """Image used when neither ``spec.engine.image`` nor the operator's settings name one; "": none."""
    version: str
    """Version of the default image; where the tag of the image in use holds a version, that version is
    used."""
    entrypoint: tuple[str, ...]
    """Command that starts the engine inside the image, without arguments."""
    python: str = "python3"
    """Interpreter (3.10 or newer) in the image that runs tacho's runtime."""
    uid: int
    """User the image runs as; -1: not known."""
    setting: str = ""
    """Name under which the operator's settings may give another image; "": the engine's."""
    cuda: str = ""
    """CUDA that the build is linked with; "": none, or not known."""
    verified_by: str = ""
    """How the build was checked; "": it has not been run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PluginImage:
    """An image of tacho's own with plugins, for methods that upstream's image lacks from a version on."""

    methods: Mapping[str, str] = field(default_factory=dict)
    """The first version of upstream's image that lacks a method."""
    reference: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalPackage:
    """The Python package of an engine, with which ``tacho run`` starts it."""

    package: str = ""
    """Python package that must be importable; "": it brings its own command."""
    entrypoint: tuple[str, ...] = ()
    """Command that starts the engine, after the interpreter."""
    cpu_entrypoint: tuple[str, ...] = ()
    """Command that starts the engine's build for hosts, after the interpreter; (): the same command as on
    GPUs."""


# --- quantization and speed -----------------------------------------------------------------------
Arithmetic = Literal["fp16", "fp8", "fp4", "int8"]
"""Units that matrix products run on at large batches: fp16 also where weights alone are quantized."""


@dataclass(frozen=True, slots=True)
class MethodSupport:
    """A quantization method that an engine supports, with its quality, formats and requirements."""

    method: str
    how: Literal["stored", "either", "converted"]
    """stored: the checkpoint holds it; either: that, or the engine applies it to a 16-bit checkpoint;
    converted: the model is converted before it is served."""
    capability: tuple[int, int]
    """Minimum CUDA compute capability."""
    quality: float
    """Expected, 100 = as in 16 bits; published evaluations put 8 bits within 0.5 points, 4 bits within 1 to
    3."""
    source: str
    """Source of capability and arithmetic."""
    _: KW_ONLY
    older: tuple[tuple[str, int, int], ...] = ()
    """(version, major, minor): the minimum capability before that version, oldest first."""
    arithmetic: Arithmetic = "fp16"
    """Where the checkpoint's scheme does not say it, see ``shared/compatibility.py``."""
    gpu_only: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelTiming:
    """How much longer the matrix products of one kind of weights take than reading the weights."""

    methods: tuple[str, ...] = ()
    schemes: tuple[str, ...] = ("",)
    """How the checkpoint is quantized (``StoredQuantization.scheme``); "": it is not."""
    unpacking: float = 0.0
    """Time that a kernel takes for each byte of the weights besides reading it, in operations at the GPU's
    dense rate in 16 bits; of one stream."""
    batch_unpacking: float = 0.0
    """The same for several streams, for which engines use other kernels."""
    arithmetic: float
    """Rate of large products, as a multiple of the GPU's dense rate in 16 bits."""
    decode_within: float
    """Factor beyond 1, up or down, that 9 of 10 measurements of one stream stay within. Source, as of the
    next: rows held back in docs/results/planner.md."""
    output_within: float
    """The same of several streams."""
    ran: str
    """The measured setup, as a clause of a message."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepLaw:
    """Constants of a decoding step's time, fitted to measured steps; the formula is in
    ``core/planner/speed.py``."""

    capability: tuple[int, int]
    """Compute capability of the GPUs it was timed on; elsewhere it is a guess."""
    products: tuple[str, ...]
    """The GPUs it was timed on. Others of that compute capability have a wider band."""
    version: str
    """The engine's version that was timed. Later ones have a wider band, earlier ones are a guess."""
    traffic: float
    """Time to read weights and KV cache, as a multiple of bytes / bandwidth: 1.0 is the bound."""
    layer_microseconds: float
    """Microseconds that each layer takes in a step, independent of the bytes that it reads."""
    attention_nanoseconds: float
    """Nanoseconds of each stream, layer and head of the KV cache, independent of the context's length."""
    odd_head: float
    """Times as long where the head's size is no multiple of 64, as Phi-2's."""
    prompt_attention: float
    """Time of a prompt's attention, as a multiple of its operations at the rate of the matrix products."""
    kernels: tuple[KernelTiming, ...]
    """The first is that of weights in 16 bits."""
    alike: tuple[str, ...] = ()
    """Switches, without dashes in front, and environment variables with which steps are the same. With any
    other the law is a guess: engines have hundreds, by several names each."""
    front_end_tokens_per_second: float
    """Streamed tokens per second of one HTTP front end."""


SLOW_EFFICIENCY = 0.2
"""Below this part of the bandwidth an engine's speed follows from its own overhead, not from the device. The
best step that was timed of Transformers (26 ms of an 8B on an H200; benchmarks/gpu/h200/steps) is 0.12."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineSpeed:
    """Constants by which an engine's decoding speed is predicted."""

    efficiency: float
    """Part of the memory bandwidth that decoding reaches, for ranking where no step was timed: 1 stream,
    H200."""
    batching: bool
    """Admits requests into a running batch; engines that do not come after all that do."""
    law: StepLaw | None = None
    """Where its decoding steps were timed."""

    @property
    def carries_load(self) -> bool:
        """Whether the engine is made for many streams: requests join a running batch, at little cost per
        step.

        Other engines are ranked after all that are (8B in 16 bits on an H200, 16 streams: vLLM 2,052 tok/s,
        Transformers 380; docs/results/articles).
        """
        return self.batching and self.efficiency >= SLOW_EFFICIENCY


# --- rules of the API -----------------------------------------------------------------------------
@dataclass(frozen=True, slots=True, kw_only=True)
class MethodRule:
    """A combination of ``quantization.method`` and ``engine.name`` that the API refuses.

    As CEL over spec, evaluated where both are set: true where the combination is allowed.
    """

    cel: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheTypes:
    """Values of ``quantization.kvCacheDtype`` that only one engine has."""

    names: tuple[str, ...]
    cel: str
    """CEL call on the option's value that is true for the matching values, such as ``startsWith('fp8')``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeniedOptions:
    """Arguments and variables that a user may not set for an engine, each with (why, what to do instead).

    They are in the engine's own spelling. Those that several engines spell alike are in
    ``shared/switches.py``.
    """

    switches: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    """Long ones, without dashes in front, in their dashed spelling."""
    short: Mapping[str, str] = field(default_factory=dict)
    """Single-dash spellings of refused switches."""
    joined: tuple[str, ...] = ()
    """One-letter switches whose value may follow in the same word, whatever it begins with (argparse). After
    other single letters only what is no letter is a value."""
    legitimate: tuple[str, ...] = ()
    """Real switches that look like an abbreviation of a refused one."""
    inside: tuple[str, ...] = ()
    """Switches refused wherever their names stand, because the engine takes JSON with them inside."""
    variables: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    """Environment variables that are refused, spelled exactly."""
    variable_prefixes: Mapping[str, tuple[str, str]] = field(default_factory=dict)

    def __or__(self, other: DeniedOptions) -> DeniedOptions:
        """Both sets of refused options; for an option in both, the entry of ``self``."""
        merged: dict[str, Any] = {}
        for item in fields(self):
            mine, others = getattr(self, item.name), getattr(other, item.name)
            merged[item.name] = (*mine, *others) if isinstance(mine, tuple) else {**others, **mine}
        return DeniedOptions(**merged)


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineRules:
    """The validation rules of the API that follow from one engine."""

    method: MethodRule | None = None
    cache_types: CacheTypes | None = None
    denied: DeniedOptions = DeniedOptions()


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineProfile:
    """One engine as data: images, methods, formats, speed, rules. A new version of it is new data."""

    name: str
    """Name of the engine, as in ``spec.engine.name``."""
    title: str
    """Title of the engine, as its makers write it."""
    image: EngineImage
    cpu_image: EngineImage | None = None
    """The build for hosts; None: one image serves every device it runs on."""
    plugins: PluginImage = PluginImage()
    local: LocalPackage = LocalPackage()
    devices: tuple[Literal["gpu", "cpu"], ...]
    """Where its image runs."""
    formats: tuple[str, ...]
    """Checkpoint formats it loads."""
    methods: tuple[MethodSupport, ...]
    """Empty: whatever its command can."""
    architectures: tuple[str, ...] = ()
    """The only ones its converter knows; empty: all."""
    speed: EngineSpeed
    rules: EngineRules = EngineRules()
    built: bool
    """An image exists that tacho can start."""
    predicted: bool = True
    """False: the model is listed and sized, not parsed, and its memory is not predicted."""
    executes_model_code: bool = True
    """False: no switch makes it execute Python files of the model's repository."""
    fills: bool = False
    """Gives the rest of its budget of a GPU to the KV cache, and logs its size."""
    keeps: bool = True
    """Compiles or converts something that the next start reuses; False: ``spec.cache`` holds downloads
    only."""

    def build_for(self, *, on_host: bool) -> EngineProfile:
        """The profile with the image for this kind of device."""
        if self.cpu_image is None or not on_host:
            return self
        return replace(self, image=self.cpu_image, plugins=PluginImage())

    @property
    def image_settings(self) -> tuple[str, ...]:
        """The names of all operator settings that set an image of this engine."""
        own = self.image.setting or self.name
        return (own, self.cpu_image.setting) if self.cpu_image else (own,)


@dataclass(frozen=True, slots=True, kw_only=True)
class Preset:
    """How a third-party server is started, as data: ``spec.engine.custom.preset``.

    Switches may contain {max_model_len}, {longest_prompt}, {concurrency}, {tensor} and {pipeline}, and the
    command the $(TACHO_…) variables, which the pod sets.
    """

    profile: EngineProfile
    """Its image, command (``image.entrypoint``) and interpreter; the name is that of the engine."""
    name: str
    """Name of the preset, as in ``spec.engine.custom.preset``."""
    health_path: str
    """Answers 2xx once the model serves."""
    version_path: str = ""
    """Where a JSON document has the server's ``version``; "": nowhere."""
    api_key_variable: str = ""
    """The variable that it takes an API key from; "": from its command line, where a key is no secret, or not
    at all."""
    context: tuple[str, ...]
    """Switches of the planned context."""
    takes_concurrency: bool = True
    """False: no switch bounds how many requests run at once."""
    tensor: tuple[str, ...] = ()
    """Switches that split layers over GPUs; not given for one."""
    pipeline: tuple[str, ...] | None = None
    """Switches that divide layers among groups of GPUs, not given for one; None: it cannot."""
    spreads_layers: bool = False
    """The server distributes layers over GPUs by itself (those that tensor parallelism does not split)."""
    trust_remote_code: tuple[str, ...] = ()
    """(): it never executes code of the model's repository."""
    methods: Mapping[str, tuple[str, ...]]
    """Switches by quantization method. What the checkpoint alone decides is ``none``."""
    cache_types: Mapping[str, tuple[str, ...]]
    """Switches by type of the KV cache."""
    caveat: str = ""
    """Restrictions that a user must consider before the first start."""
    source: str
    """Where the switches are from, with the version."""
