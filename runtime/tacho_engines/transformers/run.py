"""Transformers' half of the run: how its server is started, asked and read; its launcher is
``tacho_transformers``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from tacho_contract.launch import RuntimeConfig
from tacho_engines.base import Needs, PackageNeed, RunHalf
from tacho_engines.shared.default_run import (
    TACHO_SERVER_METRICS,
    TachoServerRun,
    compile_caches,
    tacho_server_limits,
)
from tacho_engines.shared.files import PYTORCH, SAFETENSORS, LoadableFiles
from tacho_engines.shared.openai import COMMON
from tacho_engines.transformers.log_patterns import FAILURES, PROGRAM, STARTUP

METRICS = TACHO_SERVER_METRICS
FILES = LoadableFiles(formats=(SAFETENSORS, PYTORCH), absent="There are no weights that transformers loads.")
DIALECT = replace(COMMON, name="transformers", owner="transformers", limits=tacho_server_limits)


class Transformers(TachoServerRun):
    """``engine.name: transformers``."""

    name = "transformers"
    program = PROGRAM
    failures = FAILURES
    startup = STARTUP

    def environment(self, config: RuntimeConfig) -> Mapping[str, str]:
        return compile_caches(config)

    def needs(self, config: RuntimeConfig) -> Needs:
        packages: tuple[PackageNeed, ...] = (PackageNeed(name="torch", what="Transformers"),)
        if config.quantization_method.startswith("bnb-"):
            packages += (PackageNeed(name="bitsandbytes", what=config.quantization_method),)
        return Needs(engine=("transformers",), packages=packages)


RUN: RunHalf = Transformers()
