"""Reads an engine's log by patterns: startup values, and the failure class of its last lines."""

from __future__ import annotations

import re
import signal
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from tacho_contract.codec import WHOLE_NUMBER_LIMIT
from tacho_contract.failure import Failure, FailureClass, log_tail
from tacho_contract.units import GIB, MIB, clipped
from tacho_engines.base import EngineStartup, Exit
from tacho_engines.shared.errors import LINE_START, PYTHON, SOURCE_LINE, ErrorLines

MAX_FALLBACKS = 8
CLAUSE_CHARS = 160


# --- its start ------------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True, kw_only=True)
class StartupPatterns:
    """Patterns of the values that an engine logs at its start."""

    values: tuple[re.Pattern[str], ...] = ()
    """Patterns whose named groups are fields of EngineStartup; suffixes ``_mib`` and ``_gib`` stand for
    ``_bytes``. Of several values, one per worker or device, the largest counts.
    """
    last_values: tuple[re.Pattern[str], ...] = ()
    """Like ``values``, for values that are logged once per load: the last one counts."""
    fallbacks: tuple[tuple[re.Pattern[str], str], ...] = ()
    """(pattern, clause) of a fallback; the first that matches a line counts."""
    late_kernel: re.Pattern[str] | None = None
    """Pattern of the line for a kernel that is compiled while requests run."""
    loaded: re.Pattern[str] | None = None
    """Pattern of a line after all values. Then an engine may log a chat template as it is."""

    def read(self, startup: EngineStartup, line: str) -> EngineStartup:
        """``startup`` completed with the values in ``line``, and with the fallback that it reports.

        Before a value stand the engine's own words alone: else a model's author may have chosen it.
        """
        if self.late_kernel and self.late_kernel.search(line):
            return replace(startup, late_kernels=startup.late_kernels + 1)
        if startup.answers or _STARTED in line or (self.loaded and self.loaded.search(line)):
            return replace(startup, answers=True)
        for pattern in self.values:
            if (match := pattern.search(line)) and _is_own(line, match.start()):
                values = _startup_values(match)
                startup = replace(
                    startup, **{name: max(getattr(startup, name) or 0, values[name]) for name in values}
                )
        for pattern in self.last_values:
            if (match := pattern.search(line)) and _is_own(line, match.start()):
                startup = replace(startup, **_startup_values(match))
        for pattern, clause in self.fallbacks:
            if match := pattern.search(line):
                text = match.expand(clause)[:CLAUSE_CHARS]
                found = tuple(dict.fromkeys((*startup.fallbacks, text)))
                return replace(startup, fallbacks=found[:MAX_FALLBACKS])
        return startup


def _startup_values(match: re.Match[str]) -> dict[str, Any]:
    """The value of each named group that is a number, by the field of EngineStartup."""
    found: dict[str, Any] = {}
    for group, text in match.groupdict().items():
        quantity, _, unit = group.rpartition("_")
        factor = {"gib": GIB, "mib": MIB}.get(unit)
        try:
            number = float(text.replace(",", "")) * (factor or 1)
        except ValueError:  # 1.1.1, in a line that quotes a model's author or a client
            continue
        if number < WHOLE_NUMBER_LIMIT:
            found[f"{quantity}_bytes" if factor else group] = number if unit == "seconds" else int(number)
    return found


# --- its end --------------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True, kw_only=True)
class FailurePattern:
    """A pattern of a log line with the cause of a failure. ``message`` may contain its named groups."""

    pattern: str
    failure_class: str
    message: str
    next_step: str
    detail_groups: tuple[str, ...] = field(default=())
    """Named groups that are added to the failure's details under their camelCase names."""
    while_serving: bool = False
    """Whether an engine that serves may fail so; the cause of every other failure is there at its start."""


