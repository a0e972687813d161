"""Foreign text cannot forge a line, colour a screen or hide."""

from __future__ import annotations

import io
import logging
import unicodedata
from typing import Any

from hypothesis import given, strategies as st

from tacho_contract.text import LINES, VisibleFormatter, visible, visible_document

HIDDEN = ("Cc", "Cf", "Cs", "Zl", "Zp")
"""Controls, formats such as directions and zero widths, halves of a pair, and separators of lines."""
foreign = st.text(
    st.one_of(st.characters(categories=HIDDEN), st.sampled_from("\x1b\n\r\t\x85\x9b\u202e\u200b\ufeff"))
    | st.characters()
)


def hidden(text: str, kept: str = "") -> list[str]:
    return [sign for sign in text if unicodedata.category(sign) in HIDDEN and sign not in kept]


@given(foreign)
def test_every_character_shows_and_the_length_stays(text: str) -> None:
    for kept in ("", LINES):
        shown = visible(text, kept)
        assert not hidden(shown, kept)
        assert len(shown) == len(text)
        assert visible(shown, kept) == shown
        shown.encode()
    assert len(visible(text).splitlines()) <= 1


@given(st.text(st.characters(categories=("L", "N", "P", "S"))))
def test_plain_text_stays(text: str) -> None:
    assert visible(text) == "".join(sign if sign.isprintable() else "\ufffd" for sign in text)
    assert visible("Größe ≤ 4 · 日本語 […]") == "Größe ≤ 4 · 日本語 […]"


def texts(document: Any) -> list[str]:
    if isinstance(document, dict):
        return [*document, *(text for value in document.values() for text in texts(value))]
    if isinstance(document, list):
        return [text for item in document for text in texts(item)]
    return [document] if isinstance(document, str) else []


@given(
    st.recursive(
        st.one_of(foreign, st.integers(), st.none()),
        lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(foreign, inner, max_size=3)),
        max_leaves=8,
    )
)
def test_every_text_of_a_document_shows(document: Any) -> None:
    assert not any(map(hidden, texts(visible_document(document))))


@given(foreign)
def test_a_log_has_a_line_for_a_record_and_indents_a_traceback(text: str) -> None:
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(VisibleFormatter("tacho %(message)s"))
    logger = logging.Logger("test")
    logger.addHandler(handler)
    try:
        raise ValueError(text)
    except ValueError:
        logger.exception("%s", text)
    first, *others = stream.getvalue().split("\n")
    assert first.startswith("tacho ")
    assert all(line.startswith("  ") for line in others if line.strip())
    assert not hidden(stream.getvalue(), LINES)
