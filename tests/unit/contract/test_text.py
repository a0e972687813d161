"""Foreign text cannot forge a line, colour a screen or hide."""

from __future__ import annotations

import io
import logging
import sys
import unicodedata
from typing import Any

from hypothesis import given, strategies as st

from tacho_contract.text import LINES, MARKS, REPLACEMENT, VisibleFormatter, visible, visible_document

HIDDEN = ("Cc", "Cf", "Cs", "Zl", "Zp")
"""Controls, formats such as directions and zero widths, halves of a pair, and separators of lines."""
IGNORABLE = (
    (0xAD, 0xAD), (0x34F, 0x34F), (0x61C, 0x61C), (0x115F, 0x1160), (0x17B4, 0x17B5), (0x180B, 0x180F),
    (0x200B, 0x200F), (0x202A, 0x202E), (0x2060, 0x206F), (0x3164, 0x3164), (0xFE00, 0xFE0F),
    (0xFEFF, 0xFEFF), (0xFFA0, 0xFFA0), (0xFFF0, 0xFFF8), (0x1BCA0, 0x1BCA3), (0x1D173, 0x1D17A),
    (0xE0000, 0xE0FFF),
)  # fmt: skip
"""Default_Ignorable_Code_Point of Unicode's DerivedCoreProperties.txt: nothing is drawn for them."""
WITHOUT_INK = {
    *(chr(code) for first, last in IGNORABLE for code in range(first, last + 1)),
    *map(unicodedata.lookup, ("BRAILLE PATTERN BLANK", "MUSICAL SYMBOL NULL NOTEHEAD")),
    *("\U00013441", "\U00013442", "\U00016fe4"),
}
foreign = st.text(
    st.one_of(
        st.characters(categories=HIDDEN),
        st.sampled_from("\x1b\n\r\t\x85\x9b\u202e\u200b\ufeff"),
        st.sampled_from(sorted(WITHOUT_INK)),
        st.characters(categories=("M",)),
    )
    | st.characters()
)


def hidden(text: str, kept: str = "") -> list[str]:
    return [
        sign
        for sign in text
        if sign not in kept and (unicodedata.category(sign) in HIDDEN or sign in WITHOUT_INK)
    ]


def most_marks(text: str) -> int:
    runs = "".join("M" if unicodedata.category(sign)[0] == "M" else " " for sign in text).split()
    return max(map(len, runs), default=0)


@given(foreign)
def test_every_character_shows_and_the_length_stays(text: str) -> None:
    for kept in ("", LINES):
        shown = visible(text, kept)
        assert not hidden(shown, kept)
        assert len(shown) == len(text)
        assert most_marks(shown) <= MARKS
        assert visible(shown, kept) == shown
        shown.encode()
    assert len(visible(text).splitlines()) <= 1


@given(st.text(st.characters(categories=("L", "N", "P", "S"))))
def test_plain_text_stays(text: str) -> None:
    plain = "".join(sign if sign.isprintable() and not hidden(sign) else REPLACEMENT for sign in text)
    assert visible(text) == plain
    for words in ("Größe ≤ 4 · 日本語 […]", "Việt", "ຫຼໍ່", "בְּרֵאשִׁ֖ית"):
        assert visible(words) == words


def test_no_character_of_unicode_hides_and_letters_stay() -> None:
    for code in range(sys.maxunicode + 1):
        sign = chr(code)
        lost = visible(sign) != sign
        assert lost == (not sign.isprintable() or sign in WITHOUT_INK), hex(code)


def test_marks_are_heaped_on_no_character() -> None:
    shown = visible("a" + "\u0336" * 100 + "b")
    assert shown == "a" + "\u0336" * MARKS + REPLACEMENT * (100 - MARKS) + "b"


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


def test_four_combining_marks_in_a_row_are_shown() -> None:
    assert visible("a" + "\u0301" * 4) == "a" + "\u0301" * 4
    assert visible("a" + "\u0301" * 5).count("\ufffd") == 1