HOST_MEMORY = FailurePattern(
    pattern=r"(?:err == 0\. )?DefaultCPUAllocator: can't allocate memory|Memory footprint \d+ is more"
    r"|failed to allocate (?:CPU |compute )?buffer|unable to allocate CPU"
    rf"|{LINE_START}(?:MemoryError\b|OSError: \[Errno 12\])|(?:what\(\): +|instance of ')std::bad_alloc",
    failure_class=FailureClass.HOST_OUT_OF_MEMORY,
    message="the container's memory did not suffice for weights and context",
    next_step="raise the memory in spec.engine.resources, or lower spec.context",
    while_serving=True,
)
UNUSABLE_GPU = FailurePattern(
    pattern=r"(?P<why>NVIDIA driver on your system is too old|CUDA driver version is insufficient.*"
    r"|system has unsupported display driver.*|no kernel image is available for execution on the device"
    r"|the provided PTX was compiled with an unsupported toolchain.*|no CUDA-capable device is detected"
    r"|system not yet initialized.*|Found no NVIDIA driver on your system|No CUDA GPUs are available"
    r"|Failed to infer device type|NVML/RM version mismatch|Driver/library version mismatch)",
    failure_class=FailureClass.UNSUPPORTED_GPU,
    message="this build of the engine cannot use the GPU or its driver: {why}",
    next_step="update the node's driver, check gpu.count, the node's device plugin and the pod's "
    "runtimeClassName, or take an image for this GPU or an older CUDA (spec.engine.image)",
)
COMMON_FAILURES = (
    FailurePattern(
        pattern=r"No space left on device",
        failure_class=FailureClass.DISK_FULL,
        message="the engine found no space left on a disk",
        next_step="give the cache volume or the pod's ephemeral storage more space",
        while_serving=True,
    ),
    FailurePattern(
        pattern=r"CUDA out of memory"
        r"|(?:(?:allocating [\d.]+ MiB on device \d+: )?cudaMalloc failed|CUDA error): out of memory"
        r"|Cuda failure (?:\d+ )?'out of memory'|Triton Error \[CUDA\]: out of memory"
        r"|CUBLAS_STATUS_ALLOC_FAILED|unable to allocate CUDA\d* buffer"
        r"|(?:ggml_cuda|CUDA\d* )(?:(?!ggml_cuda|CUDA\d* ).)*(?:out of memory|failed to allocate)",
        failure_class=FailureClass.GPU_OUT_OF_MEMORY,
        message="the GPU's memory did not suffice",
        next_step="lower spec.context.maxModelLen or spec.context.concurrency, quantize further, or take a "
        "larger GPU; make sure that nothing else uses this one",
        while_serving=True,
    ),
    FailurePattern(
        pattern=r"(?P<why>\bX[Ii][Dd]\b\D{0,100}\d+|CUDA error: (?:uncorrectable ECC|an illegal memory"
        r"|the launch timed out|hardware stack error).*)",
        failure_class=FailureClass.GPU_FAULT,
        message="the GPU reported a fault: {why}",
        next_step="look for Xid messages in the node's kernel log; drain the node when they repeat",
        while_serving=True,
    ),
    FailurePattern(
        pattern=r"(?i)address already in use|couldn't bind HTTP server socket",
        failure_class=FailureClass.PORT_IN_USE,
        message="the engine's port is taken by another process",
        next_step="stop the process that listens there, or choose another port; a custom command listens on "
        "$(TACHO_PORT)",
    ),
    HOST_MEMORY,
    UNUSABLE_GPU,
)
"""Patterns of failures that all engines share; they are checked after the engine's own.

A line may hold what a client sent. No pattern may take quadratic time, which would stop an engine that logs.
"""

# --- patterns of several engines, each at its place among the engine's own
UNKNOWN_ARCHITECTURE = FailurePattern(
    pattern=r"(?:Model architectures \[|^(?=.*Transformers does not recognize).*?model type [`'])"
    r"(?P<architecture>[^\]`]{1,100})(?:\] (?:are not supported|failed to be inspected)|[`'])",
    failure_class=FailureClass.ENGINE_NOT_SUPPORTED,
    message="this version of the engine does not know the model's architecture {architecture}",
    next_step="take a newer engine image (spec.engine.image), or another engine",
)
BROKEN_SAFETENSORS = FailurePattern(
    pattern=r"(?P<why>(?<=SafetensorError: ).+|Error while deserializing header.*|InvalidHeader\w*"
    r"|MetadataIncompleteBuffer.*)",
    failure_class=FailureClass.MODEL_INVALID,
    message="a safetensors file of the model is not whole: {why}",
    next_step="fetch or copy the model again and compare its files' sizes with the source's",
)
BROKEN_CONFIG = FailurePattern(
    pattern=r"(?P<why>(?<=config file at )'[^']*(?<!gguf)' is not a valid JSON file"
    r"|Class validation error for .*)",
    failure_class=FailureClass.MODEL_INVALID,
    message="the model's configuration cannot be read: {why}",
    next_step="fetch or copy the file again and compare it with the source's",
)
OTHER_WEIGHTS = FailurePattern(
    pattern=r"(?P<why>Weight files referenced in index but missing: .*"
    r"|Following weights were not initialized from checkpoint: .*"
    r"|Attempted to load weight \(.*\) into parameter \(.*\)|(?<!\S)\S+ +\| MISMATCH .*)",
    failure_class=FailureClass.MODEL_INVALID,
    message="the weights are not those of config.json: {why}",
    next_step="fetch config.json and all files of the weights again from one revision",
)
NO_MODEL_TYPE = FailurePattern(
    pattern=r"Unrecognized model in (?P<path>\S+)\. Should have a `model_type` key",
    failure_class=FailureClass.MODEL_INVALID,
    message="there is no config.json in {path}, or it names no model_type",
    next_step="check the path in spec.model.uri, and that spec.model.files select config.json",
)
CHECKPOINT_FAILURES = (
    UNKNOWN_ARCHITECTURE,
    BROKEN_SAFETENSORS,
    BROKEN_CONFIG,
    NO_MODEL_TYPE,
    OTHER_WEIGHTS,
)
"""Patterns of engines that read a checkpoint by Transformers' and safetensors' libraries."""


