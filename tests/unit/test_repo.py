"""Guards over the repository itself: mistakes that no other test would notice."""

from __future__ import annotations

import ast
import re
import subprocess
from pathlib import Path

import pytest
import tomllib
import yaml

from tacho_cli.main import app
from tacho_contract import __version__
from tacho_engines.registry import engine_profiles
from tools import pictures

ROOT = Path(__file__).resolve().parents[2]


def tracked(*patterns: str) -> list[Path]:
    """Files under version control, or all files of an exported tree."""
    done = subprocess.run(
        ["git", "ls-files", *patterns], cwd=ROOT, capture_output=True, text=True, check=False
    )
    found = [ROOT / name for name in done.stdout.split()]
    if done.returncode:
        parts = (pattern.partition("*") for pattern in patterns)
        found = [path for folder, _, end in parts for path in (ROOT / folder).rglob(f"*{end}")]
    found = [path for path in found if path.is_file()]
    assert found, patterns
    return found


def test_source_roots_are_not_packages() -> None:
    """operator/__init__.py would shadow the standard library's module: no Python here would start."""
    assert not (ROOT / "operator" / "__init__.py").exists()
    assert not (ROOT / "runtime" / "__init__.py").exists()


def test_there_is_one_version() -> None:
    chart = yaml.safe_load((ROOT / "charts" / "tacho" / "Chart.yaml").read_text())
    assert chart["version"] == chart["appVersion"] == __version__


def test_locks_have_hashes_and_no_addresses() -> None:
    locks = sorted((ROOT / "requirements").glob("*.txt"))
    assert locks
    for lock in locks:
        text = lock.read_text()
        assert "://" not in text, lock.name
        for entry in re.split(r"\n(?=[a-z0-9])", re.sub(r"^\s*#.*\n", "", text, flags=re.M).strip()):
            assert "--hash=sha256:" in entry, f"{lock.name}: {entry[:60]}"


def test_every_requirement_source_has_a_lock() -> None:
    folder = ROOT / "requirements"
    assert {path.stem for path in folder.glob("*.in")} <= {path.stem for path in folder.glob("*.txt")}


def test_every_package_is_installed_checked_and_held_to_the_laws() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]
    places = {path.parent.name: path.parent for path in ROOT.glob("*/tacho_*/__init__.py")}
    wheel = project["hatch"]["build"]["targets"]["wheel"]["packages"]
    assert set(wheel) == {path.relative_to(ROOT).as_posix() for path in places.values()}
    # What judges the probe or the simulator is believed as they are.
    assert set(project["mypy"]["packages"]) == {*places, "benchmarks.probe", "benchmarks.simulator"}
    assert set(project["importlinter"]["root_packages"]) == set(places)
    alone = next(law for law in project["importlinter"]["contracts"] if law["name"].startswith("Launchers"))
    said = {word for row in engine_profiles() for word in row.local.entrypoint if word.startswith("tacho_")}
    assert set(alone["source_modules"]) == said | {"tacho_server"}, "which launchers share"


def test_an_engine_that_is_a_package_can_be_asked_for() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    for row in engine_profiles():
        assert not row.local.package or any(row.local.package in need for need in extras[row.name]), row.name


def test_files_stay_small() -> None:
    """400 lines are a hard ceiling: beyond it a file holds more than one idea."""
    long = {
        str(path.relative_to(ROOT)): lines
        for path in tracked("operator/*.py", "runtime/*.py", "tools/*.py", "tests/*.py", "benchmarks/*.py")
        if (lines := len(path.read_text().splitlines())) > 400
    }
    assert long == {}


def test_functions_stay_small() -> None:
    """60 lines and seven parameters at most; the commands of the CLI have a parameter for each option."""
    verbs = {item.callback.__code__ for item in app.registered_commands if item.callback}
    exempt = {(code.co_filename, code.co_name) for code in verbs}
    long = []
    for path in tracked("operator/*.py", "runtime/*.py"):
        for item in ast.walk(ast.parse(path.read_text())):
            if not isinstance(item, ast.FunctionDef | ast.AsyncFunctionDef):
                continue
            given = (*item.args.posonlyargs, *item.args.args, *item.args.kwonlyargs)
            lines = (item.end_lineno or item.lineno) - item.lineno + 1
            parameters = len({one.arg for one in given} - {"self", "cls"})
            if (lines > 60 or parameters > 7) and (str(path), item.name) not in exempt:
                long.append(f"{path.relative_to(ROOT)}: {item.name}: {lines} lines, {parameters} parameters")
    assert long == []


