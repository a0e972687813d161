"""The texts of the pages, texts/NAME.md.in, with figures at their places."""

from __future__ import annotations

from pathlib import Path

FOLDER = Path(__file__).with_name("texts")


def fill(name: str, **figures: object) -> str:
    """The text of a page with these figures and tables."""
    return (FOLDER / f"{name}.md.in").read_text(encoding="utf-8").format(**figures)


def percent(value: float, digits: int = 1) -> str:
    """As prose has it: without a space."""
    return f"{value:.{digits}f}%"
