"""Errors a person sees: what is wrong, where, what to do; and the exit code that goes with it."""

from __future__ import annotations

EXIT_FITS = 0
EXIT_BAD_INPUT = 1
EXIT_DOES_NOT_FIT = 2
EXIT_FAILED = 3
EXIT_INTERRUPTED = 130


class CommandError(Exception):
    """Ends the command with its message on stderr."""

    def __init__(self, *lines: str, code: int = EXIT_BAD_INPUT) -> None:
        super().__init__("\n".join(lines))
        self.code = code
