"""Engines that this Python can run, and packages to install for the others."""

from __future__ import annotations

import sys
from importlib.metadata import PackageNotFoundError, packages_distributions, version
from importlib.util import find_spec

from tacho_cli.output.problems import EXIT_FAILED, failed
from tacho_contract.failure import Failure, FailureClass
from tacho_engines.registry import engine_profile, engine_profiles


def require_engine(name: str | None) -> None:
    """Raises CommandError(EngineNotSupported) with the extra to install."""
    package = engine_profile(name).local.package if name else ""
    if not package or find_spec(package) is not None:
        return
    raise failed(
        Failure(
            failure_class=FailureClass.ENGINE_NOT_SUPPORTED,
            message=f"Engine {name} needs the Python package {package}, which is not installed here.",
            next_step=f"Install it: pip install 'tacho-operator[{name}]'",
        ),
        EXIT_FAILED,
    )


def local_images(name: str) -> dict[str, str]:
    """Image of each engine that this Python can run: ``name``, with the installed version as tag.

    The engine's switches follow from the version. No image is pulled.
    """
    rows = (row for row in engine_profiles() if row.local.entrypoint)
    return {
        setting: ":".join(filter(None, (name, installed_version(row.local.package))))
        for row in rows
        for setting in row.image_settings
    }


def installed_version(package: str) -> str:
    """Version of the distribution that contains the import package, whatever its name; "" where it is not
    installed."""
    if not package or find_spec(package) is None:
        return ""
    try:
        return version(package)
    except PackageNotFoundError:
        brings = packages_distributions().get(package, [])
        return version(brings[0]) if brings else ""


def local_entrypoint(name: str, otherwise: tuple[str, ...]) -> tuple[str, ...]:
    """Command that starts the engine in this Python, of the build whose image ``otherwise`` starts.

    An engine that brings its own command keeps ``otherwise``.
    """
    row = engine_profile(name)
    found = row.local.entrypoint
    if row.cpu_image is not None and otherwise == row.cpu_image.entrypoint:
        found = row.local.cpu_entrypoint or found
    return (sys.executable, *found) if found else otherwise
