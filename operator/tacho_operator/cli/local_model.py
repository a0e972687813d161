"""Finds out about a model from this machine: the inspect program as a child, with the caller's rights."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from tacho_operator.api.types import LLMDeployment
from tacho_operator.cli.problems import EXIT_BAD_INPUT, CommandError
from tacho_operator.core.source import CLAIM
from tacho_runtime.codec import DocumentError, dumps, unpack
from tacho_runtime.contract import ENV_INSPECT_CONFIG, Failure, InspectConfig, InspectResult, ModelFacts

FILE = "file://"


def claim_directories(pairs: list[str]) -> dict[str, Path]:
    """``CLAIM=DIR`` options. Raises CommandError for one that is not, or a folder that is not there."""
    found: dict[str, Path] = {}
    for pair in pairs:
        claim, separator, folder = pair.partition("=")
        if not separator or not claim or not folder:
            raise CommandError(f"--pvc {pair}: CLAIM=DIR is wanted, e.g. --pvc models=/srv/models")
        path = Path(folder).expanduser().resolve()
        if not path.is_dir():
            raise CommandError(f"--pvc {pair}: {path} is not a folder")
        found[claim] = path
    return found


def model_directory(uri: str, claims: dict[str, Path]) -> Path | None:
    """Where a pvc:// or file:// model is on this machine; None for hf://. Raises CommandError."""
    if uri.startswith(FILE):
        return Path(uri.removeprefix(FILE))
    if not uri.startswith(CLAIM):
        return None
    claim, _, path = uri.removeprefix(CLAIM).partition("/")
    if claim not in claims:
        raise CommandError(
            f"{uri}: this machine has no claims; say which folder stands in for it: --pvc {claim}=DIR"
        )
    return claims[claim] / path.strip("/")


def describe(failure: Failure) -> list[str]:
    """A failure as a person reads it."""
    return [f"{failure.failure_class}: {failure.message}", f"  -> {failure.next_step}", *failure.log_tail]


def inspect_model(resource: LLMDeployment, claims: dict[str, Path]) -> ModelFacts:
    """Facts about the resource's model. Raises CommandError with the failure's class and next step."""
    model = resource.spec.model
    engine = (resource.spec.engine.name if resource.spec.engine else None) or ""
    folder = model_directory(model.uri, claims)
    config = InspectConfig(
        uri=f"{FILE}{folder}" if folder else model.uri,
        revision=model.revision or "main",
        files=tuple(model.files or ()),
        engine=engine,
        parse=engine != "custom",
        endpoint=(model.hub.endpoint if model.hub else "") or "",
    )
    with tempfile.TemporaryDirectory(prefix="tacho-inspect-") as scratch:
        answer = Path(scratch) / "result"
        environment = {
            **os.environ,
            ENV_INSPECT_CONFIG: dumps(config),
            "TACHO_TERMINATION_LOG": str(answer),
        }
        done = subprocess.run(
            [sys.executable, "-m", "tacho_runtime.hub.inspect"],
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
        try:
            result = unpack(InspectResult, answer.read_text())
        except (OSError, DocumentError):
            tail = done.stderr.strip().splitlines()[-5:]
            raise CommandError(f"inspecting {model.uri} ended with code {done.returncode}", *tail) from None
    if result.failure:
        raise CommandError(*describe(result.failure), code=EXIT_BAD_INPUT)
    if result.facts is None:
        raise CommandError(f"inspecting {model.uri} gave neither facts nor a failure")
    return result.facts
