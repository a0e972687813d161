"""``python -m tools.images build|base|wheels|list|push``: the images as archives that containerd imports.

Built images stay in the cache under a hash of all their inputs: an unchanged image is not built again, in
this clone or another.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from .. import cache, wheels
from ..steps import StepError, ended_by_signals, say, step
from . import base, buildah, catalog, key, machine, push

OUTPUT = catalog.ROOT / "build" / "images"
INDEX = OUTPUT / "images.json"
BASE_VARIABLE = "TACHO_IMAGE_BASE"
NEEDED_BYTES = 3 * 10**9
LARGE_NEEDED_BYTES = 16 * 10**9
"""With torch: its wheels, its layer, and the archive twice while it is written."""
STORAGE_LIMIT_BYTES = 10 * 10**9
KEPT_ARCHIVES = 4
"""Number of archives kept per image; older archives are removed from the cache."""


@dataclass(frozen=True)
class Built:
    """One image as ``list`` prints it."""

    name: str
    reference: str
    """Moves with every build: for people."""
    content_reference: str
    """Named by content: a changed image is another name, so that pods and charts notice."""
    archive: str
    """OCI archive with both names, for ``ctr images import``."""
    layers: list[dict[str, Any]]


def build(*only: str) -> list[Built]:
    """Builds the named images and their base images; without a name, all images of a full build."""
    machine.require_root()
    machine.install_programs()
    with cache.locked("images"):
        chosen = list(dict.fromkeys(image for name in only or (None,) for image in catalog.choose(name)))
        needed = LARGE_NEEDED_BYTES if any(image.by_name for image in chosen) else NEEDED_BYTES
        cache.require_space(buildah.storage(), needed, "building images")
        built: dict[str, Built] = {}
        for image in chosen:
            built[image.name] = build_one(image, base_of(image, built), built.get(image.base))
        buildah.keep_below(STORAGE_LIMIT_BYTES)
        record(list(built.values()))
    return list(built.values())


def base_of(image: catalog.Image, built: dict[str, Built]) -> str:
    if image.upstream:
        return catalog.named_base(catalog.ROOT / image.dockerfile)
    return built[image.base].content_reference if image.base else base_reference()


def base_reference() -> str:
    """TACHO_IMAGE_BASE if set, else the base made here, imported into buildah's storage once."""
    if named := os.environ.get(BASE_VARIABLE):
        return named
    archive = base.archive()
    reference = f"{catalog.REPOSITORY}/tacho-base:{archive.stem.partition('-')[2]}"
    if not buildah.exists(reference):
        with step("importing the base"):
            buildah.import_base(archive, reference)
    return reference


def build_one(image: catalog.Image, on: str, below: Built | None = None) -> Built:
    """``below`` is what it stands on, where that is an image of ours."""
    dockerfile = catalog.ROOT / image.dockerfile
    with tempfile.TemporaryDirectory(dir=cache.folder("tmp")) as scratch:
        context = Path(scratch)
        image.stage(context)
        tag = key.content_key(context, dockerfile.read_text(), on)
        content_reference = f"{image.repository}:{tag}"
        archive = cache.folder("images") / f"{image.name}-{tag}.tar"
        details = archive.with_suffix(".json")
        if not (archive.is_file() and details.is_file()):
            with step(f"building {image.name}"):
                if not buildah.exists(content_reference):
                    if below and not buildah.exists(on):  # the archive outlives the storage
                        buildah.load(Path(below.archive), on)
                    offline = on.startswith(f"{catalog.REPOSITORY}/")
                    buildah.build(context, dockerfile, on, content_reference, offline=offline)
                names = [content_reference, f"{image.repository}:dev"]
                layers = buildah.export(content_reference, names, archive)
            details.write_text(json.dumps([asdict(layer) for layer in layers]))
            prune(image, archive)
    os.utime(archive)  # used last, so pruned last
    OUTPUT.mkdir(parents=True, exist_ok=True)
    link = OUTPUT / f"{image.name}.tar"
    link.unlink(missing_ok=True)
    link.symlink_to(archive)
    return Built(
        image.name,
        f"{image.repository}:dev",
        content_reference,
        str(archive),
        json.loads(details.read_text()),
    )


def prune(image: catalog.Image, newest: Path) -> None:
    """Removes all but the latest archives and buildah images of ``image``."""
    archives = sorted(
        newest.parent.glob(f"{image.name}-????????????.tar"), key=lambda path: path.stat().st_mtime
    )
    for archive in archives[:-KEPT_ARCHIVES]:
        reference = f"{image.repository}:{archive.stem.removeprefix(f'{image.name}-')}"
        if buildah.exists(reference):
            buildah.remove(reference)
        archive.with_suffix(".json").unlink(missing_ok=True)
        archive.unlink()


def record(built: list[Built]) -> None:
    """Merge into build/images/images.json, so that --only does not forget the others."""
    known = {entry["name"]: entry for entry in json.loads(INDEX.read_text())} if INDEX.is_file() else {}
    known |= {entry.name: asdict(entry) for entry in built}
    INDEX.write_text(json.dumps(list(known.values()), indent=2) + "\n")


def recorded() -> list[dict[str, Any]]:
    """Images built in this clone. Raises StepError where none was built, or one is no longer in the cache."""
    if not INDEX.is_file():
        raise StepError("NotBuilt", "no images have been built in this clone: run `make images`.")
    entries: list[dict[str, Any]] = json.loads(INDEX.read_text())
    if gone := [entry["name"] for entry in entries if not Path(entry["archive"]).is_file()]:
        raise StepError("NotBuilt", f"{', '.join(gone)} left the cache: run `make images` again.")
    return entries


def report(built: list[Built]) -> str:
    """Sizes of the images, and how much of each is shared with others."""
    uses = Counter(layer["digest"] for image in built for layer in image.layers)
    lines = []
    for image in built:
        total = sum(layer["size_bytes"] for layer in image.layers)
        shared = sum(layer["size_bytes"] for layer in image.layers if uses[layer["digest"]] > 1)
        lines.append(f"{image.content_reference}: {total / 1e6:.1f} MB, {shared / 1e6:.1f} MB of it shared")
    distinct = {layer["digest"]: layer["size_bytes"] for image in built for layer in image.layers}
    lines.append(f"all together: {sum(distinct.values()) / 1e6:.1f} MB in {len(distinct)} layers, compressed")
    return "\n".join(lines)


def download_wheels() -> None:
    small = [name for name in catalog.engine_locks() if name in catalog.engines()]
    for lock in ("image", *small, "pip"):
        wheels.download(lock, (catalog.LOCKS / f"{lock}.txt").read_text())


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tools.images", description=__doc__)
    parser.add_argument("verb", choices=("build", "base", "wheels", "list", "push"))
    parser.add_argument("--only", metavar="NAME", help="one image, with what it is built on")
    parser.add_argument("--fresh", action="store_true", help="for base: with the packages of today")
    parser.add_argument("--registry", help="for push: where to, e.g. registry.example.com/team")
    options = parser.parse_args()
    ended_by_signals()
    if options.verb == "push" and not options.registry:
        parser.error("push wants --registry")
    try:
        if options.verb == "build":
            say(report(build(*([options.only] if options.only else []))))
        elif options.verb == "base":
            say(str(base.archive(fresh=options.fresh)))
        elif options.verb == "wheels":
            download_wheels()
        elif options.verb == "push":
            print("\n".join(push.pushed(recorded(), options.registry)))
        else:
            print(json.dumps(recorded(), indent=2))
    except StepError as error:
        say(f"error: {error}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
