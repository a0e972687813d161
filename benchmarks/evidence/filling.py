"""Texts of pages with their figures filled in."""

from __future__ import annotations

from pathlib import Path

TEXTS = Path(__file__).with_name("texts")


def filled(name: str, **figures: object) -> str:
    """The text of texts/NAME.md.in with these figures at their places."""
    return (TEXTS / f"{name}.md.in").read_text(encoding="utf-8").format(**figures)
