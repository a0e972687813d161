"""Which engine arguments and variables a user may not set, and why.

Pure, for the operator and for offline checks. CEL sees one spelling at a time and can be bypassed; this
normalises first: `_` and `-`, `--name=value`, upper and lower case, abbreviations an engine's parser would
expand, and names inside JSON values.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tacho_engines.shared.switches import split_switch

_CODE = "it makes the engine load code that is not part of its image"
_ADMIN = "it opens administration or private data to whoever reaches the server"
_OWN = "tacho sets it itself"

LONG_SWITCHES: dict[str, tuple[str, str]] = {
    # switch: (why, what to do)
    "trust-remote-code": (_CODE, "set model.trustRemoteCode"),
    "config": ("it reads further arguments from a file", "write them into engine.extraArgs"),
    "worker-cls": (_CODE, "leave it out"),
    "worker-extension-cls": (_CODE, "leave it out"),
    "scheduler-cls": (_CODE, "leave it out"),
    "executor-class": (_CODE, "leave it out"),
    "distributed-executor-backend": (_CODE, "leave it out; parallelism says how the model is spread"),
    "logits-processors": (_CODE, "leave it out"),
    "logits-processor-pattern": (_CODE, "leave it out"),
    "enable-custom-logit-processor": (_CODE, "leave it out"),
    "custom-weight-loader": (_CODE, "leave it out"),
    "middleware": (_CODE, "put a proxy in front of the service"),
    "tool-parser-plugin": (_CODE, "use a parser of the engine's own"),
    "reasoning-parser-plugin": (_CODE, "use a parser of the engine's own"),
    "io-processor-plugin": (_CODE, "leave it out"),
    "kv-connector-module-path": (_CODE, "use a connector of the engine's own"),
    "allowed-local-media-path": (_ADMIN, "send media with the request"),
    "media-path": (_ADMIN, "send media with the request"),
    "profiler-config": (_ADMIN, "leave it out; the figures are in status.measurements"),
    "slots": (_ADMIN, "leave it out; the load is at /load of port 9400"),
    "slot-save-path": (_ADMIN, "leave it out"),
    "props": (_ADMIN, "leave it out"),
    "rpc": (_ADMIN, "leave it out"),
    "path": (_ADMIN, "leave it out; files are not served"),
    "log-file": (_ADMIN, "read the container's log"),
    "tools": (_ADMIN, "leave it out"),
    "admin-api-key": (_ADMIN, "leave it out"),
    "api-key": ("a key on a command line is no secret", "use endpoint.apiKeySecretRef"),
    "api-key-file": ("the key has a field of its own", "use endpoint.apiKeySecretRef"),
    "hf-token": ("a token on a command line is no secret", "use model.tokenSecretRef"),
    "host": (_OWN, "leave it out"),
    "port": (_OWN, "leave it out"),
    "uds": (_OWN, "leave it out"),
    "model": (_OWN, "set model.uri"),
    "model-url": (_OWN, "set model.uri"),
    "models-dir": (_OWN, "set model.uri"),
    "models-preset": (_OWN, "set model.uri"),
    "hf-repo": (_OWN, "set model.uri"),
    "hf-file": (_OWN, "set model.files"),
    "revision": (_OWN, "set model.revision"),
    "code-revision": (_CODE, "leave it out"),
    "served-model-name": (_OWN, "set model.servedName"),
    "alias": (_OWN, "set model.servedName"),
    "download-dir": (_OWN, "set cache"),
    "quantization": (_OWN, "set quantization.method"),
    "max-model-len": (_OWN, "set context.maxModelLen"),
    "ctx-size": (_OWN, "set context.maxModelLen"),
    "parallel": (_OWN, "set context.concurrency"),
}
"""Refused switches, without dashes in front, in their dashed spelling."""

SHORT_SWITCHES: dict[str, str] = {
    "m": "model",
    "mu": "model-url",
    "hf": "hf-repo",
    "hfr": "hf-repo",
    "hff": "hf-file",
    "hft": "hf-token",
    "a": "alias",
    "c": "ctx-size",
    "np": "parallel",
    "q": "quantization",
}
"""One-letter forms and llama.cpp's single-dash abbreviations."""

LEGITIMATE = frozenset({"reasoning-parser"})
"""Real switches that look like an abbreviation of a refused one."""

INSIDE_VALUES = (
    "trust-remote-code",
    "kv-connector-module-path",
    "worker-cls",
    "worker-extension-cls",
    "logits-processors",
)
"""Names refused wherever they stand, because engines take JSON with them inside."""

