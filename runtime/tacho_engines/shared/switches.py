"""Parses the user's engine switches as the engines' own parsers do, and lists those that no user may set."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence

from tacho_contract.codec import WHOLE_NUMBER_LIMIT
from tacho_engines.profile import DeniedOptions

_NUMBER = re.compile(r"-?\d+(\.\d+)?")
LISTS = ("cudagraph-capture-sizes",)
"""Switches that memory and speed depend on, and that take several values."""


def split_switch(word: str) -> tuple[str, str, bool] | None:
    """(name, value, whether ``=`` separated them) of a switch; None for a value, including negative numbers.

    Leading dashes are dropped and ``_`` is read as ``-``, as vLLM's FlexibleArgumentParser does.
    """
    bare = word.lstrip("-").strip()
    if not word.startswith("-") or not bare or bare[0].isdigit() or bare[0] == ".":
        return None
    name, equals, value = bare.partition("=")
    return name.strip().replace("_", "-"), value, bool(equals)


def parse_arguments(arguments: Sequence[str]) -> dict[str, str]:
    """Switches by name, normalised: ``--max_num_seqs=64`` and ``--max-num-seqs 64`` are the same key
    ``max-num-seqs``. A switch without a value maps to "", one of ``LISTS`` to its values with spaces
    between. The last of a repeated switch wins, as with argparse, and so does that of ``--x`` and ``--no-x``.
    """
    found: dict[str, str] = {}
    open_name = ""
    for word in arguments:
        switch = split_switch(word)
        if switch is not None:
            name, value, given = switch
            for former in (name, f"no-{name}", name.removeprefix("no-")):
                found.pop(former, None)
            found[name] = value
            open_name = "" if given else name
        elif open_name:
            found[open_name] = f"{found[open_name]} {word}".strip()
            open_name = open_name if open_name in LISTS else ""
    return found


def first_of(found: Mapping[str, str], *names: str) -> str | None:
    """The value of the first of ``names`` (spellings of one switch) that the user gave; None: none."""
    return next((found[name] for name in names if name in found), None)


def integer(text: str | None) -> int | None:
    """A whole number as engines accept it (``8192``, ``8k`` = 8000, ``8K`` = 8192); None: no such number, or
    one of more than 63 bits.

    Source: vLLM ``engine/arg_utils.py`` human_readable_int.
    """
    match = re.fullmatch(r"(-?\d+(?:\.\d+)?)([kKmMgG]?)", text.strip()) if text else None
    if match is None:
        return None
    factor = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "K": 2**10, "M": 2**20, "G": 2**30}[match[2]]
    number = float(match[1]) * factor
    return int(number) if abs(number) < WHOLE_NUMBER_LIMIT else None


def decimal(text: str | None) -> float | None:
    """``text`` as a number; None: it is none, or one of more than 63 bits, whose bytes may be infinite."""
    number = float(text) if text and _NUMBER.fullmatch(text.strip()) else math.inf
    return number if abs(number) < WHOLE_NUMBER_LIMIT else None


# --- what a user may not set ------------------------------------------------------------------------
CODE = "it makes the engine load code that is not part of its image"
ADMIN = "it opens administration or private data to every client that reaches the server"
OWN = "tacho sets it itself"
PROGRAM = ("it names a library or a program to load", "build it into an image and set engine.image")
PTXAS = "TRITON_PTXAS"
"""Beginning of the variables for an assembler in place of Triton's own, which may be too old (DGX Spark)."""
PTXAS_PATTERN = "/usr/local/cuda(-[0-9]{1,3}([.][0-9]{1,3})?)?/bin/ptxas"
"""Matches the values that they may have. A volume mounted there is run, as is one over Triton's own."""

