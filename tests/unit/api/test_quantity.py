"""Quantities are read as the API server reads them."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given, strategies as st
from kubernetes.utils.quantity import parse_quantity as clients_own

from tacho_operator.api.base import parse_quantity, quantity_bytes

SUFFIXES = ("", "n", "u", "m", "k", "M", "G", "T", "P", "E", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei")
NUMBERS = st.from_regex(r"[+-]?([0-9]{1,6}(\.[0-9]{0,3})?|\.[0-9]{1,3})", fullmatch=True)
EXPONENTS = st.from_regex(r"[eE][+-]?[0-9]{1,2}", fullmatch=True)


@given(NUMBERS, st.sampled_from(SUFFIXES) | EXPONENTS)
def test_the_value_is_the_one_that_kubernetes_own_client_reads(number: str, suffix: str) -> None:
    found = parse_quantity(number + suffix)
    assert found == Fraction(Decimal(clients_own(number + suffix)))


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("500m", Fraction(1, 2)),
        ("1e3", Fraction(1000)),
        ("1E3", Fraction(1000)),
        ("1E", Fraction(10) ** 18),
        ("-1.5Ki", Fraction(-1536)),
        ("25e-3", Fraction(1, 40)),
        (" 4 ", Fraction(4)),
    ],
)
def test_the_forms_that_are_stored(text: str, value: Fraction) -> None:
    assert parse_quantity(text) == value


@pytest.mark.parametrize(
    "text", ["", ".", "-", "1 Gi", "1gi", "1K", "Gi", "1e", "1e999", "0x1", "nan", "\u0661", "9" * 65]
)
def test_anything_else_is_refused_by_name(text: str) -> None:
    with pytest.raises(ValueError, match="not a Kubernetes quantity"):
        parse_quantity(text)


def test_bytes_are_whole() -> None:
    assert quantity_bytes("1.5Ki") == 1536
    assert quantity_bytes("1500m") == 1