def test_recorded_resources_are_yaml() -> None:
    """A reader feeds them to kubectl or to a parser: no command stands above them."""
    for path in tracked("docs/*.yaml", "benchmarks/*.yaml"):
        for document in yaml.load_all(path.read_text(), yaml.CSafeLoader):
            assert isinstance(document, dict), path


def test_nothing_outside_the_tests_imports_them() -> None:
    found = []
    for path in tracked("operator/*.py", "runtime/*.py", "tools/*.py", "benchmarks/*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [item.name for item in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and not node.level:
                names = [node.module or ""]
            found += [f"{path.relative_to(ROOT)}: {name}" for name in names if name.split(".")[0] == "tests"]
    assert found == []


FIGURES_OF_THE_README = (
    (r"tacho judged all (\d+) published starts", "fits", r"right about {} of 35 published starts"),
    (r"tacho kept ([\d.]+%) of requests within their SLO", "autoscaling", r"- tacho kept {} of requests"),
    (r"A tuned HPA kept ([\d.]+%)", "autoscaling", r"HPA on [a-z ]+, tuned, kept {} for"),
    (
        r"caught (\d+%) of revisions that were made 15% slower",
        "gate",
        r"caught {} of revisions made 15% slower",
    ),
    (r"model (\d+ to \d+%) more tokens per second", "defaults", r"gave {} more tokens per second"),
)
"""Figure of README.md in its sentence; the page of docs/evidence; the sentence there."""


@pytest.mark.parametrize(("pattern", "page", "words"), FIGURES_OF_THE_README)
def test_the_figures_of_the_readme_are_those_of_its_pages(pattern: str, page: str, words: str) -> None:
    readme, evidence = (
        " ".join((ROOT / name).read_text().split()) for name in ("README.md", f"docs/evidence/{page}.md")
    )
    (figure,) = re.findall(pattern, readme)
    assert re.search(words.format(re.escape(figure)), evidence), figure


def test_the_readme_names_the_best_of_the_other_estimators() -> None:
    readme, planner = (
        " ".join((ROOT / name).read_text().split()) for name in ("README.md", "benchmarks/lab/planner.md")
    )
    right = {name: int(count) for name, count in re.findall(r"\| (\S+) \| (\d+) of 35 \|", planner)}
    (best,) = re.findall(r"The best of three public formulas,.*? got (\d+) of them right", readme)
    assert int(best) == max(right[name] for name in ("KAITO", "gpustack", "hf-mem"))


def test_the_rows_of_the_readme_are_those_of_recorded_pods() -> None:
    rows = re.findall(r"^(llama-8b-\S+) .*$", (ROOT / "README.md").read_text(), flags=re.M)
    text = (ROOT / "README.md").read_text()
    assert len(rows) == 3
    shown = yaml.load(pictures.RESOURCE.read_text(), yaml.CSafeLoader)["status"]["measurements"]
    assert f"measured in {shown[0]['probeSeconds']} seconds" in text
    for name in rows:
        raw = (ROOT / f"benchmarks/gpu/h200/vllm-0.32-pods/{name}/resource.yaml").read_text()
        summary = yaml.load(raw, yaml.CSafeLoader)["status"]["summary"]
        (line,) = re.findall(rf"^{name} +(.*)$", text, flags=re.M)
        for key in ("outputTokensPerSecondShown", "ttftMillisecondsShown", "costShown"):
            assert str(summary[key]) in line, (name, key)


def test_what_the_readme_names_exists() -> None:
    text = (ROOT / "README.md").read_text()
    makefile = (ROOT / "Makefile").read_text()
    targets = re.findall(r"^make ([a-z-]+)", text, flags=re.M)
    assert targets
    for target in targets:
        assert re.search(rf"^{target}:", makefile, flags=re.M), target
    for link in re.findall(r"\]\(([^)#:]+)\)", text):
        assert (ROOT / link).exists(), link
