"""Laws of the imports that import-linter has no words for. Engines are those that the registry names, so that
a new one is held to them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from grimp import ImportGraph
from importlinter import Contract, ContractCheck, fields, output
from importlinter.contracts.independence import IndependenceContract

from tacho_engines.registry import ENGINES

ENGINES_PACKAGE = "tacho_engines"
OPERATOR = frozenset({"tacho_operator", "tacho_cli", "tacho_simulate"})
"""Packages that import the planner's side of engines."""
ENTRY_MODULES = {"plan": ("plan",), "run": ("run",)}
"""The modules of an engine's folder that the registry and ``run_parts`` load by name, by side."""


class EnginesKnowNothingOfEachOther(IndependenceContract):
    """Independence of the folders of all engines."""

    def __init__(self, name: str, session_options: dict[str, Any], contract_options: dict[str, Any]) -> None:
        modules = [f"{ENGINES_PACKAGE}.{engine}" for engine in ENGINES]
        super().__init__(name, session_options, {**contract_options, "modules": modules})


class Sides(Contract):
    """The planner's side of tacho_engines and the runtime's share only modules that belong to both.

    ``plan``, ``run`` and ``both`` name everything in tacho_engines beside the engines' folders. Of a folder,
    a file is of the side whose entry modules import it. The operator may import the first, the runtime the
    second, neither a folder: engines come from the registry.
    """

    plan = fields.ListField(subfield=fields.StringField())
    run = fields.ListField(subfield=fields.StringField())
    both = fields.ListField(subfield=fields.StringField())

    def check(self, graph: ImportGraph, verbose: bool) -> ContractCheck:  # noqa: ARG002 - as the base
        broken = [*self._misplaced(graph), *self._crossing(graph)]
        return ContractCheck(kept=not broken, metadata={"broken": broken})

    def render_broken_contract(self, check: ContractCheck) -> None:
        for line in check.metadata["broken"]:
            output.print_error(line)

    def _misplaced(self, graph: ImportGraph) -> Iterator[str]:
        listed = {f"{ENGINES_PACKAGE}.{name}" for name in (*self.plan, *self.run, *self.both)}
        engines = {f"{ENGINES_PACKAGE}.{engine}" for engine in ENGINES}
        for module in sorted(graph.find_descendants(ENGINES_PACKAGE)):
            holds_listed = any(name.startswith(f"{module}.") for name in listed)
            if not holds_listed and not _within(module, listed | engines):
                yield f"{module}: name its side in pyproject.toml"
        yield from (f"{module}: listed, and not there" for module in sorted(listed - graph.modules))
        for engine in ENGINES:
            by_side = {side: _modules_of(graph, engine, side) for side in ENTRY_MODULES}
            for module in sorted(graph.find_children(f"{ENGINES_PACKAGE}.{engine}")):
                owners = [side for side, modules in by_side.items() if module in modules]
                if len(owners) != 1:
                    yield f"{module}: of {' and '.join(owners) or 'no side'}, and not of one"

    def _crossing(self, graph: ImportGraph) -> Iterator[str]:
        for source, allowed in self._allowed(graph).items():
            for imported in sorted(graph.find_modules_directly_imported_by(source)):
                if imported.startswith("tacho_") and not _within(imported, allowed):
                    yield f"{source} -> {imported} is not allowed"

    def _allowed(self, graph: ImportGraph) -> Mapping[str, frozenset[str]]:
        """What each module may import of this project, itself or anything inside it."""
        both = frozenset({"tacho_contract", *(f"{ENGINES_PACKAGE}.{name}" for name in self.both)})
        sides = {
            side: both | {f"{ENGINES_PACKAGE}.{name}" for name in names}
            for side, names in (("plan", self.plan), ("run", self.run))
        }
        found: dict[str, frozenset[str]] = {}
        for module in graph.modules:
            if _within(module, OPERATOR):
                found[module] = sides["plan"] | OPERATOR
            elif _within(module, {"tacho_runtime"}):
                found[module] = sides["run"] | {"tacho_runtime"}
            elif _within(module, {f"{ENGINES_PACKAGE}.{name}" for name in self.both}):
                found[module] = both
            else:
                found.update((module, side) for side in sides.values() if _within(module, side - both))
        for engine in ENGINES:
            for side, allowed in sides.items():
                own = _modules_of(graph, engine, side)
                found |= {module: allowed | own for module in own}
        return found


def _modules_of(graph: ImportGraph, engine: str, side: str) -> frozenset[str]:
    """Modules in the engine's folder that the entry modules of ``side`` are or import."""
    folder = f"{ENGINES_PACKAGE}.{engine}"
    entries = {f"{folder}.{entry}" for entry in ENTRY_MODULES[side]} & graph.modules
    reached = {module for entry in entries for module in graph.find_upstream_modules(entry)}
    return frozenset(entries | {module for module in reached if module.startswith(f"{folder}.")})


def _within(module: str, packages: frozenset[str] | set[str]) -> bool:
    return any(module == package or module.startswith(f"{package}.") for package in packages)