def names_cause(patterns: Sequence[FailurePattern], line: str, errors: ErrorLines = PYTHON) -> bool:
    """Whether ``line`` must be kept to classify a failure later.

    It matches one of ``patterns`` or a common pattern, is an error or the end of an import's traceback, or
    shows that the engine continued after such lines.
    """
    known = any(re.search(known.pattern, line) for known in (*patterns, *COMMON_FAILURES))
    return known or errors.text(line) is not None or _import_error(line) is not None or _STARTED in line


_SPAN = re.compile(r"\[[^\[\]]*(?:\]|$)|\([^()]*(?:\)|$)")
"""Matches process, file and the like in brackets, also where the last one is not closed."""
_OWN_WORD = re.compile(r"[A-Z]+|[\d:,.+TZ-]+|[\w./:]*:")
"""Matches a level, a date, or an exception's class; no word before what a client sent that is quoted."""


def _is_own(line: str, start: int) -> bool:
    """Whether nothing but an engine's own words stands before ``start``."""
    return all(map(_OWN_WORD.fullmatch, _SPAN.sub(" ", line[:start]).split()))


def first_match(
    patterns: Sequence[FailurePattern], lines: Sequence[str], *, served: bool = False
) -> Failure | None:
    """The failure of the first pattern that matches a line; patterns are ordered from cause to effect.

    ``served``: clients may have written parts of lines: ``GET /Xid HTTP/1.1`` is no fault of a GPU. Then what
    can only fail at a start is none, and nothing but the engine's own words may stand before the cause.
    """
    for known in patterns:
        if served and not known.while_serving:
            continue
        for index, line in enumerate(lines):
            match = re.search(known.pattern, line)
            if match is None or SOURCE_LINE.search(line) or (served and not _is_own(line, match.start())):
                continue
            groups = {key: value for key, value in match.groupdict().items() if value}
            return Failure(
                failure_class=known.failure_class,
                message=clipped(known.message.format_map(_Groups(groups)), 600),
                next_step=known.next_step,
                details={name: groups[name] for name in known.detail_groups if name in groups},
                log_tail=log_tail(lines[: index + 1]),
            )
    return None


class _Groups(dict[str, str]):
    def __missing__(self, key: str) -> str:
        return "?"


_STARTED = "Application startup complete"
_EXCEPTION = re.compile(
    r"(?:^|[\s(])(?:(?:\w+\.)*(?P<kind>\w+(?:Error|Exception)): |[^\s(]*python[\d.]*: (?=No module named ))"
    r"(?P<why>.*\S)"
)
"""Matches the last line of a traceback, and the error of ``python -m`` for a missing module."""
_IMPORT_ERRORS = (None, "ImportError", "ModuleNotFoundError", "PackageNotFoundError")
_DRIVER = re.compile(r"^lib(?:cuda|nvidia-ml)\.so")
"""Matches libraries that come with the node's driver and are in no image."""


def _import_error(line: str) -> str | None:
    """The reason of a failed import, where ``line`` ends the traceback of one; else None."""
    match = _EXCEPTION.search(line)
    if match is None or match["kind"] not in _IMPORT_ERRORS:
        return None
    why = match["why"]
    return why.removesuffix(")") if why.count(")") > why.count("(") else why


