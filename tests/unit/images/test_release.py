"""What a release refuses, and what it would do; the release itself is in tests/nightly/release."""

from __future__ import annotations

import os
import subprocess
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
import yaml
from hypothesis import given, strategies as st

from tacho_contract import __version__
from tools import release, release_notes
from tools.images import base
from tools.steps import StepError

DIGEST = f"sha256:{'0' * 64}"
TODAY = date(2026, 11, 22)


@given(name=st.text("abc./:0-", min_size=1), digest=st.text("0123456789abcdef", min_size=60, max_size=66))
def test_a_base_counts_with_a_whole_digest_alone(name: str, digest: str) -> None:
    with pytest.raises(StepError, match="BaseNotPinned"):
        release.refuse_reference(name)
    if len(digest) == 64:
        release.refuse_reference(f"{name}@sha256:{digest}")
    else:
        with pytest.raises(StepError, match="BaseNotPinned"):
            release.refuse_reference(f"{name}@sha256:{digest}")


@given(days=st.integers(-1, 3 * release.BASE_DAYS))
def test_a_base_has_an_age_limit(days: int) -> None:
    made = TODAY - timedelta(days=days)
    if days <= release.BASE_DAYS:
        release.refuse_age(made, TODAY)
    else:
        with pytest.raises(StepError, match=rf"BaseTooOld.* {days} days ago.*--fresh"):
            release.refuse_age(made, TODAY)


