"""Errors for the user: the failure, its place, the next step, and the exit code."""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Mapping

from tacho_contract.failure import Failure, FailureClass
from tacho_contract.text import LINES, visible


class ExitCode(enum.IntEnum):
    """ExitCode codes of all verbs; docs/reference/cli.md has them in one table."""

    OK = 0
    BAD_INPUT = 1
    DOES_NOT_FIT = 2
    FAILED = 3
    PROVISIONAL = 4
    INTERRUPTED = 130
    BROKEN_PIPE = 141

    # Of probe, whose 1 is a result: a CI gate must not take a usage error for it.
    SLO_NOT_MET = 1
    PROBE_USAGE = 2
    NOT_MEASURED = 3


class CommandError(Exception):
    """Ends the command with its message on stderr."""

    def __init__(self, *lines: str, code: int = ExitCode.BAD_INPUT, failure: Failure | None = None) -> None:
        super().__init__(visible("\n".join(lines), LINES))
        self.code = code
        self.failure = failure
        """The classified failure behind it, for documents; None where nothing was classified."""


def describe(failure: Failure) -> list[str]:
    """A failure as text: class and message, the next step, the engine's last lines."""
    lines = [f"{failure.failure_class}: {failure.message}", f"  -> {failure.next_step}"]
    return [visible(line) for line in (*lines, *(f"  | {line}" for line in failure.log_tail))]


def failure_document(failure: Failure) -> dict[str, str]:
    """A failure as JSON."""
    return {"class": failure.failure_class, "message": failure.message, "nextStep": failure.next_step}


def failed(failure: Failure, code: int) -> CommandError:
    """The error of a classified failure."""
    return CommandError(*describe(failure), code=code, failure=failure)


def refuse_given(meant: str, options: Mapping[str, object]) -> None:
    """Raises CommandError where one of the options is set: these options apply to ``meant`` only."""
    given = [option for option, value in options.items() if value]
    if given:
        raise CommandError(f"{', '.join(given)}: for {meant} only", code=ExitCode.PROBE_USAGE)


NEXT_STEPS: dict[str, str] = {
    FailureClass.ENGINE_CRASHED: "Read the engine's last lines below; --log FILE keeps all of them.",
    FailureClass.HOST_OUT_OF_MEMORY: "Free memory on this machine, or lower spec.context.maxModelLen or "
    "concurrency.",
    FailureClass.HUB_UNREACHABLE: "Check the network, the proxy variables and spec.model.hub.endpoint, then "
    "run it again: what is downloaded is kept.",
    FailureClass.PORT_IN_USE: "Stop that process, or choose other ports: --port (the API), --report-port "
    "(the report).",
    FailureClass.STARTUP_TIMEOUT: "Read the engine's log (--log FILE); if the engine is only slow, raise "
    "spec.startupTimeoutSeconds.",
}
"""Next steps after a failure of a local run, without a pod to change or a kubelet that restarts it."""


def for_this_machine(failure: Failure) -> Failure:
    """``failure`` with the next step for the user of this machine."""
    step = NEXT_STEPS.get(failure.failure_class, failure.next_step)
    return dataclasses.replace(failure, next_step=step)
