"""Reads what a plan needs of a model, without its weights, and packs it into the termination message.

``python -m tacho_runtime.hub.inspect`` reads InspectConfig from TACHO_INSPECT_CONFIG, and writes
InspectResult, packed, to the termination log. Exit code 0 with facts, 1 with a failure.
"""

from __future__ import annotations

import os
import signal

if __name__ == "__main__":
    # PID 1 ignores a signal without a handler, it is sent once, and the imports below take a second.
    signal.signal(signal.SIGTERM, lambda *_: os._exit(143))

import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

from tacho_contract import codec
from tacho_contract.failure import FailedError, Failure, FailureClass
from tacho_contract.model import (
    CLASS_LIMIT,
    ENV_INSPECT_CONFIG,
    OTHER,
    InspectConfig,
    InspectResult,
    ModelFacts,
    TensorClass,
)
from tacho_contract.units import clipped
from tacho_contract.uri import ClaimUri, HubUri, ModelUri
from tacho_runtime.files import configuration, write_termination
from tacho_runtime.headers.source import FolderSource, ModelSource, invalid
from tacho_runtime.hub import container
from tacho_runtime.hub.failures import unreachable
from tacho_runtime.hub.gather import find_facts
from tacho_runtime.hub.remote import HubSource

LIMIT_BYTES = 4096
"""Longest termination message in bytes. The kubelet cuts longer ones without a warning."""
KEPT_CLASSES = (CLASS_LIMIT - 1, 24, 16, 10, 6)
FAILURE_CHARS = ((1600, 600), (800, 400), (400, 200), (200, 100))
"""Lengths in characters of a failure's message and next step, tried in this order. Names that a model's
author chose may not compress: an ideograph then takes five bytes.
"""
UNKNOWN_LIMIT = 12
UNKNOWN_TEXT_LIMIT = 160


def packed_within_limit(result: InspectResult) -> str:
    """``result`` packed into at most LIMIT_BYTES.

    The least important facts are left out until it fits; ``unknown`` then names them.
    """
    packed = codec.pack(result)
    if result.failure:
        for message, next_step in FAILURE_CHARS:
            packed = codec.pack(replace(result, failure=_short(result.failure, message, next_step)))
            if len(packed) <= LIMIT_BYTES:
                break
    if result.facts and (len(packed) > LIMIT_BYTES or len(result.facts.tensors) > CLASS_LIMIT):
        for kept in KEPT_CLASSES:
            packed = codec.pack(replace(result, facts=_shortened(result.facts, kept)))
            if len(packed) <= LIMIT_BYTES:
                break
        else:
            packed = codec.pack(replace(result, facts=None, failure=_too_many_files(result.facts)))
    if len(packed) > LIMIT_BYTES:
        raise AssertionError(f"a result of {len(packed)} bytes does not fit {LIMIT_BYTES}")
    return packed


def _short(failure: Failure, message: int, next_step: int) -> Failure:
    return replace(
        failure, message=clipped(failure.message, message), next_step=clipped(failure.next_step, next_step)
    )


def _shortened(facts: ModelFacts, kept: int) -> ModelFacts:
    """``facts`` with the ``kept`` largest tensor classes; the others are added up to one."""
    rest = facts.tensors[kept:]
    unknown = tuple(clipped(text, UNKNOWN_TEXT_LIMIT) for text in facts.unknown[:UNKNOWN_LIMIT])
    if not rest:
        return replace(facts, unknown=unknown)
    added_up = TensorClass(
        kind=OTHER,
        dtype=OTHER,
        tensors=sum(small.tensors for small in rest),
        parameters=sum(small.parameters for small in rest),
        stored_bytes=sum(small.stored_bytes for small in rest),
    )
    note = f"the kinds of the {len(rest)} smallest tensor classes (they did not fit the message)"
    return replace(facts, tensors=(*facts.tensors[:kept], added_up), unknown=(*unknown, note))


def _too_many_files(facts: ModelFacts) -> Failure:
    return Failure(
        failure_class=FailureClass.MODEL_INVALID,
        message=f"Naming exactly the {facts.files.file_count} files to load takes "
        f"{len(facts.files.globs)} patterns, more than fit a report.",
        next_step="Select the files with at most 8 patterns in spec.model.files.",
    )


def open_source(config: InspectConfig, token: str) -> ModelSource:
    """The folder or hub repository that ``config.uri`` names. Raises FailedError."""
    uri, claim = config.uri, Path(config.claim_dir)
    if isinstance(uri, HubUri):
        return HubSource(uri.repository, config.revision, endpoint=config.endpoint, token=token)
    if isinstance(uri, ClaimUri):
        return FolderSource(claim / uri.path, name=str(uri), confined_to=claim)
    return FolderSource(Path(uri.path), name=str(uri))


def inspect(
    config: InspectConfig, token: str = "", allow_seconds: Callable[[int], None] = lambda _: None
) -> InspectResult:
    """The facts of the model, or the failure because of which there are none. Never raises."""
    try:
        facts = find_facts(config, open_source(config, token), allow_seconds)
        codec.loads(ModelFacts, codec.dumps(facts))  # as who reads the result does
        return InspectResult(facts=facts)
    except codec.DocumentError as error:
        step = "Correct the model's configuration; if it is sound, report this message."
        return InspectResult(
            failure=invalid(f"tacho cannot hold the model's figures: {error}.", step).failure
        )
    except FailedError as refusal:
        return InspectResult(failure=refusal.failure)
    except MemoryError:
        return InspectResult(failure=_unexpected("the model's headers need more memory than there is"))
    except Exception as error:  # noqa: BLE001 - the operator reads classes, not tracebacks
        return InspectResult(failure=_unexpected(f"{type(error).__name__}: {error}"[:300]))


def _unexpected(what: str) -> Failure:
    return Failure(
        failure_class=FailureClass.MODEL_INVALID,
        message=f"The model could not be understood: {what}.",
        next_step="Check the model's files; if they are sound, report this message.",
    )


def _end_after(uri: ModelUri, seconds: int) -> None:
    """Ends the inspection of ``uri`` with an error ``seconds`` from now; replaces an earlier limit."""
    container.limit_time(max(1, seconds), _overdue(uri, f"{uri} was not read within {seconds} s."))


def _overdue(uri: ModelUri, message: str) -> FailedError:
    if isinstance(uri, HubUri):
        return unreachable(message)
    step = "Check the storage of the claim or folder, and how large its files are; it will be retried."
    return FailedError.of(FailureClass.INSPECTION_TIMEOUT, message, step)


def main(arguments: list[str]) -> int:
    """Inspects a model. Exit code 0 with facts, 1 with a failure."""
    result = _model()
    message = packed_within_limit(result)
    written = write_termination(container.termination_log(), message)
    if "--print" in arguments:
        sys.stdout.write(message + "\n")
    if result.failure:
        container.print_failure(result.failure)
    return 0 if written and not result.failure else 1


def _model() -> InspectResult:
    """The result for the model in the configuration."""
    try:
        config = configuration(InspectConfig, os.environ.get(ENV_INSPECT_CONFIG, ""), ENV_INSPECT_CONFIG)
        token = container.hub_token(config.endpoint)
    except FailedError as refusal:
        return InspectResult(failure=refusal.failure)
    end_after = partial(_end_after, config.uri)
    end_after(config.timeout_seconds)
    result = inspect(config, token, end_after)
    container.end_limit()
    return result


if __name__ == "__main__":
    code = main(sys.argv[1:])
    sys.stdout.flush()
    # Reads that are still under way in other threads must not hold the pod after its deadline.
    os._exit(code)
