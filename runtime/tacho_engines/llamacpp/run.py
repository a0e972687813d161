"""llama.cpp's server, as the runtime starts and reads it; its launcher is ``tacho_llamacpp``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tacho_contract.failure import Failure
from tacho_contract.launch import RuntimeConfig
from tacho_engines.base import EngineFigures, Exit, RunHalf
from tacho_engines.llamacpp import log
from tacho_engines.llamacpp.command import command
from tacho_engines.llamacpp.signs import SIGNS
from tacho_engines.shared.plain_run import PlainRun
from tacho_engines.shared.signs import classify


class LlamaCpp(PlainRun):
    """``engine.name: llamacpp``."""

    name = "llamacpp"
    takes_as_planned = True
    key_variable = "LLAMA_API_KEY"
    tells_version = "/props"
    signs = SIGNS

    def version(self, document: Mapping[str, object]) -> str:
        """A build number and commit; builds outside of llama.cpp's repository call themselves b0."""
        build = document.get("build_info")
        return build if isinstance(build, str) and not build.startswith("b0") else ""

    def command(self, config: RuntimeConfig, model_path: str) -> tuple[str, ...]:
        return command(config, model_path)

    def read(self, figures: EngineFigures, line: str) -> EngineFigures:
        return log.read(figures, line)

    def classify(self, end: Exit, lines: Sequence[str]) -> Failure:
        return classify("llama-server", end, lines, SIGNS)


RUN: RunHalf = LlamaCpp()
