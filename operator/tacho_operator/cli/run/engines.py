"""Which engines this Python can run, and what to install for one that it cannot."""

from __future__ import annotations

import sys
from importlib.metadata import PackageNotFoundError, packages_distributions, version
from importlib.util import find_spec

from tacho_contract.failure import Failure, FailureClass
from tacho_engines.registry import engine_row, engine_rows
from tacho_operator.cli.output.problems import EXIT_FAILED, failed


def require_engine(name: str | None) -> None:
    """Raises CommandError(EngineNotSupported) with the extra to install."""
    package = engine_row(name).package if name else ""
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
    """For every engine that is a package of this Python, ``name`` with the installed version as its tag: its
    switches follow from that. Nothing is pulled here."""
    rows = (row for row in engine_rows() if row.local_entrypoint)
    return {
        setting: ":".join(filter(None, (name, installed_version(row.package))))
        for row in rows
        for setting in row.image_settings
    }


def installed_version(package: str) -> str:
    """Of the distribution that brings the import package, whatever that is called; "" where there is none."""
    if not package or find_spec(package) is None:
        return ""
    try:
        return version(package)
    except PackageNotFoundError:
        brings = packages_distributions().get(package, [])
        return version(brings[0]) if brings else ""


def local_entrypoint(name: str, otherwise: tuple[str, ...]) -> tuple[str, ...]:
    """What starts the engine in this Python, of that build whose image is started by ``otherwise``; that
    itself for an engine that brings its own command."""
    row = engine_row(name)
    found = row.local_entrypoint
    if row.cpu_build is not None and otherwise == row.cpu_build.entrypoint:
        found = row.cpu_build.local_entrypoint or found
    return (sys.executable, *found) if found else otherwise
