"""The runner of the tiers: what counts as failed, and that no tier is left out."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from tools import tiers

MAKEFILE = (tiers.ROOT / "Makefile").read_text()
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


def failing(folder: Path, *, twice: bool, tests: int = 1) -> list[tiers.Tier]:
    """A tier of real pytest whose tests fail in the first run, or in each."""
    (folder / "test_it.py").write_text(
        "from pathlib import Path\nimport pytest\n"
        f"@pytest.mark.parametrize('number', range({tests}))\n"
        "def test_it(number):\n"
        "    ran = Path(__file__).with_name(f'ran{number}')\n"
        f"    before, _ = ran.exists(), ran.touch()\n    assert before and not {twice}\n"
        "def test_good():\n    pass\n"
    )
    (folder / "pytest.ini").write_text("[pytest]\n")
    command = f"{sys.executable} -m pytest test_it.py"
    (folder / "Makefile").write_text(f"wiring:\n\t{command}\n")
    ran = [run("wiring")]
    assert (ran[0].failed, ran[0].ok) == (tests, False)
    tiers.repeat_failed(ran)
    return ran


def test_a_test_that_fails_once_is_named_as_flaky(make: Path) -> None:
    (tier,) = failing(make, twice=False)
    assert tier.ok
    assert (tier.passed, tier.failed, tier.flaky) == (2, 0, ("test_it.py::test_it[0]",))
    assert tier.line().endswith("flaky: test_it.py::test_it[0]")


def test_a_test_that_fails_twice_fails_the_run(make: Path) -> None:
    (tier,) = failing(make, twice=True)
    assert not tier.ok
    assert (tier.failed, tier.flaky) == (1, ())


def test_many_failures_are_no_coincidence(make: Path) -> None:
    (tier,) = failing(make, twice=False, tests=tiers.MOST_REPEATED + 1)
    assert not tier.ok
    assert tier.failed == tiers.MOST_REPEATED + 1


@pytest.mark.usefixtures("make")
def test_a_tier_beyond_its_limit_is_ended() -> None:
    tier = run("slow", limit_seconds=0.5)
    assert tier.problem.startswith("ended after")
    assert not tier.ok


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