def import_failure(engine: str, lines: Sequence[str]) -> Failure | None:
    """The failure ImportFailed, where the last exception in ``lines`` is a failed import and no server
    started after it; else None.

    Engines continue after some failed imports. If a library of the driver is missing, the failure is
    UnsupportedGPU.
    """
    ends = [
        line
        for line in lines
        if _STARTED in line
        or PYTHON.text(line)
        or (_EXCEPTION.search(line) and not PYTHON.consequence.search(line))
    ]
    why = _import_error(ends[-1]) if ends else None
    if why is None:
        return None
    if _DRIVER.search(why):
        return Failure(
            failure_class=UNUSABLE_GPU.failure_class,
            message=clipped(UNUSABLE_GPU.message.format(why=why), 600),
            next_step=UNUSABLE_GPU.next_step,
            log_tail=log_tail(lines),
        )
    return Failure(
        failure_class=FailureClass.IMPORT_FAILED,
        message=clipped(f"{engine} cannot import a Python module: {why}", 600),
        next_step="use an engine image that has it in a version that fits (remove spec.engine.image for "
        "tacho's default), or another engine.name or quantization.method",
        log_tail=log_tail(lines),
    )


def classify(
    engine: str,
    end: Exit,
    lines: Sequence[str],
    patterns: Sequence[FailurePattern],
    errors: ErrorLines = PYTHON,
) -> Failure:
    """The failure of an engine that ended: by its own patterns, the common ones, then its exit status.

    If no pattern matches, the launcher's report counts; its line on stderr is left out. A report without a
    cause gives way to the last error in the log. Failed imports are checked last, as engines continue after
    many of them, and only at a start that ends with an exit code other than 0. The log tail ends with the
    line that shows the cause, so that it is kept longest.
    """
    reported = end.reported
    if reported is not None:
        own = f"error [{reported.failure_class}]: "
        lines = [reported.message if own in line else line for line in lines]
    lines = errors.whole(lines)
    known = first_match((*patterns, *COMMON_FAILURES), lines, served=end.served)
    if known is not None:
        return known
    if reported is not None:
        lines = [line for line in lines if line != reported.message]
    tail = log_tail(lines)
    if by_signal := _killed(engine, end, tail):
        return by_signal
    by_error = 0 < (end.code or 0) < 128
    cause = errors.last(lines) if by_error else None
    if reported is not None and reported.failure_class == FailureClass.ENGINE_CRASHED and cause:
        reported = None
    if reported is not None and end.signal is None:
        return replace(
            reported,
            message=clipped(reported.message, 600),
            next_step=clipped(reported.next_step, 600),
            log_tail=tail,
        )
    if not end.served and by_error and (missing := import_failure(engine, lines)) is not None:
        return missing
    ended = f"exit code {end.code}" if end.signal is None else f"signal {_signal_name(end.signal)}"
    if cause:
        tail = log_tail(lines[: cause.line + 1])
    last = f": {cause.text if cause else tail[-1]}" if tail else " and no output"
    return Failure(
        failure_class=FailureClass.ENGINE_CRASHED,
        message=clipped(f"{engine} ended with {ended}{last}", 600),
        next_step="read the engine's last lines (kubectl logs --previous); it is started again with back-off",
        log_tail=tail,
    )


def _killed(engine: str, end: Exit, tail: tuple[str, ...]) -> Failure | None:
    """The failure of an engine that the kernel or its CPU ended; None: neither did."""
    certain = bool(end.out_of_memory_kills)
    if certain or end.signal == signal.SIGKILL or end.code == 128 + signal.SIGKILL:
        how = "the kernel killed" if certain else "SIGKILL ended"
        why = "for memory" if certain else "(most often: the container's memory limit, or the node's memory)"
        return Failure(
            failure_class=FailureClass.HOST_OUT_OF_MEMORY,
            message=f"{how} {engine} {why}",
            next_step="raise the memory in spec.engine.resources, or lower spec.context",
            log_tail=tail,
        )
    if end.signal == signal.SIGILL:
        return Failure(
            failure_class=FailureClass.ENGINE_NOT_SUPPORTED,
            message=f"{engine} met an instruction that this node's CPU does not have",
            next_step="place the pod on newer nodes (spec.podTemplate), or take an image built for this CPU",
            log_tail=tail,
        )
    return None


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return str(number)