def test_the_base_of_the_cache_is_judged_by_its_day(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("TACHO_IMAGE_BASE", raising=False)
    release.refuse_base(pull=False)  # none: it is made with the release
    folder = tmp_path / "tacho" / "base"
    today = datetime.now(UTC).date()
    for days in (100, release.BASE_DAYS + 1):
        (folder / f"bookworm-{base.recipe_key()}-{today - timedelta(days=days):%Y%m%d}.tar").touch()
    with pytest.raises(StepError, match="BaseTooOld"):
        release.refuse_base(pull=False)
    (folder / f"bookworm-{base.recipe_key()}-{today:%Y%m%d}.tar").touch()
    release.refuse_base(pull=False)
    assert base.archive() == base.newest() == base.archive(fresh=True)


def test_the_base_has_the_security_fixes() -> None:
    mirrors = {"Debian": "http://main.example/debian", "Debian-Security": "http://main.example/security"}
    assert base.source_lines(mirrors) == [
        "deb http://main.example/debian bookworm main",
        "deb http://main.example/security bookworm-security main",
    ]
    with pytest.raises(StepError, match=r"NoSecurityArchive.*bookworm-security"):
        base.source_lines({"Debian": "http://main.example/debian"})


def test_a_base_without_security_fixes_is_for_tests_alone(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("TACHO_IMAGE_BASE", raising=False)
    monkeypatch.setattr(base.machine, "require_root", lambda: None)
    monkeypatch.setattr(base.machine, "install_programs", lambda: None)
    monkeypatch.setattr(base.machine, "debian_mirrors", lambda: {"Debian": "http://main.example/debian"})
    monkeypatch.setattr(base, "run", lambda command, **_: Path(command[-2]).touch())
    made = base.archive()
    assert made.stem.endswith(base.UNPATCHED)
    assert "bookworm-security" in capsys.readouterr().err
    assert base.archive() == made
    assert base.newest() is None
    with pytest.raises(StepError, match="NoSecurityArchive"):
        release.refuse_base(pull=True)


def test_the_packaged_chart_names_images_by_digest() -> None:
    registry = "registry.example.com:5000/team"
    references = {
        "tacho": f"{registry}/tacho:{__version__}@{DIGEST}",
        "tacho-llamacpp": f"{registry}/tacho-llamacpp:2026.10@{DIGEST}",
    }
    before = (release.CHART / "values.yaml").read_text()
    values = yaml.safe_load(release.pinned_values(before, references))
    assert (values["image"]["repository"], values["image"]["digest"]) == (f"{registry}/tacho", DIGEST)
    assert values["engineImages"] == {"llamacpp": references["tacho-llamacpp"]}
    assert values["image"]["pullPolicy"] == yaml.safe_load(before)["image"]["pullPolicy"]
    with pytest.raises(StepError, match="ChartChanged"):
        release.pinned_values(before.replace("engineImages: {}", "engineImages:"), references)


def test_the_notes_have_what_changed_and_each_reference() -> None:
    changelog = "## Unreleased\n\n- later\n\n## [2.0.0] - 2026-11-22\n\n- now\n\n## 1.0.0\n\n- before\n"
    images, chart = [f"r.example/tacho:2@{DIGEST}"], f"r.example/charts/tacho:2@{DIGEST}"
    found = release_notes.notes("2.0.0", changelog, images, chart)
    assert "- now" in found
    assert "later" not in found
    assert "before" not in found
    assert f"cosign verify --key cosign.pub --insecure-ignore-tlog {images[0]}\n" in found
    assert f"helm install tacho oci://{chart} " in found
    assert release_notes.changes(changelog, "3.0.0") == "- later", "not named yet"
    with pytest.raises(StepError, match="NothingChanged"):
        release_notes.changes("# Changelog\n\n## Unreleased\n\n## 1.0.0\n\n- before\n", "2.0.0")
    assert release_notes.changes(release.CHANGELOG.read_text(), __version__)


def test_a_release_refuses_uncommitted_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(StepError, match="NoRepository"):
        release.refuse_changes(tmp_path)
    subprocess.run(["git", "init", "--quiet", tmp_path], check=True)
    release.refuse_changes(tmp_path)
    (tmp_path / "left.txt").touch()
    monkeypatch.setattr(release.catalog, "ROOT", tmp_path)
    monkeypatch.setattr(release, "refuse_base", lambda *, pull: None)
    monkeypatch.setattr(release.Release, "make", lambda self: pytest.fail("it was made"))
    command = ["release", "--version", __version__, "--registry", "registry.example/team", "--key", "k"]
    monkeypatch.setattr("sys.argv", command)
    assert release.main() == 1
    assert "error: UncommittedChanges" in (refused := capsys.readouterr().err)
    assert "left.txt" in refused
    monkeypatch.setattr("sys.argv", [*command, "--dry-run"])
    assert release.main() == 0
    assert "warning: UncommittedChanges" in capsys.readouterr().err


def make(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """`make release` of the installed project, dry."""
    kept = {key: value for key, value in os.environ.items() if key not in ("TACHO_IMAGE_BASE", "MAKEFLAGS")}
    command = ["make", "--no-print-directory", "-o", ".venv/.installed", "release", "DRY_RUN=1", *arguments]
    return subprocess.run(
        command, cwd=release.catalog.ROOT, env=kept | environment, capture_output=True, text=True, check=False
    )


def test_a_dry_run_says_what_a_release_does(tmp_path: Path) -> None:
    done = make(f"VERSION={__version__}", "REGISTRY=registry.example/team", XDG_CACHE_HOME=str(tmp_path))
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    for_each = [verb for verb in ("build", "push", "list", "sign") for _ in release.NAMES]
    assert [line.split()[0] for line in lines] == [*for_each, "package", "push", "write"]
    assert lines[-2].endswith(f" registry.example/team/charts/tacho:{__version__}")
    assert lines[-1].endswith(f"/{__version__}/notes.md")
    assert f"push registry.example/team/tacho:{__version__}" in lines


def test_a_dry_run_refuses_what_a_release_refuses(tmp_path: Path) -> None:
    cache = {"XDG_CACHE_HOME": str(tmp_path)}
    tagged = make(f"VERSION={__version__}", **cache, TACHO_IMAGE_BASE="docker.io/library/python:3.11")
    assert tagged.returncode != 0
    assert "BaseNotPinned" in tagged.stderr
    other = make("VERSION=99.0.0", **cache)
    assert other.returncode != 0
    assert "OtherVersion" in other.stderr
