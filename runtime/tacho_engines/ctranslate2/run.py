"""CTranslate2 for the runtime: command line, requests, metrics and log of its server.

The server program is ``tacho_ctranslate2``.
"""

from __future__ import annotations

from collections.abc import Mapping

from tacho_contract.launch import RuntimeConfig
from tacho_engines.base import RuntimeAdapter
from tacho_engines.run_parts import CT2, PYTORCH, SAFETENSORS, LoadableFiles
from tacho_engines.shared.default_run import (
    TACHO_SERVER_METRICS,
    TachoServerRun,
    refused_arguments,
    server_startup,
)
from tacho_engines.shared.log_patterns import CHECKPOINT_FAILURES
from tacho_engines.shared.openai import CONTINUOUS_USAGE, PLAIN, Dialect

RETURNS_MEMORY = {"MKL_DISABLE_FAST_MM": "1", "MALLOC_MMAP_THRESHOLD_": str(1024 * 1024)}
"""Environment variables by which large buffers are returned to the system after a prompt, and are not kept by
each thread.

Measured with two workers and prompts of 1,024 tokens, SmolLM2-135M: 344 MiB stay in place of 546.
"""
METRICS = TACHO_SERVER_METRICS
FILES = LoadableFiles(
    formats=(CT2, SAFETENSORS, PYTORCH),
    absent="CTranslate2 loads model.bin beside config.json, or converts safetensors or pytorch_model.bin, "
    "and there is none.",
    next_step="Point spec.model at the unquantized model, or choose another engine.",
)


DIALECT = Dialect(
    name="ctranslate2",
    owner="ctranslate2",
    constant={**PLAIN.constant, "ignore_eos": True},
    counting=CONTINUOUS_USAGE,
)
"""Request fields of CTranslate2's server. It has no prefix cache to guard against."""
PROGRAM = "tacho-ctranslate2"


class CTranslate2(TachoServerRun):
    """The runtime adapter of ``engine.name: ctranslate2``."""

    name = "ctranslate2"
    program = "CTranslate2"
    failures = (*CHECKPOINT_FAILURES, refused_arguments(PROGRAM))
    startup = server_startup(PROGRAM)

    def own_switches(self, config: RuntimeConfig) -> tuple[str, ...]:
        return ("--cache-dir", config.paths.cache_dir) if config.paths.cache_dir else ()

    def environment(self, _config: RuntimeConfig) -> Mapping[str, str]:
        return RETURNS_MEMORY


RUN: RuntimeAdapter = CTranslate2()
