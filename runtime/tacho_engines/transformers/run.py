"""Transformers behind tacho's server, as the runtime starts and reads it; its launcher is
``tacho_transformers``."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence

from tacho_contract.failure import Failure
from tacho_contract.launch import RuntimeConfig
from tacho_engines.base import EngineFigures, Exit, Needs, PackageNeed, RunHalf
from tacho_engines.shared.caches import compile_caches
from tacho_engines.shared.plain_run import PlainRun
from tacho_engines.shared.signs import classify
from tacho_engines.transformers.command import command
from tacho_engines.transformers.signs import SIGNS

PROGRAM = "transformers-server"
_WEIGHTS = re.compile(rf"{PROGRAM}: weights (\d+) bytes, loaded in (\d+\.\d+) s")
_CACHE = re.compile(rf"{PROGRAM}: kv cache (\d+) bytes, (\d+) tokens")
_FALLBACK = re.compile(rf"{PROGRAM}: falls back: (.*)")
_NO_CHAT = re.compile(rf"{PROGRAM}: chat: no \((.*)\)")


class Transformers(PlainRun):
    """``engine.name: transformers``."""

    name = "transformers"
    takes_as_planned = True
    key_variable = "TACHO_SERVER_API_KEY"

    def command(self, config: RuntimeConfig, model_path: str) -> tuple[str, ...]:
        return command(config, model_path)

    def environment(self, config: RuntimeConfig) -> Mapping[str, str]:
        return compile_caches(config)

    def needs(self, config: RuntimeConfig) -> Needs:
        packages: tuple[PackageNeed, ...] = (PackageNeed(name="torch", what="Transformers"),)
        if config.quantization_method.startswith("bnb-"):
            packages += (PackageNeed(name="bitsandbytes", what=config.quantization_method),)
        return Needs(engine=("transformers",), packages=packages)

    def read(self, figures: EngineFigures, line: str) -> EngineFigures:
        if found := _WEIGHTS.search(line):
            return dataclasses.replace(figures, weights_bytes=int(found[1]), load_seconds=float(found[2]))
        if found := _CACHE.search(line):
            return dataclasses.replace(figures, kv_cache_bytes=int(found[1]), kv_cache_tokens=int(found[2]))
        if found := _NO_CHAT.search(line):
            return dataclasses.replace(figures, fallbacks=(*figures.fallbacks, f"no chat: {found[1]}")[:8])
        if found := _FALLBACK.search(line):
            return dataclasses.replace(figures, fallbacks=(*figures.fallbacks, found[1])[:8])
        return figures

    def classify(self, end: Exit, lines: Sequence[str]) -> Failure:
        return classify(PROGRAM, end, lines, SIGNS)


RUN: RunHalf = Transformers()
