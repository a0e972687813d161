"""Sizes as messages show them."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from tacho_contract.units import GIB, MIB, clipped, file_size, gib, gib_or_more, listed, part_of


@pytest.mark.parametrize(
    ("size_bytes", "text"),
    [
        (0, "0 MiB"),
        (381 * MIB, "381 MiB"),
        (GIB - 1, "1024 MiB"),
        (GIB, "1.00 GiB"),
        (4.97 * GIB, "4.97 GiB"),
        (10 * GIB, "10.0 GiB"),
        (31.24 * GIB, "31.2 GiB"),
    ],
)
def test_memory_is_told_in_binary_units(size_bytes: float, text: str) -> None:
    assert gib(size_bytes) == text


@pytest.mark.parametrize(
    ("size_bytes", "text"),
    [
        (381 * MIB, "381 MiB"),
        (381 * MIB + 1, "382 MiB"),
        (GIB - 1, "1.00 GiB"),
        (GIB + 1, "1.01 GiB"),
        (10.01 * GIB, "10.1 GiB"),
    ],
)
def test_what_is_enough_is_rounded_up(size_bytes: float, text: str) -> None:
    assert gib_or_more(size_bytes) == text


@pytest.mark.parametrize(
    ("size_bytes", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (98_400_000, "98.4 MB"),
        (4.4e9, "4.4 GB"),
        (2e12, "2.0 TB"),
    ],
)
def test_files_are_told_in_decimal_units(size_bytes: int, text: str) -> None:
    assert file_size(size_bytes) == text


def test_a_part_has_the_unit_of_the_whole() -> None:
    assert part_of(1_200_000_000, 4_400_000_000) == "1.2 of 4.4 GB"
    assert part_of(0, 96_576_768) == "0.0 of 96.6 MB"


@given(st.text(max_size=40), st.integers(1, 30))
def test_what_is_clipped_shows_it(text: str, limit: int) -> None:
    found = clipped(text, limit)
    assert len(found) <= limit
    assert found == text if len(text) <= limit else found.endswith("…") and text.startswith(found[:-1])


def test_long_lists_and_long_names_are_shortened() -> None:
    assert listed([]) == ""
    assert listed(["a", "b"]) == "a, b"
    assert listed([str(n) for n in range(10)], 3) == "0, 1, 2 and 7 more"
    assert listed(["x" * 50 + "y" * 50]) == "x" * 38 + "…" + "y" * 40
