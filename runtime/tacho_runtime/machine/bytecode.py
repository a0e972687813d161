"""Compiled Python code of an engine whose image has none, kept beside what the engine compiles itself.

vLLM starts with three imports of itself, one after the other in three processes. Where every module is
compiled anew, 0.26 takes 18 s for each (beside an H200). That is so in a container that cannot be written
and whose image was built without bytecode, as vLLM's own are: uv compiles nothing unless it is told to.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

PREFIX = "PYTHONPYCACHEPREFIX"
"""Python reads and writes bytecode below this folder, and nowhere else."""
NEVER_WRITTEN = "PYTHONDONTWRITEBYTECODE"
FOLDER = "bytecode"
MOST = 0.5
"""Part of the packages that carry bytecode from which on they count as compiled."""


def is_compiled(folders: Sequence[Path], package: str) -> bool | None:
    """Whether ``package``, the engine's, carries bytecode; where it is not there, whether most packages do.

    None where no package is to be seen.
    """
    named = (folder / package / "__init__.py" for folder in folders)
    found = [first for first in named if first.exists()] or [
        first for folder in folders for first in sorted(folder.glob("*/__init__.py"))
    ]
    carried = sum(any((first.parent / "__pycache__").glob("__init__.*.pyc")) for first in found)
    return carried >= MOST * len(found) if found else None


def variables(environment: Mapping[str, str], *, compiled: bool | None, cache_dir: str) -> dict[str, str]:
    """``environment`` of the engine, with a place for bytecode where it has none.

    Whoever has said where bytecode belongs is left alone: in an image that carries its own, or by ``PREFIX``.
    """
    if compiled is not False or not cache_dir or PREFIX in environment:
        return dict(environment)
    kept = {name: value for name, value in environment.items() if name != NEVER_WRITTEN}
    return {**kept, PREFIX: f"{cache_dir}/{FOLDER}"}
