"""A whole release into a registry on this machine: signed offline, listed, refused where it was changed."""

from __future__ import annotations

import json
import os
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tacho_contract import __version__
from tests.nightly.registry import running
from tools import release
from tools.cluster import binaries, builds
from tools.images import __main__ as images, buildah
from tools.steps import StepError, say

pytestmark = pytest.mark.timeout(400)

PASSWORD = "a password of this test"
VERIFIED = ("--insecure-ignore-tlog",)


@pytest.fixture(scope="module")
def programs() -> Path:
    return builds.built(builds.COSIGN, say)


@pytest.fixture(scope="module")
def registry() -> Iterator[str]:
    with running() as port:
        yield f"127.0.0.1:{port}/team"


@pytest.fixture(scope="module")
def keys(programs: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The folders of two pairs of keys."""
    folders = (tmp_path_factory.mktemp("own"), tmp_path_factory.mktemp("other"))
    for folder in folders:
        command = [programs / "cosign", "generate-key-pair"]
        environment = {**os.environ, "COSIGN_PASSWORD": PASSWORD}
        subprocess.run(command, cwd=folder, env=environment, check=True, capture_output=True)
    return folders


@pytest.fixture(scope="module")
def released(registry: str, keys: tuple[Path, Path]) -> list[str]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COSIGN_PASSWORD", PASSWORD)
        patch.delenv(images.BASE_VARIABLE, raising=False)
        return release.Release(__version__, registry, str(keys[0] / "cosign.key")).make()


def verified(programs: Path, verb: str, key: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [programs / "cosign", verb, "--key", key / "cosign.pub", *VERIFIED, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_images_and_their_parts_are_signed_by_this_key_alone(
    programs: Path, released: list[str], keys: tuple[Path, Path]
) -> None:
    own, other = keys
    for reference in released[:-1]:
        assert release.DIGEST.fullmatch(reference)
        assert verified(programs, "verify", own, reference).returncode == 0
        assert verified(programs, "verify", other, reference).returncode != 0
        attested = ("--type", "cyclonedx", reference)
        assert verified(programs, "verify-attestation", own, *attested).returncode == 0
        assert verified(programs, "verify-attestation", other, *attested).returncode != 0


def test_the_list_names_packages_of_debian_and_of_python(released: list[str]) -> None:
    parts = json.loads((release.OUTPUT / __version__ / "tacho.cdx.json").read_text())["components"]
    names = {item.get("purl", "").partition("@")[0] for item in parts}
    assert {"pkg:pypi/kopf", "pkg:deb/debian/libssl3"} <= names, sorted(names)


def test_the_notes_name_all_that_was_pushed(released: list[str]) -> None:
    told = (release.OUTPUT / __version__ / release.NOTES).read_text()
    assert [reference for reference in released if reference not in told] == []


def test_the_chart_is_signed_and_names_what_was_pushed(
    programs: Path, released: list[str], keys: tuple[Path, Path], tmp_path: Path
) -> None:
    package = release.OUTPUT / __version__ / f"tacho-{__version__}.tgz"
    bundle = f"{package}.bundle"
    assert verified(programs, "verify-blob", keys[0], "--bundle", bundle, str(package)).returncode == 0
    for key, accepted in zip(keys, (True, False), strict=True):
        assert (verified(programs, "verify", key, released[-1]).returncode == 0) is accepted
    pulled = tmp_path / "pulled"
    command = ["pull", f"oci://{released[-1]}", "--plain-http", "--destination", str(pulled)]
    pulled.mkdir()
    subprocess.run([binaries.helm(say), *command], check=True, capture_output=True)
    assert [path.read_bytes() for path in pulled.iterdir()] == [package.read_bytes()]
    changed = tmp_path / package.name
    changed.write_bytes(package.read_bytes() + b" ")
    assert verified(programs, "verify-blob", keys[0], "--bundle", bundle, str(changed)).returncode != 0
    with tarfile.open(package) as archive:
        found = archive.extractfile("tacho/values.yaml")
        assert found is not None
        image = yaml.safe_load(found.read())["image"]
    assert released[0].endswith(f"@{image['digest']}")


def test_a_named_base_that_is_too_old_is_refused(registry: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """An image built here has a fixed date of long ago."""
    built = next(entry for entry in images.recorded() if entry["name"] == "tacho")
    target = f"{registry}/old:1"
    digest = buildah.push(built["content_reference"], target, secure=False)
    monkeypatch.setenv(images.BASE_VARIABLE, f"{registry}/old@{digest}")
    with pytest.raises(StepError, match="BaseTooOld"):
        release.refuse_base(pull=True)
