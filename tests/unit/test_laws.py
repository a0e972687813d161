"""Every law of the imports refuses what it was made against: a copy of the tree gets one import too many."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = [
    str(path.relative_to(ROOT)) for half in ("operator", "runtime") for path in ROOT.glob(f"{half}/tacho_*")
]
PURE = "Decisions are pure"
HUB = "The injected runtime needs nothing"
SIDES = "The operator may import the planner's side"
RUNTIME = "The runtime's packages"
LAYERS = "Effects sit above decisions"
ENGINES = "runtime/tacho_engines"
CORE = "operator/tacho_operator/core"


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    copy = tmp_path_factory.mktemp("tree")
    for package in (*PACKAGES, "tools"):
        shutil.copytree(ROOT / package, copy / package, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", copy)
    return copy


def broken(tree: Path) -> str:
    """What lint-imports says of the tree; "" when no law is broken."""
    paths = [str(tree), str(tree / "operator"), str(tree / "runtime")]
    done = subprocess.run(
        [sys.executable, "-c", "from importlinter.cli import lint_imports_command as c; c()", "--no-cache"],
        cwd=tree,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths), "COLUMNS": "250"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "Contracts:" in done.stdout, done.stdout + done.stderr
    return "" if done.returncode == 0 else done.stdout


def test_the_tree_as_it_is_keeps_them(tree: Path) -> None:
    assert broken(tree) == ""


@pytest.mark.parametrize(
    ("file", "imported", "law"),
    [
        (f"{CORE}/problems.py", "asyncio", PURE),
        (f"{CORE}/planner/fit.py", "kubernetes", PURE),
        (f"{ENGINES}/vllm/memory.py", "asyncio", PURE),
        (f"{CORE}/reconcile.py", "tacho_operator.shell.kube", LAYERS),
        ("operator/tacho_operator/api/types.py", "tacho_operator.core.types", LAYERS),
        ("operator/tacho_cli/main.py", "tacho_operator.shell.kube", LAYERS),
        (f"{CORE}/planner/plan.py", "tacho_engines.llamacpp.run", SIDES),
        (f"{CORE}/planner/plan.py", "tacho_engines.llamacpp.plan", SIDES),
        (f"{CORE}/planner/plan.py", "tacho_engines.run_parts", SIDES),
        ("operator/tacho_operator/shell/kube.py", "tacho_runtime.files", SIDES),
        ("operator/tacho_cli/main.py", "tacho_llamacpp.flags", SIDES),
        ("runtime/tacho_runtime/supervisor/preflight.py", "tacho_engines.llamacpp.plan", SIDES),
        ("runtime/tacho_runtime/supervisor/preflight.py", "tacho_engines.memory.weights", SIDES),
        (f"{ENGINES}/llamacpp/run.py", "tacho_engines.llamacpp.memory", SIDES),
        (f"{ENGINES}/llamacpp/plan.py", "tacho_engines.shared.log_patterns", SIDES),
        (f"{ENGINES}/registry.py", "tacho_engines.vllm.profile", SIDES),
        (f"{ENGINES}/memory/kv.py", "tacho_engines.vllm.settings", SIDES),
        (f"{ENGINES}/vllm/plan.py", "tacho_engines.llamacpp.profile", "Engines know nothing of each other"),
        ("runtime/tacho_contract/model.py", "tacho_engines.base", "The runtime's documents are below"),
        (f"{ENGINES}/base.py", "tacho_runtime.http.metrics", "The runtime's documents are below"),
        ("runtime/tacho_runtime/probe/sequence.py", "tacho_operator.core.types", "The runtime's documents"),
        (
            "runtime/tacho_runtime/probe/sequence.py",
            "tacho_runtime.hub.failures",
            HUB,
        ),
        ("runtime/tacho_runtime/headers/gguf.py", "pydantic", HUB),
        ("runtime/tacho_runtime/machine/sampling.py", "tacho_runtime.probe.target", RUNTIME),
        ("runtime/tacho_runtime/http/metrics.py", "tacho_runtime.supervisor.lifecycle", RUNTIME),
        ("runtime/tacho_runtime/probe/report.py", "tacho_runtime.http.server", RUNTIME),
        ("runtime/tacho_runtime/headers/gguf.py", "tacho_runtime.machine.gpus", RUNTIME),
        ("runtime/tacho_llamacpp/flags.py", "tacho_contract.launch", "Launchers inside engine images"),
    ],
)
def test_one_import_too_many_is_refused(tree: Path, file: str, imported: str, law: str) -> None:
    path = tree / file
    before = path.read_text(encoding="utf-8")
    path.write_text(f"{before}\nimport {imported}\n", encoding="utf-8")
    try:
        said = broken(tree)
    finally:
        path.write_text(before, encoding="utf-8")
    refusals = [line for line in said.splitlines() if line.endswith("BROKEN")]
    assert any(line.startswith(law) for line in refusals), said


def test_a_file_of_an_engine_is_of_one_side(tree: Path) -> None:
    """One that neither side imports has no place; one that both import belongs below the engines."""
    path = tree / ENGINES / "llamacpp" / "stray.py"
    path.write_text('"""Nobody imports this."""\n', encoding="utf-8")
    try:
        assert "tacho_engines.llamacpp.stray: of no side, and not of one" in broken(tree)
    finally:
        path.unlink()
