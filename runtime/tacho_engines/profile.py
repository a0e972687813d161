"""Profiles of engines and presets, as data: images, methods, speed, and the API rules that follow."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, field, fields, replace
from typing import Any, Literal


# --- images ---------------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True, kw_only=True)
class EngineImage:
    """One build of an engine as a container image."""

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
    """User id of the image; -1: unknown."""
    setting: str = ""
    """Name of the operator's setting for another image; "": the engine's name."""
    cuda: str = ""
    """CUDA version that the build is linked with; "": none or unknown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PluginImage:
    """An image by tacho with plugins, for methods that upstream's image lacks from some version on."""

    methods: Mapping[str, str] = field(default_factory=dict)
    """By method, the first version of upstream's image that lacks it."""
    reference: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalPackage:
    """The Python package with which ``tacho run`` starts the engine without an image."""

    package: str = ""
    """Python package that must be importable; "": the user's command is started."""
    entrypoint: tuple[str, ...] = ()
    """Command that starts the engine, after the interpreter."""
    cpu_entrypoint: tuple[str, ...] = ()
    """Command that starts the engine's build for hosts, after the interpreter; (): the same command as on
    GPUs."""


# --- quantization and speed -----------------------------------------------------------------------
Arithmetic = Literal["fp16", "fp8", "fp4", "int8"]
"""Number formats of matrix products of large batches; fp16 also where only weights are quantized."""


@dataclass(frozen=True, slots=True)
class MethodSupport:
    """A quantization method that an engine supports, with its quality, formats and requirements."""

    method: str
    how: Literal["stored", "either", "converted"]
    """stored: the checkpoint must have the method. either: the engine can also apply it to a 16-bit
    checkpoint. converted: the model is converted before it is served.
    """
    capability: tuple[int, int]
    """Minimum CUDA compute capability."""
    quality: float
    """Expected quality; 100 is that of 16 bits. Published evaluations show a loss of up to 0.5 points for 8
    bits, 1 to 3 for 4 bits.
    """
    source: str
    """Source of the values in ``capability`` and ``arithmetic``."""
    _: KW_ONLY
    older: tuple[tuple[str, int, int], ...] = ()
    """Minimum compute capability before a version, as (version, major, minor), oldest first."""
    arithmetic: Arithmetic = "fp16"
    """Number format of the computation, where the checkpoint's scheme does not determine it
    (``shared/compatibility.py``).
    """
    gpu_only: bool = False


