"""Foreign text where people read it: a status, an event, a log, a terminal.

A model's author, a webhook or a page may put characters into it that forge a line, colour a screen or turn
the direction of reading.
"""

from __future__ import annotations

import logging
import textwrap
from typing import Any

REPLACEMENT = "\ufffd"
LINES = "\n\t"
"""Characters that stay where a text of several lines is meant."""


def visible(text: str, kept: str = "") -> str:
    """``text`` as one line in which every character shows, as long as before, so that a limit still holds.

    White space of any kind becomes a space. Other controls, directions, characters without width and halves
    of a pair become U+FFFD. ``kept``: characters that stay as they are.
    """
    if text.isprintable():
        return text
    return "".join(
        sign if sign.isprintable() or sign in kept else " " if sign.isspace() else REPLACEMENT
        for sign in text
    )


def visible_document(document: Any) -> Any:
    """A JSON document of which every text is ``visible``."""
    if isinstance(document, str):
        return visible(document)
    if isinstance(document, list):
        return [visible_document(item) for item in document]
    if isinstance(document, dict):
        return {visible(key): visible_document(value) for key, value in document.items()}
    return document


class VisibleFormatter(logging.Formatter):
    """A record as one line. Those of a traceback are indented: none can pass for a record."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's
        return visible(super().formatMessage(record))

    def formatException(self, ei: Any) -> str:  # noqa: N802
        return textwrap.indent(visible(super().formatException(ei), LINES), "  ")
