"""llama.cpp's server, started by the launcher ``llama-server``.

One context is shared by all slots, so it is made ``concurrency`` times as long as one request's.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence

from tacho_contract.failure import Failure, FailureClass
from tacho_contract.launch import RuntimeConfig
from tacho_contract.units import clipped
from tacho_engines.base import Exit, LoadFigures, whole
from tacho_engines.signs import Sign, classify

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


_LAUNCHER = re.compile(r"^llama-server: error \[(?P<failure_class>\w+)\]: (?P<message>.*)$")
"""How the launcher ends what it refuses itself: the message says what to do as well."""


def _cache_type(kind: str) -> tuple[str, ...]:
    """A quantized V cache wants flash attention; llama.cpp refuses it otherwise."""
    if not kind:
        return ()
    return ("--cache-type-k", kind, "--cache-type-v", kind, "--flash-attn", "on")


class LlamaCpp:
    """``engine.name: llamacpp``."""

    name = "llamacpp"
    api_key_variable = "LLAMA_API_KEY"
    version_path = "/props"

    def version(self, document: Mapping[str, object]) -> str:
        """A build number and commit; builds outside of llama.cpp's repository call themselves b0."""
        build = document.get("build_info")
        return build if isinstance(build, str) and not build.startswith("b0") else ""

    def health_path(self, config: RuntimeConfig) -> str:  # noqa: ARG002 - the same for every config
        return "/health"

    def command(self, config: RuntimeConfig, model_path: str) -> tuple[str, ...]:
        return (
            *config.entrypoint,
            *("--model", model_path),
            *("--alias", config.served_name),
            *("--host", config.bind_host),
            *("--port", str(config.engine_port)),
            *("--ctx-size", str(config.max_model_len * config.concurrency)),
            *("--parallel", str(config.concurrency)),
            # Idle prompts would otherwise take up to 8 GiB of memory that nobody planned.
            *("--cache-ram", "0"),
            "--metrics",
            *_cache_type(config.kv_cache_dtype),
            *config.extra_args,
        )

    def load(self, metrics: Mapping[str, float]) -> LoadFigures:
        """llama.cpp has no figure for how full its KV cache is, and leaves cached prompt tokens out."""
        return LoadFigures(
            running=whole(metrics.get("llamacpp:requests_processing")),
            waiting=whole(metrics.get("llamacpp:requests_deferred")),
            generation_tokens_total=metrics.get("llamacpp:tokens_predicted_total"),
            prompt_tokens_total=metrics.get("llamacpp:prompt_tokens_total"),
        )

    def classify(self, end: Exit, lines: Sequence[str]) -> Failure:
        """llama.cpp's own lines name the cause; the launcher's last line what it saw before the start."""
        failure = classify("llama-server", end, lines, SIGNS)
        said = next((match for line in reversed(lines) if (match := _LAUNCHER.match(line))), None)
        if said is None or failure.failure_class != FailureClass.ENGINE_CRASHED or end.signal is not None:
            return failure
        return dataclasses.replace(
            failure,
            failure_class=said["failure_class"],
            message=clipped(said["message"], 600),
            next_step="do as the message says; the command line comes from spec.model, spec.context and "
            "spec.engine.extraArgs",
            retryable=None,
        )
