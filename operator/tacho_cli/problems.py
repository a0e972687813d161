"""Errors for the user: the failure, its place, the next step, and the exit code."""

from __future__ import annotations

import dataclasses
import enum
import textwrap

from tacho_contract.failure import Failure, FailureClass
from tacho_contract.text import LINES, visible

DEBUG = "TACHO_DEBUG"
"""Variable that makes an internal error print its traceback."""


class ExitCode(enum.IntEnum):
    """Exit codes of all verbs; each has one meaning."""

    OK = 0
    INTERNAL_ERROR = 1  # Python's own, too: no crash is taken for an answer
    BAD_INPUT = 2
    FAILED = 3
    NOT_MET = 4
    PROVISIONAL = 5
    INTERRUPTED = 130
    BROKEN_PIPE = 141


EXIT_MEANINGS = {
    ExitCode.OK: "done, with a good result: the plan fits, the engine serves, the SLO is met",
    ExitCode.INTERNAL_ERROR: f"an error in tacho itself: report it; {DEBUG}=1 prints the traceback",
    ExitCode.BAD_INPUT: "wrong usage, an invalid manifest, or a model, resource, server or cluster that is "
    "absent or cannot be read",
    ExitCode.FAILED: "begun, but not finished: an engine that crashed, a port in use, a download or an "
    "inspection that broke off, no measurement, or too little time to judge the SLO",
    ExitCode.NOT_MET: "done, with a bad result: no plan fits, the SLO is missed, a check fails, or a "
    "resource cannot become ready without you",
    ExitCode.PROVISIONAL: "measured, but something else than the server changed the figures: they decide "
    "nothing, so measure again",
    ExitCode.INTERRUPTED: "interrupted before it ended",
    ExitCode.BROKEN_PIPE: "what reads the output (head, less) ended first, as a shell counts SIGPIPE",
}
"""What each exit code means, as help and docs/reference/cli.md print it."""


def exit_codes() -> str:
    """The list of exit codes that ends a help text."""
    lines = ["\b", "Exit codes:"]
    for code, means in EXIT_MEANINGS.items():
        begin = f"  {code:<5}"
        lines += textwrap.wrap(means, 76, initial_indent=begin, subsequent_indent=" " * len(begin))
    return "\n".join(lines)


class CommandError(Exception):
    """Ends the command with a message on stderr and an exit code."""

    def __init__(self, *lines: str, code: int = ExitCode.BAD_INPUT, failure: Failure | None = None) -> None:
        super().__init__(visible("\n".join(lines), LINES))
        self.code = code
        self.failure = failure
        """The classified failure that caused the error, for documents; None: it has no class."""


def describe(failure: Failure) -> list[str]:
    """A failure as lines of text: class and message, the next step, the engine's last lines."""
    lines = [f"{failure.failure_class}: {failure.message}", f"  -> {failure.next_step}"]
    return [visible(line) for line in (*lines, *(f"  | {line}" for line in failure.log_tail))]


def failure_document(failure: Failure) -> dict[str, str]:
    """The failure as JSON with class, message and next step."""
    return {"class": failure.failure_class, "message": failure.message, "nextStep": failure.next_step}


def failed(failure: Failure, code: int) -> CommandError:
    """The error that ends a command because of ``failure``, with the exit code ``code``."""
    return CommandError(*describe(failure), code=code, failure=failure)


INPUT_FAILURES = (FailureClass.INVALID_CONFIG, FailureClass.MODEL_INVALID, FailureClass.MODEL_NOT_FOUND)
"""Failure classes for which other hardware would not help: the input is wrong."""


def no_plan_code(failure: Failure) -> ExitCode:
    """The exit code for a planning failure, by its class."""
    return ExitCode.BAD_INPUT if failure.failure_class in INPUT_FAILURES else ExitCode.NOT_MET


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
"""Next step by failure class for ``tacho run``, where no pod can be changed and no kubelet restarts it."""


def for_this_machine(failure: Failure) -> Failure:
    """``failure`` with a next step for a user of ``tacho run``, without Kubernetes."""
    step = NEXT_STEPS.get(failure.failure_class, failure.next_step)
    return dataclasses.replace(failure, next_step=step)
