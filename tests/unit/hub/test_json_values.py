"""How much of a model's JSON is parsed, and how long a text of it may be."""

from __future__ import annotations

import tracemalloc

import pytest

from tacho_contract.failure import FailedError
from tacho_runtime.headers.json_values import TEXT_LIMIT, memory_bytes, parse_json, text


@pytest.mark.parametrize(
    ("form", "count"),
    [
        ('"\U0001f600%05x":1.5', 20_000),
        ('"\\ud83d\\ude00%05x":1.5', 20_000),
        ('"%05x":1.5', 20_000),
        ('"%05x":{"a":%d}', 20_000),
        ('"%05x":"\U0001f600%d"', 20_000),
        ('"%05x":[%d.5,[]]', 20_000),
        ('"%05x":[[[[[%d]]]]]', 20_000),
        ('"%05x":"\U0001f600' + "x" * 1_000_000 + '"', 1),
        ('"%05x":"' + "a\\u4e00" * 100_000 + '"', 1),
        ('"%05x":"' + "\\n" * 100_000 + '"', 1),
    ],
)
def test_a_document_takes_no_more_memory_than_is_counted(form: str, count: int) -> None:
    """25 MB of keys took 470 MB: the inspecting pod ended without a word."""
    entries = (form % ((n,) * form.count("%")) for n in range(count))
    document = f"{{{','.join(entries)}}}".encode()
    tracemalloc.start()
    parse_json(document, "it")
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most + len(document) <= memory_bytes(document) + 16 * 1024


def test_more_than_any_model_describes_is_not_parsed() -> None:
    document = b"{" + b",".join(b'"%05x":0' % n for n in range(900_000)) + b"}"
    with pytest.raises(FailedError, match="more than any real model"):
        parse_json(document, "config.json")


def test_of_a_long_text_the_beginning_is_read() -> None:
    """A family's name of a megabyte was looked at for each of 2,000 layers: a minute."""
    assert text("a\x1bb" * TEXT_LIMIT) == "ab" * (TEXT_LIMIT // 3) + "a"
