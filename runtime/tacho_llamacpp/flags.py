"""The supported flags of llama-server, and the field of xllamacpp's ``CommonParams`` that each sets.

Pure: arguments and environment in, values out. A flag that is not in the table is refused, never ignored: a
setting that silently does nothing would be measured, and believed.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from tacho_server.errors import LoadError
from tacho_server.options import integer, port, positive, whole

PROGRAM = "llama-server"
KEY_VARIABLE = "LLAMA_API_KEY"
FLAG_VARIABLES = "LLAMA_ARG_"
ABOUT = "llama.cpp's HTTP server with the flags below; any other flag is refused."


class UsageError(LoadError):
    """Arguments that cannot be used: the reason, and what to do."""

    def __init__(self, message: str, next_step: str) -> None:
        super().__init__("InvalidConfig", message, next_step)


@dataclass(frozen=True)
class Flag:
    """One flag: its spellings, the attribute that it sets, and how its value is parsed."""

    names: tuple[str, ...]
    sets: str
    """Attribute path in CommonParams, e.g. ``cpuparams.n_threads``."""
    help: str
    read: Callable[[str], object] = str
    choices: Mapping[str, object] | None = None
    """The values by spelling; of an enumeration, its members' names. None: any that can be parsed."""
    switch: object = None
    """The value that a flag without a value sets; None: the flag has a value."""

    @property
    def takes(self) -> str:
        """The flag's value as help and README show it."""
        if self.switch is not None:
            return ""
        if self.choices is not None:
            return "|".join(self.choices)
        if self.read in (positive, whole, integer, port, _layers):
            return "N"
        return "X" if self.read is float else "TEXT"


def _layers(text: str) -> int:
    return {"auto": -1, "all": -2}[text] if text in ("auto", "all") else whole(text)


def _proportions(text: str) -> list[float]:
    """The values of --tensor-split, one for each GPU that llama.cpp supports; missing ones are 0."""
    try:
        parts = [float(part) for part in text.replace("/", ",").split(",")]
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is no list of parts such as 3,1") from error
    if min(parts) < 0 or not sum(parts) > 0 or len(parts) > MOST_GPUS:
        raise argparse.ArgumentTypeError(f"{text!r} is no list of at most {MOST_GPUS} parts such as 3,1")
    return parts + [0.0] * (MOST_GPUS - len(parts))


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _alias(text: str) -> set[str]:
    if not (names := set(_names(text))):
        raise argparse.ArgumentTypeError("a name is needed")
    return names


def _template_arguments(text: str) -> dict[str, str]:
    """The arguments for the chat template, each as JSON text as llama.cpp requires."""
    try:
        values = json.loads(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"not JSON: {error}") from error
    if not isinstance(values, dict):
        raise argparse.ArgumentTypeError("a JSON object is needed")
    return {str(key): json.dumps(value) for key, value in values.items()}


def _file(text: str) -> str:
    try:
        return Path(text).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise argparse.ArgumentTypeError(f"cannot read {text}: {error}") from error


def _keys(text: str) -> list[str]:
    return [line.strip() for line in _file(text).splitlines() if line.strip() and not line.startswith("#")]


MOST_GPUS = 128
"""Number of entries of llama.cpp's ``tensor_split`` (common/common.h)."""
_ON_OFF = {"on": True, "off": False}
_CACHE_TYPES = {
    name: f"GGML_TYPE_{name.upper()}"
    for name in ("f32", "f16", "bf16", "q8_0", "q4_0", "q4_1", "iq4_nl", "q5_0", "q5_1")
}
_LOAD_MODES = {"auto": "AUTO", "none": "NONE", "mmap": "MMAP", "mlock": "MLOCK", "mmap+mlock": "MMAP_MLOCK"}

