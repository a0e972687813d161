"""``make release VERSION=… REGISTRY=… KEY=…``: builds, lists, pushes and signs images, packages the chart.

The key is a file of cosign's (``cosign generate-key-pair``), its password is in COSIGN_PASSWORD. No
transparency log is used. What comes out lies in build/release/VERSION: the chart with the images by digest,
its signature, and each image's list of parts (CycloneDX), which the registry has as an attestation too.
The chart lies in the registry as well, as REGISTRY/charts/tacho. notes.md names all of it, and what changed.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import sys
import tempfile
from dataclasses import asdict
from datetime import UTC, date, datetime
from pathlib import Path

from tacho_contract import __version__

from .cluster import binaries, builds
from .images import __main__ as images, base, buildah, catalog, push
from .release_notes import changes, notes
from .steps import StepError, ended_by_signals, run, say, step

CHART = catalog.ROOT / "charts" / "tacho"
CHANGELOG = catalog.ROOT / "CHANGELOG.md"
OUTPUT = catalog.ROOT / "build" / "release"
NAMES = ("tacho", "tacho-llamacpp")
"""Released images. Those on larger bases are built by hand (docs/operate/images.md)."""
NOTES = "notes.md"
BASE_DAYS = 30
"""Maximum age of the base: it lacks the security fixes since then."""
DIGEST = re.compile(r".+@sha256:[0-9a-f]{64}")
OFFLINE = ("--tlog-upload=false", "--use-signing-config=false", "--yes")
"""cosign's options without a transparency log."""


def refuse_version(version: str, chart: str) -> None:
    """Raises StepError where the sources or the chart have another version."""
    written = re.findall(r"^(?:version|appVersion): (.*)$", chart, re.MULTILINE)
    if {__version__, *written} != {version}:
        found = f"the sources are {__version__}, the chart is {' and '.join(written)}"
        raise StepError("OtherVersion", f"VERSION={version}: {found}. Change both, or VERSION.")


def refuse_changes(root: Path) -> None:
    """Raises StepError where the work tree differs from its commit: nobody could make that release again."""
    next_step = "Release from a clone of the repository."
    changed = run(
        ["git", "-C", root, "status", "--porcelain"], failure_class="NoRepository", next_step=next_step
    )
    if changed.strip():
        raise StepError("UncommittedChanges", f"commit or remove these first:\n{changed.rstrip()}")


def refuse_reference(reference: str) -> None:
    """Raises StepError for a base that is not named by digest."""
    if not DIGEST.fullmatch(reference):
        raise StepError(
            "BaseNotPinned",
            f"{images.BASE_VARIABLE}={reference} has no digest, so nobody can tell what is released. "
            "Name it with @sha256:…, or unset it for the base of Debian's packages.",
        )


def refuse_age(made: date, today: date) -> None:
    """Raises StepError for a base older than BASE_DAYS."""
    if (days := (today - made).days) > BASE_DAYS:
        raise StepError(
            "BaseTooOld",
            f"the base was made on {made}, {days} days ago; {BASE_DAYS} are allowed. Make one of today "
            "by `python -m tools.images base --fresh`, or name a newer one.",
        )


def refuse_base(*, pull: bool) -> None:
    """Raises StepError for a base without a digest or too old. ``pull``: also by the age of a named one."""
    today = datetime.now(UTC).date()
    if named := os.environ.get(images.BASE_VARIABLE):
        refuse_reference(named)
        if pull:
            refuse_age(buildah.created(named).date(), today)
    elif (made := base.newest()) is not None:
        refuse_age(base.made_on(made), today)
    elif pull:
        base.archive(fresh=True)  # the images would take one without security fixes, too


def pinned_values(values: str, references: dict[str, str]) -> str:
    """The chart's values with the images by digest. Raises StepError where values.yaml has another form."""
    repository, digest = references["tacho"].split("@")
    engines = ", ".join(
        f"{name.removeprefix('tacho-')}: {reference}"
        for name, reference in references.items()
        if name != "tacho"
    )
    changes = {
        '  repository: ""': f"  repository: {repository.rpartition(':')[0]}",
        '  digest: ""': f"  digest: {digest}",
        "engineImages: {}": f"engineImages: {{{engines}}}",
    }
    for line, pinned in changes.items():
        if values.count(f"\n{line}\n") != 1:
            why = f"values.yaml has no line of its own {line!r}: change tools/release.py."
            raise StepError("ChartChanged", why)
        values = values.replace(f"\n{line}\n", f"\n{pinned}\n")
    return values


