"""CTranslate2's server, as the runtime starts and reads it; its launcher is ``tacho_ctranslate2``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tacho_contract.failure import Failure
from tacho_contract.launch import RuntimeConfig
from tacho_engines.base import EngineFigures, Exit, Needs, RunHalf
from tacho_engines.ctranslate2 import signs
from tacho_engines.ctranslate2.command import command
from tacho_engines.ctranslate2.needs import needs
from tacho_engines.shared.plain_run import PlainRun
from tacho_engines.shared.signs import classify

GIVES_BACK = {"MKL_DISABLE_FAST_MM": "1", "MALLOC_MMAP_THRESHOLD_": str(1024 * 1024)}
"""Large buffers go back to the system once a prompt is computed, and not to each thread's own store. Measured
with two workers and prompts of 1024 tokens, SmolLM2-135M: 344 MiB stay instead of 546."""


class CTranslate2(PlainRun):
    """``engine.name: ctranslate2``."""

    name = "ctranslate2"
    takes_as_planned = True
    key_variable = "TACHO_SERVER_API_KEY"

    def command(self, config: RuntimeConfig, model_path: str) -> tuple[str, ...]:
        return command(config, model_path)

    def environment(self, _config: RuntimeConfig) -> Mapping[str, str]:
        return GIVES_BACK

    def needs(self, config: RuntimeConfig) -> Needs:
        return needs(config)

    def read(self, figures: EngineFigures, line: str) -> EngineFigures:
        return signs.read(figures, line)

    def classify(self, end: Exit, lines: Sequence[str]) -> Failure:
        return classify("CTranslate2", end, lines, signs.SIGNS)


RUN: RunHalf = CTranslate2()
