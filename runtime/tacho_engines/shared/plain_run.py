"""What a half of the run says where its engine has nothing of its own to say."""

from __future__ import annotations

from collections.abc import Mapping

from tacho_contract.launch import RuntimeConfig
from tacho_contract.pod import HEALTH_PATH
from tacho_engines.base import EngineFigures, Needs
from tacho_engines.shared.signs import Sign, telling


class PlainRun:
    """A server whose image is known, at its usual paths, with no variables of its own and a log that tells no
    figures."""

    users_command = False
    key_variable = ""
    """``api_key_variable``, whatever the configuration."""
    tells_version = "/version"
    """``version_path``, whatever the configuration."""
    takes_as_planned = False
    """Whether the plan's concurrency is the most it answers at a time."""
    signs: tuple[Sign, ...] = ()
    """The engine's own."""

    def api_key_variable(self, _config: RuntimeConfig) -> str:
        return self.key_variable

    def version_path(self, _config: RuntimeConfig) -> str:
        return self.tells_version

    def version(self, document: Mapping[str, object]) -> str:
        version = document.get("version")
        return version if isinstance(version, str) else ""

    def health_path(self, _config: RuntimeConfig) -> str:
        return HEALTH_PATH

    def environment(self, _config: RuntimeConfig) -> Mapping[str, str]:
        return {}

    def slots(self, config: RuntimeConfig) -> int:
        return config.concurrency if self.takes_as_planned else 0

    def needs(self, _config: RuntimeConfig) -> Needs:
        return Needs()

    def read(self, figures: EngineFigures, _line: str) -> EngineFigures:
        return figures

    def telling(self, line: str) -> bool:
        return telling(self.signs, line)
