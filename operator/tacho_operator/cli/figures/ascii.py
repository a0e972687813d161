"""The terminal's picture where only ASCII can be shown: a character for a cell of dots. Pure."""

from __future__ import annotations

BLANK, LAST = 0x2800, 0x28FF
"""Of the cells of dots, two a row and four rows; the difference to the first tells the dots as bits."""
ROWS = (0x09, 0x12, 0x24, 0xC0)
"""Bits of both dots of a row."""
MARKS = {"●": "*", "○": "o", "◆": "#"}


def in_ascii(picture: str) -> str:
    """The same lines, each as long."""
    return "".join(map(_letter, picture))


def _letter(cell: str) -> str:
    if not BLANK <= ord(cell) <= LAST:
        return MARKS.get(cell, cell)
    dots = ord(cell) - BLANK
    if not dots:
        return " "
    return "-" if dots in ROWS else "."
