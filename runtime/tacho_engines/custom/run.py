"""An engine the person brings, as the runtime starts and reads it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tacho_contract.failure import Failure
from tacho_contract.launch import RuntimeConfig
from tacho_contract.pod import HEALTH_PATH
from tacho_engines.base import Exit, RunHalf
from tacho_engines.custom.command import command
from tacho_engines.custom.signs import SIGNS
from tacho_engines.shared.caches import vllm_caches
from tacho_engines.shared.plain_run import PlainRun
from tacho_engines.shared.signs import classify


class Custom(PlainRun):
    """``engine.name: custom``."""

    name = "custom"
    users_command = True
    signs = SIGNS

    def api_key_variable(self, config: RuntimeConfig) -> str:
        return config.custom.api_key_variable if config.custom else ""

    def version_path(self, config: RuntimeConfig) -> str:
        return config.custom.version_path if config.custom else ""

    def health_path(self, config: RuntimeConfig) -> str:
        return config.custom.health_path if config.custom else HEALTH_PATH

    def command(self, config: RuntimeConfig, model_path: str) -> tuple[str, ...]:
        return command(config, model_path)

    def environment(self, config: RuntimeConfig) -> Mapping[str, str]:
        """As most servers on PyTorch read them."""
        return vllm_caches(config)

    def classify(self, end: Exit, lines: Sequence[str]) -> Failure:
        return classify("the engine", end, lines, SIGNS)


RUN: RunHalf = Custom()
