"""Which engines this Python can run, and what to install for one that it cannot."""

from __future__ import annotations

from importlib.util import find_spec

from tacho_contract.failure import Failure, FailureClass
from tacho_operator.cli.output.problems import EXIT_FAILED, failed

PACKAGES = {"llamacpp": "xllamacpp"}
"""Engine to the package that must be importable; an engine that is not here brings its own command."""


def require_engine(name: str | None) -> None:
    """Raises CommandError(EngineNotSupported) with the extra to install."""
    package = PACKAGES.get(name or "")
    if package is None or find_spec(package) is not None:
        return
    raise failed(
        Failure(
            failure_class=FailureClass.ENGINE_NOT_SUPPORTED,
            message=f"Engine {name} needs the Python package {package}, which is not installed here.",
            next_step=f"Install it: pip install 'tacho-operator[{name}]'",
        ),
        EXIT_FAILED,
    )
