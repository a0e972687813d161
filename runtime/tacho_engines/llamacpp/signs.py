"""What llama.cpp's own lines say about why it ended."""

from __future__ import annotations

import re

from tacho_contract.failure import FailureClass
from tacho_engines.shared.signs import Sign

SIGNS = (
    Sign(
        pattern=re.compile(r"failed to open GGUF file '(?P<path>[^']*)' \((?P<why>[^)]*)\)"),
        failure_class=FailureClass.MODEL_NOT_FOUND,
        message="llama.cpp cannot open {path}: {why}",
        next_step="check the path in spec.model.uri and spec.model.files, and that the file may be read",
    ),
    Sign(
        pattern=re.compile(r"unknown model architecture: '(?P<architecture>[^']*)'"),
        failure_class=FailureClass.ENGINE_NOT_SUPPORTED,
        message="this llama.cpp does not know the model architecture {architecture}",
        next_step="take a newer engine image (spec.engine.image), or another engine",
    ),
    Sign(
        pattern=re.compile(
            r"(?P<why>invalid magic characters.*|failed to read magic"
            r"|.*not within the file bounds.*|.*corrupted or incomplete.*"
            r"|failed to read (?:header|key-value pairs|tensor info).*)"
        ),
        failure_class=FailureClass.MODEL_INVALID,
        message="the model file is not a whole GGUF file: {why}",
        next_step="fetch or copy the file again and compare its size with the source's",
    ),
    Sign(
        pattern=re.compile(r"couldn't bind HTTP server socket, hostname: (?P<host>\S+), port: (?P<port>\d+)"),
        failure_class=FailureClass.PORT_IN_USE,
        message="port {port} on {host} is taken by another process",
        next_step="stop the process that listens there, or choose another port",
    ),
    Sign(
        pattern=re.compile(r"(?:ggml_cuda|CUDA\d* ).*(?:out of memory|failed to allocate)"),
        failure_class=FailureClass.GPU_OUT_OF_MEMORY,
        message="the GPU's memory did not suffice for weights and context",
        next_step="lower spec.context.maxModelLen or spec.context.concurrency, or take a larger GPU",
    ),
    Sign(
        pattern=re.compile(
            r"std::bad_alloc|failed to allocate (?:CPU |compute )?buffer|unable to allocate CPU"
            r"|Cannot allocate memory|failed to allocate buffer of size"
        ),
        failure_class=FailureClass.HOST_OUT_OF_MEMORY,
        message="the container's memory did not suffice for weights and context",
        next_step="raise the memory in spec.engine.resources, or lower spec.context",
    ),
)
