"""buildah, with its storage in the cache folder and no daemon, registry or network."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tarfile
import tempfile
from dataclasses import dataclass
from datetime import datetime
from functools import cache as once
from pathlib import Path

from .. import cache
from ..steps import StepError, run

EPOCH = "1577836800"
"""A fixed date for every file, so that the same content gives the same layers."""
LISTING_TRIES = 5
POLICY = '{"default": [{"type": "insecureAcceptAnything"}]}'
"""Images are those built here, or the one base that the user named."""
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
LOCAL_HOSTS = ("localhost", "127.0.0.1")
REFERENCE_NAME = "org.opencontainers.image.ref.name"
NEXT_STEP = (
    "Read the last lines below. If a base cannot be pulled, unset TACHO_IMAGE_BASE; "
    "if the storage is damaged, remove the folder buildah in tacho's cache."
)


@dataclass(frozen=True)
class Layer:
    digest: str
    size_bytes: int


def storage() -> Path:
    return cache.folder("buildah")


@once
def driver() -> str:
    """overlay where the kernel lets us mount it, else vfs, which copies every layer."""
    with tempfile.TemporaryDirectory(dir=storage()) as scratch:
        folders = {name: Path(scratch) / name for name in ("lower", "upper", "work", "merged")}
        for folder in folders.values():
            folder.mkdir()
        options = "lowerdir={lower},upperdir={upper},workdir={work}".format(**folders)
        mount = ["mount", "-t", "overlay", "overlay", "-o", options, str(folders["merged"])]
        if subprocess.run(mount, capture_output=True, check=False).returncode != 0:
            return "vfs"
        subprocess.run(["umount", folders["merged"]], capture_output=True, check=True)
        return "overlay"


def _buildah(*arguments: str | Path) -> str:
    place = storage()
    policy = place / "policy.json"
    if not policy.exists() or policy.read_text() != POLICY:
        fresh = policy.with_suffix(f".{os.getpid()}")
        fresh.write_text(POLICY)
        fresh.replace(policy)  # another build may be reading it
    verb, *rest = arguments
    command: list[str | Path] = ["buildah", "--root", place / driver(), "--runroot", place / "run"]
    command += ["--storage-driver", driver(), verb]
    if verb in ("build", "commit", "push", "pull"):
        command += ["--signature-policy", policy]
    environment = {**os.environ, "BUILDAH_ISOLATION": "chroot", "TMPDIR": str(cache.folder("tmp"))}
    return run([*command, *rest], failure_class="BuildFailed", next_step=NEXT_STEP, environment=environment)


def exists(reference: str) -> bool:
    return reference in {name for image in _images() for name in image.get("names") or ()}


def _images() -> list[dict[str, list[str]]]:
    """What the storage holds, listed again where another process removes an image meanwhile."""
    for tries_left in reversed(range(LISTING_TRIES)):
        try:
            listed: list[dict[str, list[str]]] = json.loads(_buildah("images", "--json") or "[]")
        except StepError as error:
            if not tries_left or "image not known" not in str(error):
                raise
        else:
            return listed
    raise AssertionError("the last try returns or raises")


def import_base(archive: Path, reference: str) -> None:
    """A tar of a root file system as an image of one layer."""
    container = _buildah("from", "scratch").strip()
    try:
        _buildah("add", "--quiet", container, archive, "/")
        _buildah("config", "--cmd", "python3", "--env", f"PATH={PATH}", container)
        _buildah("commit", "--quiet", "--timestamp", EPOCH, container, reference)
    finally:
        _buildah("rm", container)


def build(context: Path, dockerfile: Path, base: str, reference: str, *, offline: bool) -> None:
    """The Dockerfile as it ships, on that base. Offline, nothing is pulled and no step sees a network."""
    options = ["--format", "oci", "--timestamp", EPOCH, "--build-arg", f"BASE={base}"]
    options += ["--layers"] if driver() == "overlay" else []  # vfs would copy everything for each step
    options += ["--pull-never", "--network", "none"] if offline else []
    _buildah("build", *options, "--file", dockerfile, "--tag", reference, context)


def load(archive: Path, reference: str) -> None:
    """An image of that name back into the storage, out of the archive that `export` wrote."""
    _buildah("pull", "--quiet", f"oci-archive:{archive}:{reference}")


def push(reference: str, target: str, *, secure: bool) -> str:
    """An image of the storage into a registry, as ``target``. Returns its digest there."""
    with tempfile.NamedTemporaryFile("r", dir=cache.folder("tmp")) as file:
        options = ("--quiet", f"--tls-verify={str(secure).lower()}", "--digestfile", file.name)
        _buildah("push", *options, reference, f"docker://{target}")
        return file.read().strip()


def created(reference: str) -> datetime:
    """When an image that a registry has was made; it is in the storage from then on."""
    secure = str(is_encrypted(reference)).lower()
    pulled = _buildah("pull", "--quiet", f"--tls-verify={secure}", f"docker://{reference}").strip()
    found = json.loads(_buildah("inspect", "--type", "image", pulled))
    return datetime.fromisoformat(found["OCIv1"]["created"])


def is_encrypted(reference: str) -> bool:
    """Whether its registry is used with encryption, as container runtimes do."""
    return reference.partition("/")[0].partition(":")[0] not in LOCAL_HOSTS


def remove(reference: str) -> None:
    _buildah("rmi", "--force", reference)


def keep_below(limit_bytes: int) -> None:
    """Removes all images and build caches when they exceed ``limit_bytes``. The archives stay, and images
    that others are built on are restored from them."""
    size = sum(path.lstat().st_size for path in (storage() / driver()).rglob("*") if not path.is_symlink())
    if size > limit_bytes:
        _buildah("rmi", "--all", "--force")


def export(reference: str, names: list[str], archive: Path) -> list[Layer]:
    """Write the image as an OCI archive that carries all these names. Returns its layers, lowest first."""
    with tempfile.TemporaryDirectory(dir=archive.parent) as scratch:
        layout = Path(scratch) / "layout"
        _buildah("push", "--quiet", reference, f"oci:{layout}:{names[0]}")
        name_also(layout, names[1:])
        layers = layers_of(layout)
        unfinished = Path(scratch) / "image.tar"
        with tarfile.open(unfinished, "w") as tar:
            for path in sorted(layout.rglob("*")):
                tar.add(path, arcname=str(path.relative_to(layout)), recursive=False)
        shutil.move(unfinished, archive)
    return layers


def name_also(layout: Path, names: list[str]) -> None:
    """More names for the one image of a layout; another push would compress all layers again."""
    path = layout / "index.json"
    index = json.loads(path.read_text())
    (manifest,) = index["manifests"]
    index["manifests"] += [{**manifest, "annotations": {REFERENCE_NAME: name}} for name in names]
    path.write_text(json.dumps(index))


def layers_of(layout: Path) -> list[Layer]:
    index = json.loads((layout / "index.json").read_text())
    manifest = json.loads(_blob(layout, index["manifests"][0]["digest"]).read_text())
    return [Layer(layer["digest"], layer["size"]) for layer in manifest["layers"]]


def _blob(layout: Path, digest: str) -> Path:
    return layout / "blobs" / digest.replace(":", "/")