VARIABLES: dict[str, tuple[str, str]] = {
    "PYTHONPATH": (_CODE, "build it into an image and set engine.image"),
    "PYTHONHOME": (_CODE, "build it into an image and set engine.image"),
    "PYTHONSTARTUP": (_CODE, "leave it out"),
    "PYTHONUSERBASE": (_CODE, "build it into an image and set engine.image"),
    "PYTHONBREAKPOINT": (_CODE, "leave it out"),
    "LD_PRELOAD": (_CODE, "build it into an image and set engine.image"),
    "LD_AUDIT": (_CODE, "leave it out"),
    "LD_LIBRARY_PATH": (_CODE, "build it into an image and set engine.image"),
    "BASH_ENV": (_CODE, "leave it out"),
    "VLLM_ALLOW_INSECURE_SERIALIZATION": (_CODE, "leave it out"),
    "VLLM_SERVER_DEV_MODE": (_ADMIN, "leave it out"),
    "VLLM_ALLOW_RUNTIME_LORA_UPDATING": (_ADMIN, "leave it out"),
    "VLLM_TORCH_PROFILER_DIR": (_ADMIN, "leave it out; the figures are in status.measurements"),
    "VLLM_API_KEY": ("the key has a field of its own", "use endpoint.apiKeySecretRef"),
    "VLLM_USE_MODELSCOPE": (_OWN, "set model.uri"),
    "NVIDIA_VISIBLE_DEVICES": ("it reaches GPUs the pod was not given", "set gpu.count"),
    "HF_TOKEN": ("the token stays out of the engine's container", "use model.tokenSecretRef"),
    "HUGGING_FACE_HUB_TOKEN": ("the token stays out of the engine's container", "use model.tokenSecretRef"),
}
"""Refused variables of the engine container, exactly as spelled."""

VARIABLE_PREFIXES: dict[str, tuple[str, str]] = {
    "TACHO_": (_OWN, "leave it out"),
    "LLAMA_ARG_": ("it sets a switch of llama.cpp past this check", "write the switch into engine.extraArgs"),
}

_ABBREVIATION_MIN_CHARACTERS = 3
"""Of words with one dash; after two dashes one letter may be enough for argparse."""
_JOINED = re.compile(r"-(?:(q).|([acm])[^a-zA-Z])")
"""A one-letter switch with its value in the same word, as argparse takes it: ``-c4096``, ``-qfp8``."""
_ESCAPE = re.compile(r"\\u([0-9a-fA-F]{4})")
"""How JSON may spell a letter."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """One argument or variable that is refused."""

    index: int
    """Position in the list that was given."""
    name: str
    """The normalised switch or the variable."""
    message: str
    """What is refused, why, and what to do instead."""


def switch_name(argument: str) -> str | None:
    """The switch an argument names, normalised; None where it is a value or a positional.

    >>> switch_name("--Trust_Remote_Code=true")
    'trust-remote-code'
    """
    found = split_switch(argument)
    if found is None:
        return None
    name, _, _ = found
    long = name.casefold().split(".", 1)[0]
    if joined := _JOINED.match(argument):
        return SHORT_SWITCHES[joined[1] or joined[2]]
    if argument.startswith("--") or len(name) > _ABBREVIATION_MIN_CHARACTERS or long in LONG_SWITCHES:
        return long
    return SHORT_SWITCHES.get(name, name)


def refused_arguments(arguments: Sequence[str]) -> tuple[Refusal, ...]:
    """The arguments of `engine.extraArgs` that are refused, in order."""
    found = []
    for index, argument in enumerate(arguments):
        name = _refused_switch(argument)
        if name is not None:
            why, instead = LONG_SWITCHES[name]
            found.append(Refusal(index, name, f"--{name} is refused: {why}; {instead}"))
        elif "$(" in argument:
            message = f"{argument[:40]!r} is refused: variables are not expanded here; write the value"
            found.append(Refusal(index, "$(", message))
    return tuple(found)


def _refused_switch(argument: str) -> str | None:
    spelled_out = _ESCAPE.sub(lambda match: chr(int(match[1], 16)), argument)
    normalised = spelled_out.casefold().replace("_", "-")
    for inside in INSIDE_VALUES:
        if re.search(rf"(^|[^a-z]){inside}($|[^a-z])", normalised):
            return inside
    name = switch_name(argument)
    if name is None:
        return None
    if name in LONG_SWITCHES:
        return name
    if name.startswith("no-") and name[3:] in LONG_SWITCHES:
        return name[3:]
    return _abbreviated(name, 1 if argument.startswith("--") else _ABBREVIATION_MIN_CHARACTERS)


def _abbreviated(name: str, least: int) -> str | None:
    """The refused switch an engine's parser may expand an abbreviation of ``least`` letters or more to."""
    if len(name) < least or name in LEGITIMATE:
        return None
    return next((refused for refused in LONG_SWITCHES if refused.startswith(name)), None)


def refused_variables(names: Iterable[str]) -> tuple[Refusal, ...]:
    """The variables of `engine.env` that are refused, in order."""
    found = []
    for index, name in enumerate(names):
        entry = VARIABLES.get(name.upper())
        if entry is None:
            entry = next((v for p, v in VARIABLE_PREFIXES.items() if name.upper().startswith(p)), None)
        if entry is not None:
            why, instead = entry
            found.append(Refusal(index, name, f"{name} is refused: {why}; {instead}"))
    return tuple(found)


def arguments_pattern() -> str:
    """A regular expression for CEL that finds the plain spellings of refused switches."""
    names = "|".join(n.replace("-", "[-_]") for n in LONG_SWITCHES)
    shorts = "|".join(SHORT_SWITCHES)
    return f"^(--?(?i:{names})|-({shorts}))(=.*)?$"


def variables_pattern() -> str:
    """A regular expression for CEL that finds refused variables."""
    return f"^(?i:{'|'.join(VARIABLES)}|({'|'.join(VARIABLE_PREFIXES)}).*)$"
