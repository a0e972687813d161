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


def debian_mirror() -> str:
    """The address apt itself gets Debian's main archive from."""
    if (mirror := choose_mirror(_sources())) is None:
        with cache.locked("apt"), step("reading apt's sources"):
            run(["apt-get", "update"], failure_class="AptFailed", next_step="Check apt's sources.")
        mirror = choose_mirror(_sources())
    if mirror is None:
        raise StepError(
            "NoDebianArchive",
            "apt knows no Debian archive to make a base from. Add one to its sources, or set "
            "TACHO_IMAGE_BASE to an image with Python 3.11 (and a registry that can be reached).",
        )
    if mirror.startswith(MIRROR_LIST):
        return first_address(Path(mirror.removeprefix(MIRROR_LIST)).read_text())
    return mirror


def _sources() -> str:
    fields = "$(ORIGIN)|$(LABEL)|$(RELEASE)|$(COMPONENT)|$(REPO_URI)"
    command = ["apt-get", "indextargets", "--format", fields, "Created-By: Packages"]
    return run(command, failure_class="AptFailed", next_step="Check apt's sources.")


def choose_mirror(sources: str) -> str | None:
    """The first that is Debian's own main archive: not its updates, its security, or a vendor's."""
    for line in sources.splitlines():
        origin, label, release, component, address = line.split("|")
        if (origin, label, component) == ("Debian", "Debian", "main") and "-" not in release:
            return address.rstrip("/")
    return None


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
