"""Replaces characters that a stream's encoding lacks by ASCII, so that printing never fails."""

from __future__ import annotations

import codecs
import io
import sys

LETTERS = {
    "±": "+-", "≤": "<=", "≥": ">=", "…": "...", "\u00d7": "x", "·": ".", "•": "-", "→": "->",
    "\u2013": "-", "\u2014": "-", "\u2018": "'", "\u2019": "'", "“": '"', "”": '"', "\u00a0": " ",
}  # fmt: skip
"""ASCII replacement of each sign; any other missing character becomes a question mark."""
UNKNOWN = "?"
HANDLER = "tacho-letters"


def encodes(encoding: str, text: str) -> bool:
    """Whether all of ``text`` can be written so."""
    try:
        text.encode(encoding)
    except (LookupError, UnicodeError):
        return False
    return True


def spelled(encoding: str, text: str) -> str:
    """``text`` with letters for the characters that cannot be written so."""
    if encodes(encoding, text):
        return text
    return "".join(sign if encodes(encoding, sign) else LETTERS.get(sign, UNKNOWN) for sign in text)


def never_fail() -> None:
    """Makes stdout and stderr replace characters that their encoding lacks, from now on."""
    codecs.register_error(HANDLER, _replaced)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=HANDLER)


def _replaced(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    lacking = error.object[error.start : error.end]
    return "".join(LETTERS.get(sign, UNKNOWN) for sign in lacking), error.end
