"""Laws of the imports that import-linter has no words for. Engines are those that the registry names, so that
a new one is held to them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from grimp import ImportGraph
from importlinter import Contract, ContractCheck, fields, output
from importlinter.contracts.independence import IndependenceContract

from tacho_engines.registry import ENGINES

ROOM = "tacho_engines"
OPERATOR = frozenset({"tacho_operator", "tacho_cli", "tacho_simulate"})
"""Packages that rest on the half of the plan."""
DOORS = {"plan": ("plan",), "run": ("run",)}
"""The modules of an engine's folder that the registry and ``run_parts`` load by name, by half."""


class EnginesKnowNothingOfEachOther(IndependenceContract):
    """Independence of the folders of all engines."""

    def __init__(self, name: str, session_options: dict[str, Any], contract_options: dict[str, Any]) -> None:
        modules = [f"{ROOM}.{engine}" for engine in ENGINES]
        super().__init__(name, session_options, {**contract_options, "modules": modules})


class Halves(Contract):
    """The plan's half of tacho_engines and the run's share only modules that belong to both.

    ``plan``, ``run`` and ``both`` name everything in tacho_engines beside the engines' folders. Of a folder,
    a file is of the half whose doors import it. The operator may import the first, the runtime the second,
    neither a folder: engines come from the registry.
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
        listed = {f"{ROOM}.{name}" for name in (*self.plan, *self.run, *self.both)}
        engines = {f"{ROOM}.{engine}" for engine in ENGINES}
        for module in sorted(graph.find_descendants(ROOM)):
            holds_listed = any(name.startswith(f"{module}.") for name in listed)
            if not holds_listed and not _within(module, listed | engines):
                yield f"{module}: name its half in pyproject.toml"
        yield from (f"{module}: listed, and not there" for module in sorted(listed - graph.modules))
        for engine in ENGINES:
            halves = {half: _of_half(graph, engine, half) for half in DOORS}
            for module in sorted(graph.find_children(f"{ROOM}.{engine}")):
                owners = [half for half, modules in halves.items() if module in modules]
                if len(owners) != 1:
                    yield f"{module}: of {' and '.join(owners) or 'no half'}, and not of one"

    def _crossing(self, graph: ImportGraph) -> Iterator[str]:
        for source, allowed in self._allowed(graph).items():
            for imported in sorted(graph.find_modules_directly_imported_by(source)):
                if imported.startswith("tacho_") and not _within(imported, allowed):
                    yield f"{source} -> {imported} is not allowed"

    def _allowed(self, graph: ImportGraph) -> Mapping[str, frozenset[str]]:
        """What each module may import of this project, itself or anything inside it."""
        both = frozenset({"tacho_contract", *(f"{ROOM}.{name}" for name in self.both)})
        sides = {
            half: both | {f"{ROOM}.{name}" for name in names}
            for half, names in (("plan", self.plan), ("run", self.run))
        }
        found: dict[str, frozenset[str]] = {}
        for module in graph.modules:
            if _within(module, OPERATOR):
                found[module] = sides["plan"] | OPERATOR
            elif _within(module, {"tacho_runtime"}):
                found[module] = sides["run"] | {"tacho_runtime"}
            elif _within(module, {f"{ROOM}.{name}" for name in self.both}):
                found[module] = both
            else:
                found.update((module, side) for side in sides.values() if _within(module, side - both))
        for engine in ENGINES:
            for half, side in sides.items():
                own = _of_half(graph, engine, half)
                found |= {module: side | own for module in own}
        return found


def _of_half(graph: ImportGraph, engine: str, half: str) -> frozenset[str]:
    """Modules in the engine's folder that the doors of ``half`` are or import."""
    folder = f"{ROOM}.{engine}"
    doors = {f"{folder}.{door}" for door in DOORS[half]} & graph.modules
    reached = {module for door in doors for module in graph.find_upstream_modules(door)}
    return frozenset(doors | {module for module in reached if module.startswith(f"{folder}.")})


def _within(module: str, packages: frozenset[str] | set[str]) -> bool:
    return any(module == package or module.startswith(f"{package}.") for package in packages)
