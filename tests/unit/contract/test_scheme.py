"""The variants in which a checkpoint's layers are quantized."""

from __future__ import annotations

from tacho_contract.model import LONGEST_SCHEME, StoredQuantization


def test_variants_are_told_apart_and_a_text_of_any_length_has_few() -> None:
    assert StoredQuantization(scheme="W4A16+W8A8-int").schemes == ("W4A16", "W8A8-int")
    assert StoredQuantization().schemes == ("",)
    assert len(StoredQuantization(scheme="a+" * 60_000).schemes) <= LONGEST_SCHEME
