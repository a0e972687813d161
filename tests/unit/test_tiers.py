"""The runner of the tiers: what counts as failed, and that no tier is left out."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tools import tiers

REPOSITORY = tiers.ROOT
MAKEFILE = (tiers.ROOT / "Makefile").read_text()
WITHOUT_IMAGES = {"properties", "probe", "alerts", "endpoint"}
"""Parts that start no container."""
RUNS = '\t@echo \'<testsuite tests="{}" failures="{}" errors="0" skipped="1"/>\' > build/tiers/{}.xml'


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A Makefile with tiers of every kind."""
    monkeypatch.setattr(tiers, "ROOT", tmp_path)
    monkeypatch.setattr(tiers, "FOLDER", tmp_path / "build" / "tiers")
    targets = {
        "good": RUNS.format(5, 0, "good"),
        "bad": RUNS.format(5, 2, "bad") + "; exit 1",
        "empty": RUNS.format(1, 0, "empty"),
        "silent": "\t@true",
        "broken": RUNS.format(5, 0, "broken") + "; exit 3",
        "slow": "\t@sleep 60",
        "lint": "\t@echo linted",
    }
    lines = [f"{name}:\n{recipe}" for name, recipe in targets.items()]
    (tmp_path / "Makefile").write_text("\n".join(lines) + "\n")
    return tmp_path


def run(name: str, limit_seconds: float | None = None) -> tiers.Tier:
    tier = tiers.start(name, name, shown=False, limit_seconds=limit_seconds)
    tiers.together([tier])
    return tier


@pytest.mark.usefixtures("make")
@pytest.mark.parametrize(
    ("name", "counts", "problem"),
    [
        ("good", (4, 0, 1), ""),
        ("bad", (2, 2, 1), ""),
        ("empty", (0, 0, 1), "no test ran"),
        ("silent", (0, 0, 0), "no test ran"),
        ("broken", (4, 0, 1), "exit status 2"),
        ("lint", (0, 0, 0), ""),
    ],
)
def test_what_a_tier_came_to(name: str, counts: tuple[int, int, int], problem: str) -> None:
    tier = run(name)
    assert (tier.passed, tier.failed, tier.skipped) == counts
    assert tier.problem == problem
    assert tier.ok == (name in ("good", "lint"))


ONCE = """
from pathlib import Path
import os, pytest

def ran(name):
    note = Path(__file__).with_name(f"ran-{name}")
    before, _ = note.exists(), note.touch()
    return before

def test_good():
    pass
"""
FAILS = 'def test_it():\n    assert ran("it")\n'


def again(folder: Path, tests: str, *, name: str = "unit", options: str = "") -> tiers.Tier:
    """A tier of real pytest, which fails in its first run; what failed has run once more where it may."""
    (folder / "test_it.py").write_text(ONCE + tests)
    (folder / "conftest.py").write_text(
        "from tools.whole_run import pytest_sessionfinish as pytest_sessionfinish\n"
    )
    (folder / "pytest.ini").write_text("[pytest]\n")
    command = f"PYTHONPATH={REPOSITORY} {sys.executable} -m pytest {options} test_it.py"
    (folder / "Makefile").write_text(f"{name}:\n\t{command}\n")
    tier = run(name)
    assert not tier.ok
    tiers.repeat_failed([tier])
    return tier


def test_a_test_that_fails_once_is_named_as_flaky(make: Path) -> None:
    tier = again(make, FAILS)
    assert tier.ok
    assert (tier.passed, tier.failed, tier.flaky) == (2, 0, ("test_it.py::test_it",))
    assert tier.line().endswith("flaky: test_it.py::test_it")


MANY = (
    f"@pytest.mark.parametrize('n', range({tiers.MOST_REPEATED + 1}))\ndef test_it(n):\n    assert ran(n)\n"
)
FIXTURE = "@pytest.fixture\ndef late():\n    assert ran('late')\ndef test_it(late):\n    pass\n"