FLAGS: tuple[Flag, ...] = (
    Flag(("--model", "-m"), "model.path", "GGUF file; of a split model the first part"),
    Flag(("--alias", "-a"), "model_alias", "model names the API answers to, by commas", _alias),
    Flag(("--host",), "hostnames", "addresses to listen on, by commas (127.0.0.1)", _names),
    Flag(("--port",), "port", "port to listen on (8080)", port),
    Flag(("--api-key-file",), "api_keys", f"file of API keys, one a line; or set {KEY_VARIABLE}", _keys),
    Flag(("--metrics",), "endpoint_metrics", "serve /metrics", switch=True),
    Flag(("--slots",), "endpoint_slots", "serve /slots (default)", switch=True),
    Flag(("--no-slots",), "endpoint_slots", "do not serve /slots", switch=False),
    Flag(("--threads-http",), "n_threads_http", "threads that answer HTTP", positive),
    Flag(("--timeout", "-to"), "timeout_read timeout_write", "socket timeout in seconds (60)", positive),
    Flag(("--ctx-size", "-c"), "n_ctx", "context in tokens, shared by all slots (0: the model's)", whole),
    Flag(("--parallel", "-np"), "n_parallel", "slots, i.e. requests served at a time (1)", positive),
    Flag(("--kv-unified", "-kvu"), "kv_unified", "one KV cache that all slots draw from", switch=True),
    Flag(("--no-kv-unified",), "kv_unified", "each slot has its own share (default)", switch=False),
    Flag(("--cont-batching", "-cb"), "cont_batching", "continuous batching (default)", switch=True),
    Flag(("--no-cont-batching", "-nocb"), "cont_batching", "no continuous batching", switch=False),
    Flag(("--threads", "-t"), "cpuparams.n_threads", "threads for generation (CPUs it may use)", positive),
    Flag(("--threads-batch", "-tb"), "cpuparams_batch.n_threads", "threads for prompts", positive),
    Flag(("--batch-size", "-b"), "n_batch", "logical batch in tokens (2048)", positive),
    Flag(("--ubatch-size", "-ub"), "n_ubatch", "physical batch in tokens (512)", positive),
    Flag(("--n-gpu-layers", "-ngl"), "n_gpu_layers", "layers on GPUs, or auto, all (auto)", _layers),
    Flag(
        ("--split-mode", "-sm"),
        "split_mode",
        "what several GPUs share (layer); row is refused by CUDA devices, tensor is experimental",
        choices={name: f"LLAMA_SPLIT_MODE_{name.upper()}" for name in ("none", "layer", "row", "tensor")},
    ),
    Flag(
        ("--tensor-split", "-ts"), "tensor_split", "parts of the GPUs, by commas (free memory)", _proportions
    ),
    Flag(("--main-gpu", "-mg"), "main_gpu", "the GPU that is used with --split-mode none (0)", whole),
    Flag(
        ("--flash-attn", "-fa"),
        "flash_attn_type",
        "flash attention (auto)",
        choices={
            "on": "LLAMA_FLASH_ATTN_TYPE_ENABLED",
            "off": "LLAMA_FLASH_ATTN_TYPE_DISABLED",
            "auto": "LLAMA_FLASH_ATTN_TYPE_AUTO",
        },
    ),
    Flag(("--cache-type-k", "-ctk"), "cache_type_k", "type of the K cache (f16)", choices=_CACHE_TYPES),
    Flag(("--cache-type-v", "-ctv"), "cache_type_v", "type of the V cache (f16)", choices=_CACHE_TYPES),
    Flag(("--fit",), "fit_params", "lower unset settings until the model fits (on)", choices=_ON_OFF),
    Flag(
        ("--load-mode", "-lm"),
        "load_mode",
        "how the file is read (auto)",
        choices={spelling: f"LLAMA_LOAD_MODE_{name}" for spelling, name in _LOAD_MODES.items()},
    ),
    Flag(("--mlock",), "load_mode", "as --load-mode mmap+mlock", switch="LLAMA_LOAD_MODE_MMAP_MLOCK"),
    Flag(("--no-mmap",), "load_mode", "as --load-mode none", switch="LLAMA_LOAD_MODE_NONE"),
    Flag(("--warmup",), "warmup", "an empty run before serving (default)", switch=True),
    Flag(("--no-warmup",), "warmup", "no empty run before serving", switch=False),
    Flag(("--cache-prompt",), "cache_prompt", "reuse the KV cache of equal prefixes (default)", switch=True),
    Flag(("--no-cache-prompt",), "cache_prompt", "do not reuse the KV cache", switch=False),
    Flag(
        ("--cache-ram", "-cram"),
        "cache_ram_mib",
        "MiB of host memory for ended prompts' KV (8192; 0: none)",
        integer,
    ),
    Flag(("--jinja",), "use_jinja", "chat templates by Jinja (default)", switch=True),
    Flag(("--no-jinja",), "use_jinja", "built-in chat templates only", switch=False),
    Flag(("--chat-template",), "chat_template", "chat template instead of the model's"),
    Flag(("--chat-template-file",), "chat_template", "file with the chat template", _file),
    Flag(("--chat-template-kwargs",), "default_template_kwargs", "JSON for templates", _template_arguments),
    Flag(
        ("--reasoning-format",),
        "reasoning_format",
        "where thoughts go in answers (deepseek)",
        choices={
            spelling: f"COMMON_REASONING_FORMAT_{spelling.upper().replace('-', '_')}"
            for spelling in ("none", "auto", "deepseek", "deepseek-legacy")
        },
    ),
    Flag(("--n-predict", "--predict", "-n"), "n_predict", "default output tokens (-1: no limit)", integer),
    Flag(("--seed", "-s"), "sampling.seed", "default seed", whole),
    Flag(("--temp", "--temperature"), "sampling.temp", "default temperature (0.8)", float),
    Flag(("--top-k",), "sampling.top_k", "default top-k (40)", whole),
    Flag(("--top-p",), "sampling.top_p", "default top-p (0.95)", float),
    Flag(("--min-p",), "sampling.min_p", "default min-p (0.05)", float),
    Flag(("--verbosity", "--log-verbosity", "-lv"), "verbosity", "log level 0 to 5 (3)", whole),
)

