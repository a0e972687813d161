"""Errors for the user: the failure, its place, the next step, and the exit code."""

from __future__ import annotations

import dataclasses
import enum
import textwrap
from collections.abc import Mapping

from tacho_contract.failure import Failure, FailureClass
from tacho_contract.text import LINES, visible


class ExitCode(enum.IntEnum):
    """Exit codes of all verbs; EXIT_MEANINGS says what each means."""

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


VERBS = ("plan", "run", "probe", "status", "logs", "report", "doctor", "simulate")
NO_PROBE = tuple(verb for verb in VERBS if verb != "probe")


@dataclasses.dataclass(frozen=True, slots=True)
class ExitMeaning:
    """A row of the table of exit codes, which help and docs/reference/cli.md print."""

    name: str
    """Of the code."""
    verbs: tuple[str, ...]
    means: str

    @property
    def code(self) -> int:
        return ExitCode[self.name]

    @property
    def where(self) -> str:
        """The verbs as text."""
        return {VERBS: "all", NO_PROBE: "all but probe"}.get(self.verbs, ", ".join(self.verbs))


EXIT_MEANINGS = (
    ExitMeaning("OK", VERBS, "it fits; served; measured, and the SLO is met if one is set; shown; simulated"),
    ExitMeaning(
        "BAD_INPUT",
        NO_PROBE,
        "wrong usage, an invalid manifest, or a model, resource or cluster that is absent or cannot be read",
    ),
    ExitMeaning(
        "SLO_NOT_MET",
        ("probe",),
        "the SLO is missed: by one stream, or by open-loop requests below the capacity's rate",
    ),
    ExitMeaning("DOES_NOT_FIT", ("plan", "run"), "no plan fits"),
    ExitMeaning("PROBE_USAGE", ("probe",), "wrong usage; its 1 is an answer"),
    ExitMeaning(
        "FAILED", ("run",), "a port in use, an engine that crashed, a download that broke off for good"
    ),
    ExitMeaning("FAILED", ("status",), "with --watch: it cannot become ready without you"),
    ExitMeaning("FAILED", ("doctor",), "a check fails"),
    ExitMeaning("NOT_MEASURED", ("probe",), "not measured, or the time was too short to judge the SLO"),
    ExitMeaning(
        "PROVISIONAL",
        ("probe",),
        "measured, but something else than the server changed the figures: they decide nothing. A deployment "
        "keeps its clean figures and is measured again later",
    ),
    ExitMeaning("INTERRUPTED", VERBS, "interrupted before it ended"),
    ExitMeaning(
        "BROKEN_PIPE",
        VERBS,
        "what reads the output (head, less) ended first, as a shell counts SIGPIPE",
    ),
)


def exit_codes(verb: str = "") -> str:
    """The exit codes as the end of a help text: of one verb, or of all with their verbs."""
    lines = ["\b", "Exit codes:"]
    for row in EXIT_MEANINGS:
        if not verb or verb in row.verbs:
            text = row.means if verb else f"{row.where}: {row.means}"
            lines += textwrap.wrap(text, 76, initial_indent=f"  {row.code:<5}", subsequent_indent=" " * 7)
    return "\n".join(lines)


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
