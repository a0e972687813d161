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
    api_key_variable = ""
    version_path = "/version"
    signs: tuple[Sign, ...] = ()
    """The engine's own."""

    def version(self, document: Mapping[str, object]) -> str:
        version = document.get("version")
        return version if isinstance(version, str) else ""

    def health_path(self, _config: RuntimeConfig) -> str:
        return HEALTH_PATH

    def environment(self, _config: RuntimeConfig) -> Mapping[str, str]:
        return {}

    def needs(self, _config: RuntimeConfig) -> Needs:
        return Needs()

    def read(self, figures: EngineFigures, _line: str) -> EngineFigures:
        return figures

    def telling(self, line: str) -> bool:
        return telling(self.signs, line)