GRAPH_TOKENS = 512
"""Most tokens of a step for which engines capture CUDA graphs by default."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelTiming:
    """How much longer the matrix products of one kind of weights take than reading these weights."""

    methods: tuple[str, ...] = ()
    schemes: tuple[str, ...] = ("",)
    """Values of ``StoredQuantization.scheme`` that the row applies to; "": not quantized. (): all."""
    since: str = ""
    before: str = ""
    """The engine's versions that the row applies to, from ``since`` and below ``before``; "": all."""
    version: str = ""
    """Engine version that was measured; "": that of the ``StepLaw``."""
    products: tuple[str, ...] = ()
    """GPU products that were measured; (): those of the ``StepLaw``."""
    experts: bool = False
    """Whether the row applies to models with experts, or to dense ones."""
    partial_groups: bool = False
    """Whether it applies to experts in 4 bits whose width is no multiple of the quantization group, or to
    all other weights.
    """
    unpacking: float = 0.0
    """Time per byte of the weights in addition to reading it, for one stream, in operations at the GPU's
    dense 16-bit rate.
    """
    pass_elements: int = 0
    """Elements of a row in one pass of one stream's kernel, which makes whole passes. 0: any number."""
    batch_unpacking: float = 0.0
    """The same as ``unpacking`` for several streams, for which engines use other kernels."""
    layer_microseconds: float = 0.0
    """Microseconds that each layer takes in addition to those of the ``StepLaw``, for one stream."""
    batch_layer_microseconds: float = 0.0
    """The same for several streams."""
    launch_microseconds: float = 0.0
    """Microseconds for which the host launches the kernels of each layer, in a step that computes a prompt
    too: such a step has no whole CUDA graph. 0: unknown, and no more than the GPU takes.
    """
    prompt_step_microseconds: float = 0.0
    """The same of all layers together, where their number does not count."""
    host_step_microseconds: float = 0.0
    """Time that a host may take for a step of one stream: a GPU that is faster may wait for it."""
    server_tokens_per_second: float = math.inf
    """Most streamed tokens per second of one server on one GPU, by any number of HTTP front ends."""
    graph_tokens: int = GRAPH_TOKENS
    """Most tokens of a step that has a CUDA graph, whose kernels are not launched one by one. If it is
    GRAPH_TOKENS, twice the requests that run at once are the most, too.
    """
    overlap: float = 3.0
    """Exponent of the mean of what the GPU computes and the host launches meanwhile. 1: their sum; the more,
    the nearer to the longer of both.
    """
    arithmetic: float
    """Speed of large matrix products, as a multiple of the GPU's dense 16-bit rate."""
    decode_within: float
    """Expected error of the predicted speed of one stream (0.1: 10 % up or down), within which 9 of 10
    measurements lie. Source: test data in benchmarks/lab/planner.md.
    """
    output_within: float
    """Expected error of the predicted speed of several streams, as for ``decode_within``."""
    ran: str
    """The measured setup, as a clause for messages."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitTiming:
    """How much longer steps take on GPUs that split each layer (tensor parallelism), joined by NVLink."""

    products: tuple[str, ...]
    """GPU products that were measured; others may be joined by less."""
    methods: tuple[str, ...]
    """Methods of dense models that were measured."""
    gpus: int
    """Most GPUs that were measured."""
    layer_microseconds: float
    """Microseconds of a layer's all-reduces and the rest of the split, for one stream."""
    batch_layer_microseconds: float
    """The same for several streams."""
    launch_microseconds: float
    """As that of a ``KernelTiming``, with the all-reduces."""
    decode_within: float
    output_within: float
    ran: str
    """The measured setup, as a clause for messages."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepLaw:
    """Constants of a decoding step's time, fitted to measured steps; formula: ``core/planner/speed.py``."""

    capability: tuple[int, int]
    """Compute capability of the measured GPUs; on others the prediction is a guess."""
    products: tuple[str, ...]
    """GPU products that were measured. Others of the same compute capability have a larger expected error."""
    version: str
    """Engine version that was measured. Later ones have a larger expected error; for earlier ones the
    prediction is a guess.
    """
    traffic: float
    """Time to read weights and KV cache, as a multiple of bytes / bandwidth, whose minimum is 1.0."""
    layer_microseconds: float
    """Microseconds that each layer takes in a step, independent of the bytes that it reads."""
    attention_nanoseconds: float
    """Nanoseconds per stream, layer and head of the KV cache, independent of the context's length."""
    odd_head: float
    """Factor on the time of attention for head sizes that are no multiple of 64, as Phi-2's."""
    prompt_attention: float
    """Time of attention over a prompt, as a multiple of its operations at the matrix products' rate."""
    kernels: tuple[KernelTiming, ...]
    """Timings by kind of weights; the first is for weights in 16 bits."""
    split: SplitTiming | None = None
    """Timings of several GPUs; None: not measured."""
    alike: tuple[str, ...] = ()
    """Arguments (without dashes) and environment variables that do not change the step time. With any other,
    the prediction is a guess.
    """
    front_end_tokens_per_second: float
    """Highest number of streamed tokens per second of one HTTP front end."""


SLOW_EFFICIENCY = 0.2
"""Share of the memory bandwidth below which the engine's own overhead limits its speed. Transformers' best
timed step reaches 0.12 (26 ms, 8B on an H200; benchmarks/gpu/h200/steps).
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineSpeed:
    """Constants by which an engine's decoding speed is predicted."""

    efficiency: float
    """Share of the memory bandwidth that decoding of one stream reaches on an H200; used for ranking where no
    step was timed.
    """
    batching: bool
    """Whether requests can join a running batch. Engines without that are ranked last."""
    law: StepLaw | None = None
    """Constants of timed decoding steps; None: no step was timed."""

    @property
    def carries_load(self) -> bool:
        """Whether the engine is made for many streams: requests join a running batch, at little cost per
        step.

        Other engines are ranked after all that are (8B in 16 bits on an H200, 16 streams: vLLM 2,052 tok/s,
        Transformers 380; benchmarks/lab/articles).
        """
        return self.batching and self.efficiency >= SLOW_EFFICIENCY


