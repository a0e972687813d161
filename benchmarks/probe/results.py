"""Results that say where they come from, and can be gone on with after a stop."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from tacho_contract import __version__

FOLDER = Path(__file__).parent / "results"
ROOT = Path(__file__).parents[2]


def header(*packages: str, versions: Mapping[str, str] | None = None) -> dict[str, Any]:
    """The command, the machine and how busy it was before, and the versions of ``packages``; ``versions``:
    of what has an environment of its own."""
    return {
        "command": shlex.join(["python", "-m", _module(), *map(without_place, sys.argv[1:])]),
        "began": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "commit": _commit(),
        "cpu": _cpu(),
        "cpus": len(os.sched_getaffinity(0)),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "loadavg": round(os.getloadavg()[0], 2),
        "tacho": __version__,
        "packages": {name: _version(name) for name in packages} | dict(versions or {}),
    }


def without_place(argument: str) -> str:
    """``argument`` of a command without where on this machine its path lies: what is in the checkout is told
    from there on, of what is not the name is left."""
    option, equals, value = argument.rpartition("=")
    path = Path(value)
    if not path.is_absolute():
        return argument
    inside = path.is_relative_to(ROOT)
    return f"{option}{equals}{path.relative_to(ROOT) if inside else path.name}"


def version_there(python: Path, package: str) -> str:
    """The version of ``package`` in the environment of another interpreter; "": it is not there."""
    code = f"import importlib.metadata as found; print(found.version({package!r}))"
    done = subprocess.run([python, "-c", code], capture_output=True, text=True, check=False)
    return done.stdout.strip()


class Cells:
    """One JSON file, written after each cell. ``again``: what it holds already is measured anew."""

    def __init__(
        self, path: Path, *packages: str, again: bool = False, versions: Mapping[str, str] | None = None
    ) -> None:
        self.path = path
        kept = json.loads(path.read_text()) if path.exists() and not again else {}
        self.runs: list[dict[str, Any]] = [*kept.get("runs", []), header(*packages, versions=versions)]
        self.cells: dict[str, Any] = kept.get("cells", {})
        self.summary: dict[str, Any] = {}
        self._conditions: dict[str, Any] = kept.get("summary", {})

    def __contains__(self, name: str) -> bool:
        return name in self.cells

    def put(self, name: str, cell: Any) -> None:
        self.cells[name] = cell
        self.write()

    def keep_only(self, **conditions: Any) -> None:
        """Forgets the cells if they were measured under other conditions than these, or unknown ones."""
        if any(self._conditions.get(name) != value for name, value in conditions.items()):
            self.cells = {}

    def write(self, **summary: Any) -> None:
        self.summary |= summary
        self.path.parent.mkdir(parents=True, exist_ok=True)
        document = {"runs": self.runs, "summary": self.summary, "cells": self.cells}
        self.path.write_text(json.dumps(document, indent=1, default=_plain) + "\n")


def table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Aligned text; None is shown as -."""
    shown = [list(columns), *([_shown(value) for value in row] for row in rows)]
    widths = [max(len(row[at]) for row in shown) for at in range(len(columns))]
    lines = ([text.rjust(width) for text, width in zip(row, widths, strict=True)] for row in shown)
    return "\n".join(map("  ".join, lines))


def _shown(value: object) -> str:
    if value is None:
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _plain(value: object) -> object:
    return sorted(value) if isinstance(value, set | frozenset) else str(value)


def _module() -> str:
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    return spec.name if spec else Path(sys.argv[0]).name


def _commit() -> str:
    done = subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    return done.stdout.strip()


def _cpu() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return ""
