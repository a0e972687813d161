"""vLLM's server, as the runtime starts and reads it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tacho_contract.failure import Failure
from tacho_contract.launch import RuntimeConfig
from tacho_engines.base import EngineFigures, Exit, Needs, RunHalf
from tacho_engines.shared.plain_run import PlainRun
from tacho_engines.shared.signs import classify
from tacho_engines.vllm.command import command, environment
from tacho_engines.vllm.figures import read
from tacho_engines.vllm.needs import needs
from tacho_engines.vllm.signs import SIGNS, placed


class Vllm(PlainRun):
    """``engine.name: vllm``."""

    name = "vllm"
    key_variable = "VLLM_API_KEY"
    signs = SIGNS

    def command(self, config: RuntimeConfig, model_path: str) -> tuple[str, ...]:
        return command(config, model_path)

    def environment(self, config: RuntimeConfig) -> Mapping[str, str]:
        return environment(config)

    def needs(self, config: RuntimeConfig) -> Needs:
        return needs(config)

    def read(self, figures: EngineFigures, line: str) -> EngineFigures:
        return read(figures, line)

    def classify(self, end: Exit, lines: Sequence[str]) -> Failure:
        return placed(classify("vLLM", end, lines, SIGNS), lines)


RUN: RunHalf = Vllm()
