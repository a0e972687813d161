"""Breaks the core on purpose, one decision at a time, and prints every change that no test notices.

python -m tools.mutation [FILE or FOLDER of operator/tacho_operator/core …]

mutmut knows neither source roots nor properties. So it works on a copy in build/mutation: the packages lie
at its top, as they are imported, and ``@property`` is written as a call, which leaves a plain function.
"""

from __future__ import annotations

import ast
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CORE = ROOT / "operator/tacho_operator/core"
BUILD = ROOT / "build/mutation"
PACKAGES = BUILD / "packages"
"""mutmut and what it needs, beside the virtual environment instead of in it."""
TREE = BUILD / "tree"
MUTANTS = TREE / "mutants"
SOURCE_ROOTS = ("operator", "runtime")
TESTS = ("tests/unit/core", "tests/unit/autoscaling", "tests/unit/planner")
OF_SOURCES = "tests/unit/autoscaling/test_page.py"
"""It counts lines of the sources, which have more in the copy."""
MUTATED_PACKAGE = "tacho_operator"
SURVIVED, NO_TESTS = (0,), (5, 33)
"""mutmut's exit codes of a mutant."""
LEFT_OUT = shutil.ignore_patterns("__pycache__", "build", "dist", ".*")


@dataclass(frozen=True)
class Survivor:
    """A change that no test noticed."""

    place: str
    """File and line, from the repository's root."""
    change: tuple[str, ...]
    """The change as lines of a diff."""
    untested: bool
    """No test runs the function at all."""


def copy_tree() -> None:
    """The repository as mutmut wants it: importable from its top, nothing of an earlier run."""
    shutil.rmtree(TREE, ignore_errors=True)
    shutil.copytree(ROOT, TREE, ignore=LEFT_OUT)
    for source in (TREE / name for name in SOURCE_ROOTS):
        for item in source.iterdir():
            item.rename(TREE / item.name)
        source.rmdir()


def without_property_decorators(text: str) -> str:
    """``@property`` above a method becomes ``name = property(name)`` below it; no line moves."""
    lines = text.split("\n")
    methods = (
        item
        for owner in ast.walk(ast.parse(text))
        if isinstance(owner, ast.ClassDef)
        for item in owner.body
        if isinstance(item, ast.FunctionDef)
    )
    for method in methods:
        match method.decorator_list:
            case [ast.Name(id="property") as decorator]:
                after = method.end_lineno or 0
                if after < len(lines) and not lines[after].strip():
                    indent = " " * method.col_offset
                    lines[decorator.lineno - 1] = f"{indent}# a property"
                    lines[after] = f"{indent}{method.name} = property({method.name})"
    return "\n".join(lines) + ("" if text.endswith("\n") and not lines[-1] else "\n")


def configure(targets: Iterable[Path]) -> None:
    """Tells mutmut what to break and which tests to ask."""
    wanted = [str(path.relative_to(ROOT / "operator")) + ("/*" if path.is_dir() else "") for path in targets]
    beside = sorted(path.name for path in TREE.iterdir() if path.name != MUTATED_PACKAGE)
    settings = {
        "source_paths": [MUTATED_PACKAGE],
        "only_mutate": wanted,
        "also_copy": beside,
        # The same examples for every mutant: a verdict must not depend on luck.
        "pytest_add_cli_args": ["-p", "no:cacheprovider", "--hypothesis-seed=0", f"--ignore={OF_SOURCES}"],
        "pytest_add_cli_args_test_selection": list(TESTS),
        "use_git_change_detection": False,
    }
    with (TREE / "pyproject.toml").open("a") as file:
        file.write("\n[tool.mutmut]\n")
        for name, value in settings.items():
            file.write(f"{name} = {json.dumps(value)}\n")
    for path in (TREE / MUTATED_PACKAGE / "core").rglob("*.py"):
        path.write_text(without_property_decorators(path.read_text()))


def run_mutmut() -> int:
    """Tries all mutants, each with the tests that run its function; the exit code."""
    command = [sys.executable, "-m", "mutmut", "run", "--max-children", str(os.cpu_count() or 1)]
    return subprocess.run(command, cwd=TREE, env=_environment(), check=False).returncode


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(PACKAGES), "PYTHONDONTWRITEBYTECODE": "1"}


def survivors() -> Iterator[Survivor]:
    """The surviving mutations in mutmut's notes, each as a place and a change."""
    from mutmut.mutation.diff_apply import get_diff_for_mutant  # type: ignore[import-not-found]  # own folder

    for notes in sorted(MUTANTS.rglob("*.py.meta")):
        path = notes.relative_to(MUTANTS).with_suffix("")
        source = (TREE / path).read_text().split("\n")
        for name, code in json.loads(notes.read_text())["exit_code_by_key"].items():
            if code in (*SURVIVED, *NO_TESTS):
                function, change = _function(name), get_diff_for_mutant(name, path=path).split("\n")[2:]
                line = _line(source, function, change)
                lines = tuple(text for text in change if text[:1] in "+-")
                yield Survivor(f"operator/{path}:{line}", lines, code in NO_TESTS)


def _function(mutant: str) -> str:
    """``a.b.x_name__mutmut_3`` and ``a.b.xǁClassǁname__mutmut_3`` are of ``name``."""
    mangled = mutant.rpartition(".")[2].partition("__mutmut_")[0]
    return mangled.rpartition("ǁ")[2] if "ǁ" in mangled else mangled.removeprefix("x_")


def _line(source: list[str], function: str, change: list[str]) -> int:
    """Where the first changed line stands: the place nearest to its distance from a function of that name."""
    removed = next((text[1:].strip() for text in change if text.startswith("-")), "")
    hunk = next(text for text in change if text.startswith("@@"))
    before = [text for text in change[change.index(hunk) + 1 :] if not text.startswith("+")]
    offset = int(hunk.split()[1].split(",")[0].removeprefix("-")) - 1
    offset += next((number for number, text in enumerate(before) if text.startswith("-")), 0)
    head = (f"def {function}(", f"def {function}[")
    starts = [number for number, text in enumerate(source) if text.strip().startswith(head)]
    places = [number for number, text in enumerate(source) if text.strip() == removed]
    distances = [(abs(place - start - offset), place) for place in places for start in starts]
    return min(distances)[1] + 1 if distances else (starts or [0])[0] + 1


def report(found: list[Survivor], tried: int) -> None:
    """Prints the survivors by place, and how many were tried."""
    for survivor in found:
        print(survivor.place + ("  (no test runs this)" if survivor.untested else ""))
        print("\n".join(f"    {line}" for line in survivor.change))
    print(f"{len(found)} of {tried} changes went unnoticed")


def main(arguments: list[str]) -> int:
    targets = [(ROOT / argument).resolve() for argument in arguments] or [CORE]
    for path in targets:
        if not path.exists() or not path.is_relative_to(CORE):
            print(f"{path} is not a file or folder in {CORE.relative_to(ROOT)}")
            return 2
    copy_tree()
    configure(targets)
    if code := run_mutmut():
        return code
    sys.path.insert(0, str(PACKAGES))
    os.chdir(TREE)
    tried = sum(
        len(json.loads(notes.read_text())["exit_code_by_key"]) for notes in MUTANTS.rglob("*.py.meta")
    )
    report(list(survivors()), tried)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
