"""Makes untrusted text safe to show in a status, an event, a log or on a terminal.

It may contain characters that imitate a new log line, colour a terminal or reverse the direction of reading.
"""

from __future__ import annotations

import logging
import re
import textwrap
import unicodedata
from typing import Any

REPLACEMENT = "\ufffd"
LINES = "\n\t"
"""Characters that are kept in texts of several lines."""
MARKS = 4
"""Most combining marks per character. More could cover the neighbouring lines; Vietnamese, Hebrew and Tibetan
need two to four.
"""
_BLANK = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180d\u180f\u2800\u3164\ufe00-\ufe0f\uffa0"
    "\U00013441\U00013442\U00016fe4\U0001d159\U000e0100-\U000e01ef]"
)
"""Matches characters that are invisible or blank although their category does not say so: Unicode's
Default_Ignorable_Code_Point, and blanks of Braille, Khitan, musical notes and hieroglyphs.
"""


def visible(text: str, kept: str = "") -> str:
    """``text`` as one line in which every character is visible, and which is no longer than before.

    White space of any kind becomes a space. Other control characters, changes of direction, characters
    without width or ink, halves of a pair, and more than MARKS combining marks in a row become U+FFFD.
    ``kept``: characters that stay as they are.
    """
    if text.isascii() and text.isprintable():
        return text
    shown, marks = [], 0
    for sign in text:
        marks = marks + 1 if unicodedata.category(sign).startswith("M") else 0
        if sign in kept or (sign.isprintable() and marks <= MARKS and not _BLANK.match(sign)):
            shown.append(sign)
        else:
            shown.append(" " if sign.isspace() else REPLACEMENT)
    return "".join(shown)


def visible_document(document: Any) -> Any:
    """A JSON document in which every text is made ``visible``."""
    if isinstance(document, str):
        return visible(document)
    if isinstance(document, list):
        return [visible_document(item) for item in document]
    if isinstance(document, dict):
        return {visible(key): visible_document(value) for key, value in document.items()}
    return document


class VisibleFormatter(logging.Formatter):
    """Formats a log record as one line; lines of a traceback are indented, so that none looks like a
    record."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's
        return visible(super().formatMessage(record))

    def formatException(self, ei: Any) -> str:  # noqa: N802 - logging's
        return textwrap.indent(visible(super().formatException(ei), LINES), "  ")
