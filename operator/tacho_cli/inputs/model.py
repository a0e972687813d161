"""Inspects a model from this machine: runs the inspect program as a child, with the caller's rights."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from tacho_cli.inputs.child import ends_with_us, hub_environment
from tacho_cli.problems import CommandError, ExitCode, failed, for_this_machine
from tacho_contract.codec import DocumentError, dumps, unpack
from tacho_contract.model import ENV_INSPECT_CONFIG, InspectResult, ModelFacts
from tacho_contract.uri import ClaimUri, FileUri, HubUri, ModelUri
from tacho_operator.api.types import LLMDeployment
from tacho_operator.core.names import digest
from tacho_operator.core.revisions.inspection import inspect_config


def claim_directories(pairs: list[str]) -> dict[str, Path]:
    """The folder for each claim, from ``CLAIM=DIR`` options.

    Raises CommandError for an option of another form, and for a folder that does not exist.
    """
    found: dict[str, Path] = {}
    for pair in pairs:
        claim, separator, folder = pair.partition("=")
        if not separator or not claim or not folder:
            raise CommandError(f"--pvc {pair}: CLAIM=DIR is expected, e.g. --pvc models=/srv/models")
        path = Path(folder).expanduser().resolve()
        if not path.is_dir():
            raise CommandError(f"--pvc {pair}: {path} is not a folder")
        found[claim] = path
    return found


def model_directory(source: ModelUri, claims: dict[str, Path]) -> Path | None:
    """Directory of a pvc:// or file:// model on this machine; None for hf://. Raises CommandError."""
    if isinstance(source, HubUri):
        return None
    if isinstance(source, FileUri):
        return Path(source.path)
    if source.claim not in claims:
        raise CommandError(
            f"{source}: this machine has no claims; name the folder that replaces it: "
            f"--pvc {source.claim}=DIR"
        )
    return claims[source.claim] / source.path


def cluster_form(resource: LLMDeployment) -> LLMDeployment:
    """The resource with a URI that a cluster accepts, in place of file://, for code that also runs in
    clusters."""
    if not isinstance(resource.spec.model.source, FileUri):
        return resource
    stand_in = ClaimUri("local", digest(resource.spec.model.uri))
    model = resource.spec.model.model_copy(update={"uri": str(stand_in)})
    return resource.model_copy(update={"spec": resource.spec.model_copy(update={"model": model})})


def inspect_model(resource: LLMDeployment, claims: dict[str, Path]) -> ModelFacts:
    """The facts of the resource's model. Raises CommandError with the failure's class and next step."""
    uri = resource.spec.model.source
    folder = model_directory(uri, claims)
    config = dataclasses.replace(inspect_config(resource), uri=FileUri(str(folder)) if folder else uri)
    # A file without a name: nothing of it stays, however this process ends.
    with tempfile.TemporaryFile("w+", encoding="utf-8") as answer:
        place = f"/dev/fd/{answer.fileno()}"
        variables = {ENV_INSPECT_CONFIG: dumps(config), "TACHO_TERMINATION_LOG": place}
        done = subprocess.run(
            [sys.executable, "-m", "tacho_runtime.hub.inspect"],
            env={**os.environ, **hub_environment(resource.spec.model), **variables},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
            preexec_fn=ends_with_us,
            pass_fds=(answer.fileno(),),
        )
        try:
            result = unpack(InspectResult, answer.read())
        except (OSError, DocumentError):
            tail = done.stderr.strip().splitlines()[-5:]
            ended = f"inspecting {uri} ended with code {done.returncode}"
            raise CommandError(ended, *tail, code=ExitCode.FAILED) from None
    if result.failure:
        raise failed(for_this_machine(result.failure), ExitCode.BAD_INPUT)
    if result.facts is None:
        raise CommandError(f"inspecting {uri} had no result", code=ExitCode.FAILED)
    return dataclasses.replace(result.facts, uri=uri)
