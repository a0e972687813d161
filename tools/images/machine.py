"""What the machine must have to build images: root, Debian's archive, buildah and mmdebstrap."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from .. import cache
from ..steps import StepError, run, step

PACKAGES = {"buildah": "buildah", "mmdebstrap": "mmdebstrap"}
"""Program to Debian package."""
MIRROR_LIST = "mirror+file:"
LABELS = ("Debian", "Debian-Security")
"""Labels of the archives that a base is made from."""


def require_root() -> None:
    if os.geteuid() != 0:
        raise StepError(
            "NotRoot",
            "building images needs root: mmdebstrap and buildah mount and change roots. "
            "Run `sudo make images`; `tacho run` needs neither root nor images.",
        )


def install_programs() -> None:
    """Installs missing Debian packages, without starting services."""
    if not _missing():
        return
    if shutil.which("apt-get") is None:
        raise StepError(
            "ProgramMissing", f"{' and '.join(_missing())} are missing: install them and run it again."
        )
    with cache.locked("apt"):  # apt does not wait for another that reads its lists
        if missing := _missing():
            _install(missing)


def _missing() -> list[str]:
    """Debian packages whose programs are missing."""
    return sorted(package for program, package in PACKAGES.items() if shutil.which(program) is None)


def _install(missing: list[str]) -> None:
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    install = [
        "apt-get",
        "install",
        "--yes",
        "--no-install-recommends",
        "-o",
        "DPkg::Lock::Timeout=300",
        *missing,
    ]
    next_step = "Check that apt's sources can be reached (`apt-get update`), and run it again."
    with step(f"installing {' and '.join(missing)}"):
        run(["apt-get", "update"], failure_class="AptFailed", next_step=next_step, environment=environment)
        run(install, failure_class="AptFailed", next_step=next_step, environment=environment)


def debian_mirrors() -> dict[str, str]:
    """Addresses that apt itself gets Debian's archive from, by label: Debian and, where apt knows it,
    Debian-Security."""
    if LABELS[0] not in (mirrors := choose_mirrors(_sources())):
        with cache.locked("apt"), step("reading apt's sources"):
            run(["apt-get", "update"], failure_class="AptFailed", next_step="Check apt's sources.")
        mirrors = choose_mirrors(_sources())
    if LABELS[0] not in mirrors:
        raise StepError(
            "NoDebianArchive",
            "apt knows no Debian archive to make a base from. Add one to its sources, or set "
            "TACHO_IMAGE_BASE to an image with Python 3.11 (and a registry that can be reached).",
        )
    return {
        label: first_address(Path(address.removeprefix(MIRROR_LIST)).read_text())
        if address.startswith(MIRROR_LIST)
        else address
        for label, address in mirrors.items()
    }


def _sources() -> str:
    fields = "$(ORIGIN)|$(LABEL)|$(RELEASE)|$(COMPONENT)|$(REPO_URI)"
    command = ["apt-get", "indextargets", "--format", fields, "Created-By: Packages"]
    return run(command, failure_class="AptFailed", next_step="Check apt's sources.")


def choose_mirrors(sources: str) -> dict[str, str]:
    """Of each label the first address that is Debian's own main archive or its security: no vendor's."""
    found: dict[str, str] = {}
    for line in sources.splitlines():
        origin, label, release, component, address = line.split("|")
        own = release.endswith("-security") if label == LABELS[1] else "-" not in release
        if (origin, component) == ("Debian", "main") and label in LABELS and own:
            found.setdefault(label, address.rstrip("/"))
    return found


def first_address(mirror_list: str) -> str:
    """Of a file that apt's ``mirror+file:`` method reads; cloud images of Debian come with one."""
    lines = (line.partition("#")[0].split() for line in mirror_list.splitlines())
    return next(words[0].rstrip("/") for words in lines if words)


def proxy_environment() -> dict[str, str]:
    """The environment with apt's proxy, whose configuration is not read inside a new root."""
    settings = run(
        ["apt-config", "shell", "PROXY", "Acquire::http::Proxy"],
        failure_class="AptFailed",
        next_step="Check apt's configuration.",
    )
    value = settings.partition("=")[2].strip().strip("'")
    return {**os.environ, "http_proxy": value} if value and value != "DIRECT" else dict(os.environ)
