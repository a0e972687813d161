"""How much of a model's JSON is parsed, and how long a text of it may be."""

from __future__ import annotations

import codecs
import json
import tracemalloc

import pytest

from tacho_contract.failure import FailedError, FailureClass
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


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-be"])
@pytest.mark.parametrize("by_python", [True, False])
def test_another_encoding_than_engines_read_is_refused(encoding: str, by_python: bool) -> None:
    """transformers opens a config.json as UTF-8, and its json refuses a byte-order mark."""
    document = '{"model_type": "llama"}'.encode(encoding)
    with pytest.raises(ValueError, match=r"BOM|decode|Expecting"):
        json.loads(document.decode("utf-8"))
    with pytest.raises(FailedError) as raised:
        parse_json(document, "config.json", by_python=by_python)
    failure = raised.value.failure
    assert failure.failure_class == FailureClass.MODEL_INVALID
    has_mark = document.startswith((codecs.BOM_UTF8, codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    assert ("byte-order mark of UTF-" in failure.message) == has_mark
    assert ("without a byte-order mark" in failure.next_step) == has_mark


@pytest.mark.parametrize(
    ("mark", "name"),
    [
        (codecs.BOM_UTF8, "UTF-8"),
        (codecs.BOM_UTF16_LE, "UTF-16"),
        (codecs.BOM_UTF16_BE, "UTF-16"),
    ],
)
def test_each_byte_order_mark_is_named(mark: bytes, name: str) -> None:
    with pytest.raises(FailedError, match=f"the byte-order mark of {name}, which JSON must not have"):
        parse_json(mark + b"{}", "config.json")


def test_of_a_long_text_the_beginning_is_read() -> None:
    """A family's name of a megabyte was looked at for each of 2,000 layers: a minute."""
    assert text("a\x1bb" * TEXT_LIMIT) == "ab" * (TEXT_LIMIT // 3) + "a"