class Release:
    """One release: its files, registry, key and programs."""

    def __init__(self, version: str, registry: str, key: str) -> None:
        self.version, self.registry, self.key = version, registry, key
        self.folder = OUTPUT / version

    def cosign(self, verb: str, *arguments: str | Path) -> str:
        program = builds.built(builds.COSIGN, say) / "cosign"
        command = [program, verb, "--key", self.key, *OFFLINE, *arguments]
        next_step = "Check KEY, COSIGN_PASSWORD and the login to the registry."
        return run(command, failure_class="SigningFailed", next_step=next_step)

    def write_parts(self, built: images.Built) -> Path:
        """The image's list of parts, as CycloneDX."""
        path = self.folder / f"{built.name}.cdx.json"
        program = builds.built(builds.SYFT, say) / "syft"
        command = [program, "scan", f"oci-archive:{built.archive}", "--quiet", "-o", f"cyclonedx-json={path}"]
        quiet = {**os.environ, "SYFT_FILE_METADATA_SELECTION": "none", "SYFT_CHECK_FOR_APP_UPDATE": "false"}
        with step(f"listing the parts of {built.name}"):
            run(command, failure_class="ListFailed", next_step="See its last lines.", environment=quiet)
        return path

    def package_chart(self, references: dict[str, str]) -> str:
        """The chart with the images by digest, as a file and in the registry, both signed. Returns the
        registry's reference."""
        with tempfile.TemporaryDirectory() as scratch:
            chart = shutil.copytree(CHART, Path(scratch) / CHART.name)
            values = chart / "values.yaml"
            values.write_text(pinned_values(values.read_text(), references))
            command = [binaries.helm(say), "package", chart, "--destination", self.folder]
            run(command, failure_class="ChartFailed", next_step="See its last lines.")
        package = self.folder / f"tacho-{self.version}.tgz"
        self.cosign("sign-blob", "--bundle", f"{package}.bundle", package)
        place = chart_reference(self.registry, self.version)
        with step(f"pushing {place}"):
            plain = () if buildah.is_encrypted(place) else ("--plain-http",)
            command = [binaries.helm(say), "push", package, f"oci://{charts_of(self.registry)}", *plain]
            next_step = "`helm registry login` comes first where the registry wants a login."
            told = run(command, failure_class="ChartNotPushed", next_step=next_step)
            reference = f"{place}@{re.findall(r'^Digest: (.*)$', told, re.MULTILINE)[0]}"
            self.cosign("sign", reference)
        return reference

    def make(self) -> list[str]:
        """All of it. Returns the signed references. Raises StepError."""
        refuse_base(pull=True)
        made = [image for image in images.build(*NAMES) if image.name in NAMES]
        refuse_base(pull=False)
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        pushed = push.pushed([asdict(image) for image in made], self.registry)
        references = dict(zip((image.name for image in made), pushed, strict=True))
        for image in made:
            parts, reference = self.write_parts(image), references[image.name]
            with step(f"signing {reference}"):
                self.cosign("sign", reference)
                self.cosign("attest", "--type", "cyclonedx", "--predicate", parts, reference)
        signed, chart = list(references.values()), self.package_chart(references)
        (self.folder / NOTES).write_text(notes(self.version, CHANGELOG.read_text(), signed, chart))
        return [*signed, chart]


def charts_of(registry: str) -> str:
    """Where charts lie, apart from the images: the chart has the operator image's name."""
    return f"{registry.rstrip('/')}/charts"


def chart_reference(registry: str, version: str) -> str:
    return f"{charts_of(registry)}/{CHART.name}:{version}"


def steps(version: str, registry: str, key: str) -> list[str]:
    """What a release does, for ``--dry-run``."""
    references = [f"{registry.rstrip('/')}/{name}:{push.tag(name)}" for name in NAMES]
    return [
        *(f"build {name}" for name in NAMES),
        *(f"push {reference}" for reference in references),
        *(f"list the parts of {name} in {OUTPUT / version / name}.cdx.json" for name in NAMES),
        *(f"sign {reference} and its list of parts with {key}" for reference in references),
        f"package and sign {OUTPUT / version}/tacho-{version}.tgz with the images by digest",
        f"push and sign {chart_reference(registry, version)}",
        f"write {OUTPUT / version / NOTES}",
    ]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tools.release", description=__doc__)
    parser.add_argument("--version", required=True)
    parser.add_argument("--registry", help="where to, e.g. registry.example.com/team")
    parser.add_argument("--key", help="private key of cosign's")
    parser.add_argument("--dry-run", action="store_true", help="check, and print what would be done")
    options = parser.parse_args()
    if not options.dry_run and not (options.registry and options.key):
        parser.error("a release wants --registry and --key")
    registry, key = options.registry or "REGISTRY", options.key or "KEY"
    ended_by_signals()
    try:
        refuse_version(options.version, (CHART / "Chart.yaml").read_text())
        changes(CHANGELOG.read_text(), options.version)
        refuse_base(pull=False)
        try:
            refuse_changes(catalog.ROOT)
        except StepError as error:
            if not options.dry_run:
                raise
            say(f"warning: {error}")
        if options.dry_run:
            print("\n".join(steps(options.version, registry, key)))
        else:
            print("\n".join(Release(options.version, registry, key).make()))
    except StepError as error:
        say(f"error: {error}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
