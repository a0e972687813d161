"""Checks of a start that must fail, before llama.cpp fails with twenty lines.

The functions return a problem, or None when nothing is wrong. Classes are those of the runtime's
termination message.
"""

from __future__ import annotations

import errno
import json
import os
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

GGUF_MAGIC = b"GGUF"
HOST_DEVICES = ("CPU", "ACCEL")
"""Kinds of llama.cpp's devices that are no GPU (ggml-backend.h)."""


@dataclass(frozen=True)
class LaunchProblem:
    failure_class: str
    message: str
    """Cause of the failure, as a message."""
    next_step: str
    """What the user should do about the problem."""

    def __str__(self) -> str:
        return f"[{self.failure_class}]: {self.message}: {self.next_step}"

    def document(self) -> str:
        """The failure as the runtime reads it: JSON with the keys of its termination message."""
        return json.dumps(
            {
                "failureClass": self.failure_class,
                "message": self.message,
                "nextStep": self.next_step,
            }
        )


def model_problem(path: Path) -> LaunchProblem | None:
    try:
        with path.open("rb") as file:
            magic = file.read(len(GGUF_MAGIC))
            size_bytes = os.fstat(file.fileno()).st_size
    except FileNotFoundError:
        return LaunchProblem(
            "ModelNotFound", f"no file {path}", "check the model's path and what is mounted there"
        )
    except IsADirectoryError:
        return LaunchProblem("ModelNotFound", f"{path} is a folder", "name the GGUF file in it (model.files)")
    except PermissionError:
        return LaunchProblem(
            "ModelNotFound", f"uid {os.getuid()} may not read {path}", "make it readable for all"
        )
    except OSError as error:
        return LaunchProblem("ModelNotFound", f"{path} cannot be read: {error.strerror}", "check the volume")
    if magic != GGUF_MAGIC:
        return LaunchProblem(
            "ModelInvalid",
            f"{path} ({size_bytes} bytes) is not a GGUF file, it begins with {magic!r}",
            "choose another file",
        )
    return None


def gpu_problem(desired_layers: int, kinds: Sequence[str], features: str) -> LaunchProblem | None:
    """Layers for GPUs and none to put them on: llama.cpp would compute on the CPU, and say so in one line.

    ``desired_layers``: of --n-gpu-layers; negative: all. ``kinds``: of llama.cpp's devices. ``features``: its
    system info, where each backend that was compiled in has an entry.
    """
    if desired_layers == 0 or any(kind not in HOST_DEVICES for kind in kinds):
        return None
    if "CUDA" not in features:
        return LaunchProblem(
            "EngineNotSupported",
            "layers are to be put on GPUs, and this build of llama.cpp computes on the CPU only",
            "leave spec.engine.image out for tacho's CUDA image, or set spec.gpu.count to 0; elsewhere build "
            "xllamacpp with XLLAMACPP_BUILD_CUDA=1 (pip install --no-binary xllamacpp xllamacpp)",
        )
    return LaunchProblem(
        "UnsupportedGPU",
        "this build of llama.cpp has CUDA and finds no GPU that it can use",
        "see ggml_cuda_init's lines above: update the node's driver, and check that the container has GPUs",
    )


def port_problem(host: str, port: int) -> LaunchProblem | None:
    """Binding is tried and given up again; a name that does not resolve is left to llama.cpp."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except OSError:
        return None
    with socket.socket(family, kind, protocol) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(address)
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                return LaunchProblem(
                    "PortInUse", f"port {port} on {host} is in use", "stop its owner or pass --port"
                )
            return LaunchProblem(
                "InvalidConfig", f"cannot listen on {host}:{port} ({error.strerror})", "pass --host"
            )
    return None
