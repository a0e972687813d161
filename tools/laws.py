"""Laws of the imports that import-linter has no words for."""

from __future__ import annotations

from typing import Any

from importlinter.contracts.independence import IndependenceContract

from tacho_engines.registry import ENGINES


class EnginesKnowNothingOfEachOther(IndependenceContract):
    """Independence of the folders of all engines that the registry names, so that a new one is held to it."""

    def __init__(self, name: str, session_options: dict[str, Any], contract_options: dict[str, Any]) -> None:
        modules = [f"tacho_engines.{engine}" for engine in ENGINES]
        super().__init__(name, session_options, {**contract_options, "modules": modules})
