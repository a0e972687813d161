"""Checks of a start that must fail, before llama.cpp fails with twenty lines. Each raises LoadError."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Sequence
from pathlib import Path

from tacho_server.errors import LoadError

GGUF_MAGIC = b"GGUF"
HOST_DEVICES = ("CPU", "ACCEL")
"""Kinds of llama.cpp's devices that are no GPU (ggml-backend.h)."""


def check_model(path: Path) -> None:
    """The file is there, may be read, and is a GGUF file."""
    try:
        with path.open("rb") as file:
            magic = file.read(len(GGUF_MAGIC))
            size_bytes = os.fstat(file.fileno()).st_size
    except FileNotFoundError:
        step = "check the model's path and what is mounted there"
        raise LoadError("ModelNotFound", f"no file {path}", step) from None
    except IsADirectoryError:
        step = "name the GGUF file in it (model.files)"
        raise LoadError("ModelNotFound", f"{path} is a folder", step) from None
    except PermissionError:
        message = f"uid {os.getuid()} may not read {path}"
        raise LoadError("ModelNotFound", message, "make it readable for all") from None
    except OSError as error:
        message = f"{path} cannot be read: {error.strerror}"
        raise LoadError("ModelNotFound", message, "check the volume") from None
    if magic != GGUF_MAGIC:
        message = f"{path} ({size_bytes} bytes) is not a GGUF file, it begins with {magic!r}"
        raise LoadError("ModelInvalid", message, "choose another file")


def check_gpus(requested_layers: int, kinds: Sequence[str], features: str) -> None:
    """There is a GPU where layers are requested on GPUs: llama.cpp would compute on the CPU.

    ``requested_layers``: of --n-gpu-layers; negative: all. ``kinds``: of llama.cpp's devices. ``features``:
    its system info, where each backend that was compiled in has an entry.
    """
    if requested_layers == 0 or any(kind not in HOST_DEVICES for kind in kinds):
        return
    if "CUDA" not in features:
        raise LoadError(
            "EngineNotSupported",
            "layers are to be put on GPUs, and this build of llama.cpp computes on the CPU only",
            "leave spec.engine.image out for tacho's CUDA image, or set spec.gpu.count to 0; elsewhere build "
            "xllamacpp with XLLAMACPP_BUILD_CUDA=1 (pip install --no-binary xllamacpp xllamacpp)",
        )
    raise LoadError(
        "UnsupportedGPU",
        "this build of llama.cpp has CUDA and finds no GPU that it can use",
        "see ggml_cuda_init's lines above: update the node's driver, and check that the container has GPUs",
    )


def check_port(host: str, port: int) -> None:
    """The port is free: it is bound and released. llama.cpp reports a name that does not resolve."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except OSError:
        return
    with socket.socket(family, kind, protocol) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(address)
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                message = f"port {port} on {host} is in use"
                raise LoadError("PortInUse", message, "stop its owner or pass --port") from None
            message = f"cannot listen on {host}:{port} ({error.strerror})"
            raise LoadError("InvalidConfig", message, "pass --host") from None
