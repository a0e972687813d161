"""Errors for the user: the failure, its place, the next step, and the exit code."""

from __future__ import annotations

import dataclasses
import enum
import textwrap
from collections.abc import Mapping

from tacho_contract.failure import Failure, FailureClass
from tacho_contract.text import LINES, visible

DEBUG = "TACHO_DEBUG"
"""Variable that makes an internal error print its traceback."""


class ExitCode(enum.IntEnum):
    """Exit codes of all verbs; each has one meaning, which EXIT_MEANINGS says."""

    OK = 0
    INTERNAL_ERROR = 1  # Python's own, too: no crash is taken for an answer
    BAD_INPUT = 2
    FAILED = 3
    NOT_MET = 4
    PROVISIONAL = 5
    INTERRUPTED = 130
    BROKEN_PIPE = 141


VERBS = ("plan", "run", "probe", "status", "logs", "report", "doctor", "simulate")


@dataclasses.dataclass(frozen=True, slots=True)
class ExitMeaning:
    """What an exit code means; a row of the table that help and docs/reference/cli.md print."""

    code: ExitCode
    means: str
    by_verb: Mapping[str, str] = dataclasses.field(default_factory=dict)
    """Meaning by command, for commands where it differs; empty: it is the same in all."""

    @property
    def verbs(self) -> tuple[str, ...]:
        return tuple(self.by_verb) or VERBS

    @property
    def where(self) -> str:
        """The verbs that use the exit code, as text."""
        return ", ".join(self.by_verb) or "all"

    def text(self, verb: str = "") -> str:
        """The meaning of the exit code as text, in one verb or in all."""
        if verb:
            return ": ".join(filter(None, (self.means, self.by_verb.get(verb))))
        verbs: dict[str, list[str]] = {}
        for name, case in self.by_verb.items():
            verbs.setdefault(case, []).append(name)
        cases = "; ".join(f"{case} ({', '.join(names)})" for case, names in verbs.items())
        return ": ".join(filter(None, (self.means, cases)))


EXIT_MEANINGS = (
    ExitMeaning(ExitCode.OK, "done, with a good result: the plan fits, the engine serves, the SLO is met"),
    ExitMeaning(
        ExitCode.INTERNAL_ERROR,
        f"an error in tacho itself: report it; {DEBUG}=1 prints the traceback",
    ),
    ExitMeaning(
        ExitCode.BAD_INPUT,
        "wrong usage, an invalid manifest, or a model, resource, server or cluster that is absent or cannot "
        "be read",
    ),
    ExitMeaning(
        ExitCode.FAILED,
        "begun, but not finished",
        {
            "plan": "the inspection of the model broke off",
            "run": "a port in use, an engine that crashed, a download that broke off for good",
            "probe": "not measured, or the time was too short to judge the SLO",
        },
    ),
    ExitMeaning(
        ExitCode.NOT_MET,
        "done, with a bad result",
        {
            "plan": "no plan fits",
            "run": "no plan fits",
            "probe": "the SLO is missed, by one stream or by open-loop requests below the capacity's rate",
            "status": "with --watch, it cannot become ready without you",
            "doctor": "a check fails",
        },
    ),
    ExitMeaning(
        ExitCode.PROVISIONAL,
        "measured, but something else than the server changed the figures, which decide nothing",
        {"probe": "a deployment keeps its clean figures and is measured again later"},
    ),
    ExitMeaning(ExitCode.INTERRUPTED, "interrupted before it ended"),
    ExitMeaning(
        ExitCode.BROKEN_PIPE, "what reads the output (head, less) ended first, as a shell counts SIGPIPE"
    ),
)


def exit_codes(verb: str = "") -> str:
    """The list of exit codes that ends a help text: of one verb, or of all."""
    lines = ["\b", "Exit codes:"]
    for row in EXIT_MEANINGS:
        if not verb or verb in row.verbs:
            begin = f"  {row.code:<5}"
            next_lines = " " * len(begin)
            lines += textwrap.wrap(row.text(verb), 76, initial_indent=begin, subsequent_indent=next_lines)
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


def refuse_given(meant: str, options: Mapping[str, object], why: str = "") -> None:
    """Raises CommandError where one of ``options`` is set, as they have an effect on ``meant`` only."""
    given = [option for option, value in options.items() if value]
    if given:
        raise CommandError(f"{', '.join(given)}: for {meant} only{why}")


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
