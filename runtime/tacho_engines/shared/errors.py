"""The error that ended an engine, among the last lines of its log.

An engine may have several processes. When one ends by an error, the others end by errors that only report it.
Errors that the engine handled may come before. So the cause is the last error that is no such consequence, of
whichever process.

Two exceptions of one traceback may be chained. After "During handling of …" the second counts alone: the
first was handled, and the second is what the other way failed with. After "… was the direct cause of …" both
are told: the second says what was tried, and its author names the first as the reason.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

LINE_START = r"(?:^|[\])]:? )"
"""Matches where a traceback's last line can begin: vLLM writes process, level and file before it,
torch a rank."""
SOURCE_LINE = re.compile(rf"{LINE_START} {{4,}}(?:raise\b|f?[\"'])")
"""Matches the line of a program that a traceback quotes: an error's text before it is filled in."""
LINES_OF_AN_ERROR = 4
"""Most lines of one error that are read."""
_UNFINISHED = re.compile(r"(?::|validation errors? for \w+)\s*$")
"""Matches the end of a line whose sense is in the next: Reasons:, and pydantic's errors."""
_MARKS = re.compile(rf"{LINE_START} +[\^~ ]+$")
"""Matches the line by which a traceback marks a part of the program's line above it."""
_BEFORE = re.compile(rf"^.*?{LINE_START} +|^ +")
_DIRECT_CAUSE = "The above exception was the direct cause of the following exception"


@dataclass(frozen=True, slots=True)
class FoundError:
    """An error in the log: its text and the number of its line."""

    line: int
    text: str


@dataclass(frozen=True, slots=True)
class ErrorLines:
    """How an engine writes its errors."""

    error: re.Pattern[str]
    """Matches an error; its text is the group ``text``."""
    consequence: re.Pattern[str]
    """Matches in lines of errors that only report another one."""

    def text(self, line: str) -> str | None:
        """The error in ``line``; None: none, or a consequence of one."""
        match = None if self.consequence.search(line) else self.error.search(line)
        return match["text"].strip() if match else None

    def whole(self, lines: Sequence[str]) -> list[str]:
        """``lines``, each error that goes on in the next lines being completed by them.

        They have what is written before the error, if anything, at their beginning, too.
        """
        found = list(lines)
        for index, line in enumerate(lines):
            match = self.error.search(line) if _UNFINISHED.search(line) else None
            if match is None:
                continue
            before = line[: match.start("text")]
            for number, more in enumerate(lines[index + 1 : index + LINES_OF_AN_ERROR]):
                rest = more.removeprefix(before)
                goes_on = (number == 0 and not rest.startswith(("(", "["))) or rest[:1].isspace()
                if not more.startswith(before) or not goes_on or not rest.strip() or self.error.search(more):
                    break
                found[index] += f" {rest.strip()}"
        return found

    def last(self, lines: Sequence[str]) -> FoundError | None:
        """The last error that is no consequence, with the one it was raised from; None: there is none."""
        errors = [FoundError(number, text) for number, line in enumerate(lines) if (text := self.text(line))]
        if not errors:
            return None
        last = errors[-1]
        if ": " not in last.text:  # as of assert
            shown = (line for line in reversed(lines[: last.line]) if not _MARKS.search(line))
            return replace(last, text=f"{last.text}: {_BEFORE.sub('', next(shown, ''))}".rstrip(": "))
        for before in errors[-2:-1]:
            if any(_DIRECT_CAUSE in line for line in lines[before.line : last.line]):
                return replace(last, text=f"{last.text} (caused by {before.text})")
        return last


PYTHON = ErrorLines(
    error=re.compile(
        rf"{LINE_START}(?P<text>(?:(?:\w+\.)*\w*(?:Error|Exception)|(?:\w+\.)+[A-Z]\w*)(?:: .*|:?$))"
    ),
    consequence=re.compile(
        r"root cause|\b(?:DEBUG|INFO|WARNING) \d\d-\d\d |Connection (?:closed|reset) by peer|Broken pipe"
    ),
)
"""The last lines of Python's tracebacks. Consequences are vLLM's references to another process's traceback,
what it logs as warnings, and the end of a connection to a process that ended."""
