"""Finds out what a plan needs to know of a model, without its weights.

``python -m tacho_runtime.hub.inspect`` reads InspectConfig from TACHO_INSPECT_CONFIG, and writes
InspectResult, packed, to the termination log. Exit code 0 with facts, 1 with a failure.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import NoReturn

from tacho_contract import codec
from tacho_contract.failure import FailedError, Failure, FailureClass
from tacho_contract.inspection import ENV_INSPECT_CONFIG, InspectConfig, InspectResult
from tacho_contract.pod import TERMINATION_LOG
from tacho_contract.uri import ClaimUri, HubUri, parse_uri
from tacho_runtime.headers.errors import not_found
from tacho_runtime.headers.source import FolderSource, Source
from tacho_runtime.hub.failures import unreachable
from tacho_runtime.hub.inspect.gather import find_facts
from tacho_runtime.hub.inspect.message import packed_within_limit
from tacho_runtime.hub.remote import HubSource

ENV_TERMINATION_LOG = "TACHO_TERMINATION_LOG"
"""Where the result goes instead of the kubelet's file."""


def open_source(config: InspectConfig, token: str) -> Source:
    """The place ``config.uri`` names. Raises FailedError."""
    try:
        source = parse_uri(config.uri)
    except ValueError as error:
        raise not_found(f"{error}.", "Correct spec.model.uri: hf://owner/name or pvc://claim/path.") from None
    if isinstance(source, HubUri):
        return HubSource(source.repository, config.revision, endpoint=config.endpoint, token=token)
    if isinstance(source, ClaimUri):
        claim = Path(config.claim_dir)
        return FolderSource(claim / source.path, name=config.uri, confined_to=claim)
    return FolderSource(Path(source.path), name=config.uri)


def inspect(
    config: InspectConfig, token: str = "", allow_seconds: Callable[[int], None] = lambda _: None
) -> InspectResult:
    """Facts, or the failure that stood in the way. Never raises."""
    try:
        return InspectResult(facts=find_facts(config, open_source(config, token), allow_seconds))
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


def _configuration(text: str) -> InspectConfig | Failure:
    try:
        return codec.loads(InspectConfig, text)
    except codec.DocumentError as error:
        return Failure(
            failure_class=FailureClass.INVALID_CONFIG,
            message=f"{ENV_INSPECT_CONFIG}: {error}",
            next_step="This is set by the operator; check that its version and the image's are the same.",
        )


def _end_after(seconds: int) -> None:
    """From now on, in place of what was said before."""

    def expired(_signal: int, _frame: FrameType | None) -> NoReturn:
        raise unreachable(f"The inspection did not finish within {seconds} s.")

    signal.signal(signal.SIGALRM, expired)
    # Again and again: a library may swallow the first.
    signal.setitimer(signal.ITIMER_REAL, max(1, seconds), 1.0)


def main(arguments: list[str]) -> int:
    """Exit code 0 with facts, 1 with a failure."""
    # PID 1 of a container ignores SIGTERM unless it says otherwise.
    signal.signal(signal.SIGTERM, lambda *_: os._exit(143))
    config = _configuration(os.environ.get(ENV_INSPECT_CONFIG, ""))
    if isinstance(config, Failure):
        result = InspectResult(failure=config)
    else:
        _end_after(config.timeout_seconds)
        result = inspect(config, os.environ.get("HF_TOKEN", "").strip(), _end_after)
        signal.setitimer(signal.ITIMER_REAL, 0)
    message = packed_within_limit(result)
    Path(os.environ.get(ENV_TERMINATION_LOG) or TERMINATION_LOG).write_text(message)
    if "--print" in arguments:
        sys.stdout.write(message + "\n")
    if result.failure:
        sys.stderr.write(
            f"{result.failure.failure_class}: {result.failure.message} {result.failure.next_step}\n"
        )
    return 1 if result.failure else 0