@pytest.mark.parametrize(
    ("tests", "options", "name"),
    [
        pytest.param("def test_it():\n    assert not ran('it') and False\n", "", "unit", id="fails twice"),
        pytest.param(MANY, "", "unit", id="many failures are no coincidence"),
        pytest.param(FAILS, "", "wiring", id="a tier that measures nothing"),
        pytest.param(FIXTURE, "", "unit", id="an error of a fixture"),
        pytest.param(FAILS + "assert ran('collection')\n", "", "unit", id="an error of collection"),
        pytest.param(FAILS + "def test_later():\n    pass\n", "-x", "unit", id="further tests did not run"),
        pytest.param(
            FAILS + "def test_later():\n    ran('exit') or pytest.exit('now')\n",
            "",
            "unit",
            id="ended early",
        ),
        pytest.param(
            "def test_it():\n    ran('it') or os._exit(1)\n",
            "--numprocesses=1",
            "unit",
            id="ended its process",
        ),
    ],
)
def test_what_stays_a_failure(make: Path, tests: str, options: str, name: str) -> None:
    tier = again(make, tests, name=name, options=options)
    assert not tier.ok
    assert tier.failed
    assert tier.flaky == ()


def test_failures_of_an_earlier_run_are_forgotten(make: Path) -> None:
    again(make, "def test_former():\n    assert ran('former')\n")
    tier = again(make, FAILS)
    assert tier.flaky == ("test_it.py::test_it",)


@pytest.mark.usefixtures("make")
def test_a_tier_beyond_its_limit_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tiers, "GRACE_SECONDS", 1)  # a shell's background processes ignore Ctrl-C
    tier = run("slow", limit_seconds=0.5)
    assert tier.problem.startswith("ended after")
    assert not tier.ok


def test_a_longer_soak_has_as_much_more_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TACHO_SOAK_SECONDS", raising=False)
    before = {part: tiers.limit_of(part) for part in tiers.NIGHTLY_MINUTES}
    assert before == {part: 60 * minutes for part, minutes in tiers.NIGHTLY_MINUTES.items()}
    monkeypatch.setenv("TACHO_SOAK_SECONDS", "3600")
    assert {part: tiers.limit_of(part) - before[part] for part in before} == {
        part: 3000 * (part == "soak") for part in before
    }


def planned(*arguments: str) -> list[str]:
    """Commands that make would run."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("MAKE")}
    command = ["make", "--dry-run", "--no-print-directory", *arguments]
    done = subprocess.run(
        command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=True
    )
    return done.stdout.splitlines()


@pytest.mark.parametrize("part", tiers.NIGHTLY_MINUTES)
def test_a_part_that_runs_by_itself_builds_what_it_needs(part: str) -> None:
    *needed, _ = planned("nightly", f"PART={part}")
    assert planned(f"nightly-{part}")[: len(needed)] == needed
    assert any("tools.images build" in line for line in needed) == (part not in WITHOUT_IMAGES)


def test_every_tier_and_part_runs() -> None:
    def listed(variable: str) -> list[str]:
        found = re.search(rf"^{variable} := (.*)$", MAKEFILE, flags=re.M)
        assert found
        return sorted(found[1].split())

    assert sorted(name for group in tiers.CI for name in group) == listed("TIERS")
    assert sorted(tiers.NIGHTLY_MINUTES) == listed("PARTS")
    assert sum(tiers.NIGHTLY_MINUTES.values()) <= 150


def test_what_ci_leaves_out_runs_nightly() -> None:
    recipes = re.findall(r"^nightly-\w+: .*\n\t(.*)$", MAKEFILE, flags=re.M)
    assert len(recipes) == len(tiers.NIGHTLY_MINUTES)
    places = {word: recipe for recipe in recipes for word in recipe.split() if word.startswith("tests/")}
    assert [place for place in places if not (tiers.ROOT / place).exists()] == []
    chosen = [tiers.ROOT / place for place, recipe in places.items() if "-m nightly" in recipe]
    files = (tiers.ROOT / "tests").rglob("test_*.py")
    marked = [path for path in files if "mark.nightly" in path.read_text()]
    lost = [path for path in marked if not any(path.is_relative_to(place) for place in chosen)]
    assert lost == []


def test_every_property_is_drawn_nightly_from_a_seed_that_is_printed() -> None:
    recipe = planned("nightly-properties")[-1]
    places = [tiers.ROOT / word for word in recipe.split() if word.startswith("tests/")]
    drawn = [path for path in (tiers.ROOT / "tests").rglob("test_*.py") if "\n@given(" in path.read_text()]
    assert [path for path in drawn if not any(path.is_relative_to(place) for place in places)] == []
    (seed,) = re.findall(r"--hypothesis-seed=(\d+)\b", recipe)
    assert seed not in planned("nightly-properties")[-1], "the next night draws others"
    assert "--hypothesis-seed=7 " in planned("nightly-properties", "SEED=7")[-1]