# --- rules of the API -----------------------------------------------------------------------------
@dataclass(frozen=True, slots=True, kw_only=True)
class MethodRule:
    """A combination of ``quantization.method`` and ``engine.name`` that the API refuses.

    As a CEL expression over spec that is true where the combination is allowed.
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
    """Arguments and variables that a user may not set for an engine, each with (reason, alternative).

    Names are spelled as by the engine. Those that several engines have are in ``shared/switches.py``.
    """

    switches: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    """Refused long switches, by name without dashes."""
    short: Mapping[str, str] = field(default_factory=dict)
    """Single-dash spellings of refused switches."""
    joined: tuple[str, ...] = ()
    """One-letter switches whose value may follow in the same word (argparse). For other letters, only
    non-letters can be such a value.
    """
    legitimate: tuple[str, ...] = ()
    """Allowed switches that look like an abbreviation of a refused one."""
    inside: tuple[str, ...] = ()
    """Switches that are refused also inside JSON values, as the engine reads settings from there."""
    variables: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    """Refused environment variables, by exact name."""
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
    """One engine as data: images, methods, formats, speed, rules. A new version changes only this data."""

    name: str
    """Name of the engine, as in ``spec.engine.name``."""
    title: str
    """Title of the engine, as its makers write it."""
    image: EngineImage
    cpu_image: EngineImage | None = None
    """The image for hosts without GPU; None: one image serves all devices."""
    plugins: PluginImage = PluginImage()
    local: LocalPackage = LocalPackage()
    devices: tuple[Literal["gpu", "cpu"], ...]
    """Kinds of device that its images run on."""
    formats: tuple[str, ...]
    """Checkpoint formats that the engine loads."""
    methods: tuple[MethodSupport, ...]
    """Quantization methods of the engine; empty (custom): any that its command supports."""
    architectures: tuple[str, ...] = ()
    """Model architectures that the engine's converter supports; empty: all."""
    speed: EngineSpeed
    rules: EngineRules = EngineRules()
    predicted: bool = True
    """Whether memory is predicted; False: the model's files are only listed, not parsed."""
    numbers_builds: bool = False
    """Whether image tags may end with a build's number in place of a version: ``server-b6123``."""
    executes_model_code: bool = True
    """Whether an argument can make the engine run Python files of the model's repository."""
    fills: bool = False
    """Whether the engine gives all remaining GPU memory of its budget to the KV cache and logs the size."""
    keeps: bool = True
    """Whether the engine compiles or converts something that later starts reuse. False: ``spec.cache`` holds
    downloads only.
    """

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

    Switches may contain {max_model_len}, {concurrency}, {tensor} and {pipeline}, and the
    command the $(TACHO_…) variables, which the pod sets.
    """

    profile: EngineProfile
    """Image, command (``image.entrypoint``) and interpreter of the server; ``name``: the engine's."""
    name: str
    """Name of the preset, as in ``spec.engine.custom.preset``."""
    health_path: str
    """HTTP path that answers 2xx when the model can be used."""
    version_path: str
    """HTTP path of a JSON document with the server's ``version``."""
    context: tuple[str, ...]
    """Arguments for the planned context length and the limit of concurrent requests."""
    tensor: tuple[str, ...]
    """Arguments for tensor parallelism; left out for one GPU."""
    pipeline: tuple[str, ...]
    """Arguments for pipeline parallelism; left out for one stage."""
    trust_remote_code: tuple[str, ...]
    """Arguments that allow code of the model's repository."""
    methods: Mapping[str, tuple[str, ...]]
    """Arguments by quantization method; ``none`` where only the checkpoint decides."""
    cache_types: Mapping[str, tuple[str, ...]]
    """Arguments by type of the KV cache."""
    caveat: str = ""
    """Limitations that a user should know before the first start; "": none."""
    source: str
    """Source of the arguments, with the server's version."""