SOCKET_SECONDS = 60
"""Seconds for which a client may send or read nothing; llama.cpp's default is an hour. 1,100 connections
without a whole request hold all its threads, of which health checks need one.
"""
DEFAULTS: Mapping[str, object] = {
    "port": 8080,
    "hostnames": ["127.0.0.1"],
    "timeout_read": SOCKET_SECONDS,
    "timeout_write": SOCKET_SECONDS,
}


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UsageError(message, f"correct engine.extraArgs; `{PROGRAM} --help` lists what is supported")


def parser() -> argparse.ArgumentParser:
    """The parser of all flags. Flags that set the same field exclude each other; only given flags are in the
    result."""
    root = _Parser(prog=PROGRAM, allow_abbrev=False, argument_default=argparse.SUPPRESS, description=ABOUT)
    groups: dict[str, argparse._MutuallyExclusiveGroup] = {}
    for index, flag in enumerate(FLAGS):
        if flag.sets not in groups:
            groups[flag.sets] = root.add_mutually_exclusive_group()
        group = groups[flag.sets]
        shared: dict[str, Any] = {"dest": f"flag{index}", "help": flag.help}
        if flag.switch is not None:
            group.add_argument(*flag.names, action="store_const", const=flag.switch, **shared)
        else:
            choices = tuple(flag.choices) if flag.choices is not None else None
            group.add_argument(*flag.names, type=flag.read, choices=choices, metavar=flag.takes, **shared)
    root.add_argument("--version", action="store_true", help="print the version of xllamacpp")
    return root


def parse(arguments: Sequence[str], environment: Mapping[str, str]) -> dict[str, object]:
    """The values of the given flags, by attribute path of CommonParams. Raises UsageError for one without an
    effect."""
    given, unknown = parser().parse_known_args(list(arguments))
    values: dict[str, object] = dict(DEFAULTS)
    if "version" in given:
        return {"version": True}
    if unknown:
        raise refusal(unknown)
    if ignored := sorted(name for name in environment if name.startswith(FLAG_VARIABLES)):
        raise UsageError(f"{', '.join(ignored)} would be ignored", "pass flags instead")
    for index, flag in enumerate(FLAGS):
        if (name := f"flag{index}") in given:
            value = getattr(given, name)
            for path in flag.sets.split():
                values[path] = flag.choices[value] if flag.choices is not None else value
    if "model.path" not in values:
        raise UsageError("--model is missing", "pass the path of a GGUF file")
    if keys := _names(environment.get(KEY_VARIABLE, "")):
        values["api_keys"] = keys
    return values


def refusal(unknown: Sequence[str]) -> UsageError:
    """The error for unsupported arguments, without their values."""
    flags = [argument.partition("=")[0] for argument in unknown if argument.startswith("-")] or list(unknown)
    return UsageError(
        f"not supported by this image: {', '.join(flags)}",
        "remove it from spec.engine.extraArgs, or set spec.engine.image to one with llama.cpp's own "
        f"{PROGRAM}; `{PROGRAM} --help` lists what is supported",
    )


def apply(values: Mapping[str, object], params: Any) -> None:
    """Writes the values into a CommonParams; a member of an enumeration is looked up by its name."""
    for path, value in values.items():
        *parents, name = path.split(".")
        target = params
        for parent in parents:
            target = getattr(target, parent)
        kind = type(getattr(target, name))
        setattr(target, name, kind[value] if hasattr(kind, "__members__") else value)
