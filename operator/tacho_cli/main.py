"""The ``tacho`` command: parses its arguments and calls the verb. Also installed as ``kubectl-tacho``."""

from __future__ import annotations

import contextlib
import errno
import os
import sys
import traceback
from typing import Annotated, TextIO

import typer
from typer.exceptions import TyperException

from tacho_cli import cluster_commands, commands
from tacho_cli.output import never_fail
from tacho_cli.problems import DEBUG, CommandError, ExitCode, exit_codes
from tacho_contract import __version__
from tacho_contract.text import visible

app = typer.Typer(
    help="Plan, run and measure quantized LLM servers.",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # plain help, as kubectl prints it, in half the time
    epilog=exit_codes(),
)
for command, summary in (
    (commands.plan, "Plan an LLMDeployment: what fits, which quantization, why."),
    (commands.run, "Serve and measure a model on this machine."),
    (commands.probe, "Measure a server at a URL."),
    (cluster_commands.status, "Show LLMDeployments, their conditions and measurements."),
    (cluster_commands.logs, "Show the last lines of pods, and the class of each failure."),
    (cluster_commands.report, "Write a page on an LLMDeployment, or on the fleet."),
    (cluster_commands.doctor, "Check a cluster: operator, nodes, storage, quotas, rights."),
    (commands.simulate, "Replay a trace of requests against scaling policies."),
):
    app.command(short_help=summary, epilog=exit_codes())(command)


WORDS = 300
"""Most characters of an internal error's message that are shown."""
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""Errors of a write to a full disk, beyond a quota or a limit."""


def _version(requested: bool) -> None:
    if requested:
        print(f"tacho {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    del version  # its callback has acted


def main(arguments: list[str] | None = None) -> int:
    """Runs one command and returns its exit code; no exception leaves it but SystemExit."""
    never_fail()
    try:
        return _guarded(arguments)
    except (BrokenPipeError, SystemExit) as error:
        # Of a command that writes to a reader which went away (head, less), typer makes exit code 1.
        if isinstance(error, SystemExit) and not isinstance(error.__context__, BrokenPipeError):
            raise
        _discard(sys.stdout, sys.stderr)
        return ExitCode.BROKEN_PIPE


def _guarded(arguments: list[str] | None) -> int:
    """Runs one command and writes its output; returns the exit code, also after an unexpected error."""
    try:
        code = _called(arguments)
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except Exception as error:  # noqa: BLE001 - else Python prints a traceback
        if not isinstance(error, OSError) or error.errno not in FULL:
            return _internal_error(error)
        what = visible(os.fsdecode(error.filename)) if error.filename else "the output"
        print(f"tacho: {what} cannot be written: {error.strerror}. Free space there, or write elsewhere",
              file=sys.stderr)  # fmt: skip
        _end_output()
        return ExitCode.FAILED
    return code


def _end_output() -> None:
    """Writes what is left of the output, or discards it: else Python ends with a code of its own."""
    try:
        sys.stdout.flush()
    except OSError:
        _discard(sys.stdout)


def _internal_error(error: Exception) -> int:
    """Prints an unexpected error in one line, or as a traceback for debugging. Returns the exit code."""
    if os.environ.get(DEBUG):
        traceback.print_exception(error)
    words = visible(" ".join(str(error).split()))[:WORDS]
    text = ": ".join(filter(None, (type(error).__name__, words)))
    print(f"tacho: internal error: {text}; {DEBUG}=1 prints the traceback", file=sys.stderr)
    _end_output()
    return ExitCode.INTERNAL_ERROR


def _discard(*streams: TextIO) -> None:
    """Discards output that was not written yet, as Python would report an error at exit."""
    for stream in streams:
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _called(arguments: list[str] | None) -> int:
    """Runs one command, prints its error and returns its exit code."""
    program = "kubectl tacho" if os.path.basename(sys.argv[0]).startswith("kubectl-") else "tacho"
    try:
        code = app(args=arguments, prog_name=program, standalone_mode=False)
        if code == ExitCode.INTERRUPTED and not isinstance(code, ExitCode):  # typer's, which says nothing
            raise KeyboardInterrupt
        return int(code or 0)
    except CommandError as error:
        print(f"tacho: {error}", file=sys.stderr)
        return error.code
    except TyperException as error:
        show = getattr(error, "show", None)
        if show:
            show()
        else:
            print(f"tacho: {error.format_message()}", file=sys.stderr)
        return ExitCode.BAD_INPUT
    except (typer.Abort, KeyboardInterrupt):
        print("tacho: interrupted", file=sys.stderr)
        return ExitCode.INTERRUPTED


def complete() -> int:
    """``kubectl_complete-tacho ARGUMENTS``, by which kubectl completes ``kubectl tacho`` in a shell."""
    words = ["tacho", *sys.argv[1:]]
    os.environ |= {
        "_TACHO_COMPLETE": "complete_bash",
        "COMP_WORDS": " ".join(words),
        "COMP_CWORD": str(len(words) - 1),
    }
    with contextlib.suppress(SystemExit):
        app(prog_name="tacho")
    print(":4")  # cobra's ShellCompDirectiveNoFileComp
    return ExitCode.OK


if __name__ == "__main__":
    sys.exit(main())
