"""What an engine is, as data: its row, the methods that it runs, the presets that it can be told to be."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from tacho_engines.step import StepRow


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
    local_entrypoint: tuple[str, ...] = ()
    """What starts it in this Python, where that is not what starts the engine's other build."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """What a user may not say to an engine in ``engine.extraArgs`` and ``engine.env``, in its own spellings;
    each with (why, what to do instead). What several engines spell alike is in ``shared/refused.py``."""

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
    """Exactly as spelled."""
    variable_prefixes: Mapping[str, tuple[str, str]] = field(default_factory=dict)

    def __or__(self, other: Refused) -> Refused:
        """Both; what is said twice is said by ``self``."""
        return Refused(
            switches={**other.switches, **self.switches},
            short={**other.short, **self.short},
            joined=(*self.joined, *other.joined),
            legitimate=(*self.legitimate, *other.legitimate),
            inside=(*self.inside, *other.inside),
            variables={**other.variables, **self.variables},
            variable_prefixes={**other.variable_prefixes, **self.variable_prefixes},
        )


SLOW_EFFICIENCY = 0.2
"""Below this part of the bandwidth an engine's speed follows from its own overhead, not from the device. The
best step that was timed of Transformers (26 ms of an 8B on an H200; benchmarks/gpu/h200/steps) is 0.12."""


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
    """Part of the memory bandwidth that decoding reaches, for ranking where no step was timed: 1 stream,
    H200."""
    steps: tuple[StepRow, ...] = ()
    """Where its decoding steps were timed."""
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
    refused: Refused = Refused()
    grows: bool = False
    """Takes memory when a request needs it, not at its start: what short requests have used says nothing
    against what full ones will."""
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
        device needs for it. Others come after all that are (8B in 16 bits on an H200, 16 streams: vLLM
        2,052 tok/s, Transformers 380; docs/results/articles)."""
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