COMMON = DeniedOptions(
    switches={
        "trust-remote-code": (CODE, "set model.trustRemoteCode"),
        "config": ("it reads further arguments from a file", "write them into engine.extraArgs"),
        "api-key": (
            "a key on a command line is no secret",
            "set the engine's variable in engine.env, from a Secret",
        ),
        "hf-token": ("a token on a command line is no secret", "use model.tokenSecretRef"),
        "host": (OWN, "leave it out"),
        "port": (OWN, "leave it out"),
        "model": (OWN, "set model.uri"),
        "revision": (OWN, "set model.revision"),
        "served-model-name": (OWN, "set model.servedName"),
        "quantization": (OWN, "set quantization.method"),
    },
    inside=("trust-remote-code",),
    variables={
        "PYTHONPATH": (CODE, "build it into an image and set engine.image"),
        "PYTHONHOME": (CODE, "build it into an image and set engine.image"),
        "PYTHONSTARTUP": (CODE, "leave it out"),
        "PYTHONUSERBASE": (CODE, "build it into an image and set engine.image"),
        "PYTHONBREAKPOINT": (CODE, "leave it out"),
        "PYTHONINSPECT": (CODE, "leave it out"),
        "PYTHONEXECUTABLE": (CODE, "leave it out"),
        "PYTHONPLATLIBDIR": (CODE, "leave it out"),
        "PYTHONPYCACHEPREFIX": (CODE, "build byte code into an image and set engine.image"),
        "PYTHONWARNINGS": ("a filter's category is imported", "leave it out"),
        "PYTHON_PRESITE": (CODE, "leave it out"),
        "BASH_ENV": (CODE, "leave it out"),
        "GCONV_PATH": (CODE, "leave it out"),
        **dict.fromkeys(
            (
                *("CUDA_INJECTION64_PATH", "NVTX_INJECTION64_PATH", "NCCL_NET_PLUGIN", "NCCL_TUNER_PLUGIN"),
                *("NCCL_PROFILER_PLUGIN", "NCCL_CONF_FILE", "VLLM_NCCL_SO_PATH", "VLLM_CUDART_SO_PATH"),
                *("GGML_BACKEND_PATH", "TRITON_LIBCUDA_PATH", "TRITON_CUOBJDUMP_PATH"),
                *("TRITON_NVDISASM_PATH", "TRITON_LIBHIP_PATH", "LOCPATH", "CC", "CXX"),
                *("CUDACXX", "CUDAHOSTCXX"),
            ),
            PROGRAM,
        ),
        **dict.fromkeys(
            (f"{PTXAS}_PATH", f"{PTXAS}_BLACKWELL_PATH"),
            (PROGRAM[0], "name the image's, /usr/local/cuda/bin/ptxas"),
        ),
        "GLIBC_TUNABLES": ("it changes how the C library allocates and loads", "leave it out"),
        # Read by container runtimes on the node. Those that an engine reads choose among its own devices.
        **dict.fromkeys(
            (
                *("NVIDIA_VISIBLE_DEVICES", "NVIDIA_MIG_CONFIG_DEVICES", "NVIDIA_MIG_MONITOR_DEVICES"),
                *("AMD_VISIBLE_DEVICES", "HABANA_VISIBLE_DEVICES", "ASCEND_VISIBLE_DEVICES"),
                *("AWS_NEURON_VISIBLE_DEVICES", "MTHREADS_VISIBLE_DEVICES", "METAX_VISIBLE_DEVICES"),
            ),
            ("it reaches GPUs the pod was not given", "set gpu.count"),
        ),
        **dict.fromkeys(
            (
                *("NVIDIA_IMEX_CHANNELS", "NVIDIA_NVSWITCH", "NVIDIA_MOFED", "NVIDIA_GDS"),
                "NVIDIA_GDRCOPY",
            ),
            ("it reaches devices of the node that the pod was not given", "leave it out"),
        ),
        "HF_TOKEN": ("the token stays out of the engine's container", "use model.tokenSecretRef"),
        "HUGGING_FACE_HUB_TOKEN": (
            "the token stays out of the engine's container",
            "use model.tokenSecretRef",
        ),
    },
    variable_prefixes={
        "TACHO_": (OWN, "leave it out"),
        "OPENSSL_": (CODE, "build it into an image and set engine.image"),
        "LD_": ("it changes what the dynamic linker loads", "build it into an image and set engine.image"),
    },
)
