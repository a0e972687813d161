"""Transformers for the runtime: command line, requests, metrics and log of its server.

The server program is ``tacho_transformers``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from tacho_contract.launch import RuntimeConfig
from tacho_engines.base import RuntimeAdapter
from tacho_engines.run_parts import PYTORCH, SAFETENSORS, LoadableFiles
from tacho_engines.shared.default_run import (
    TACHO_SERVER_METRICS,
    TachoServerRun,
    compile_caches,
    refused_arguments,
    server_startup,
)
from tacho_engines.shared.log_patterns import CHECKPOINT_FAILURES
from tacho_engines.shared.openai import COMMON

METRICS = TACHO_SERVER_METRICS
FILES = LoadableFiles(formats=(SAFETENSORS, PYTORCH), absent="There are no weights that transformers loads.")
DIALECT = replace(COMMON, name="transformers", owner="transformers")

EXPANDABLE = {"PYTORCH_CUDA_ALLOC_CONF": "expandable_segments:True"}
"""PyTorch's GPU allocator grows its segments. Each step of a batch has other sizes, and blocks of former ones
were kept beside them.

Measured on an H100 with an 8B in 16 bits and 128 streams: a peak of 32.5 GiB in place of 42.9, where 35.5
were planned (benchmarks/gpu/h100/articles).
"""

# --- its log --------------------------------------------------------------------------------------
PROGRAM = "transformers-server"


class Transformers(TachoServerRun):
    """The runtime adapter of ``engine.name: transformers``."""

    name = "transformers"
    program = PROGRAM
    failures = (*CHECKPOINT_FAILURES, refused_arguments(PROGRAM))
    startup = server_startup(PROGRAM)

    def environment(self, config: RuntimeConfig) -> Mapping[str, str]:
        return compile_caches(config.paths.cache_dir) | (EXPANDABLE if config.gpus.count else {})


RUN: RuntimeAdapter = Transformers()
