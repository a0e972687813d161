"""How much of a model's JSON is parsed, and how long a text of it may be."""

from __future__ import annotations

import codecs
import json
from typing import Any

import pytest

from tacho_contract.failure import FailedError, FailureClass
from tacho_runtime.headers.json_scan import JsonScan
from tacho_runtime.headers.json_values import TEXT_LIMIT, parse_json, text

DOCUMENT = (
    '{ "a" : {"x": [1, {"y": "\u00e9\U0001f600\\u0041"}], "z" : {}} ,"n": -12.5e3,\n'
    '"weight_map":{"k": "v", "l": 7}}  '
)


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
def test_a_scan_of_any_pieces_reads_what_json_does(size: int) -> None:
    text = DOCUMENT.encode()
    scan = JsonScan((text[at : at + size] for at in range(0, len(text), size)), "it")
    found: dict[str, Any] = {}
    for key in scan.entries():
        if key == "a":
            scan.skip()
        elif key == "weight_map":
            found[key] = {name: scan.value() for name in scan.entries()}
        else:
            found[key] = scan.value()
    scan.end()
    assert found | {"a": json.loads(DOCUMENT)["a"]} == json.loads(DOCUMENT)


def read_all(scan: JsonScan) -> None:
    for _ in scan.entries():
        scan.value()
    scan.end()


@pytest.mark.parametrize(
    "text",
    [DOCUMENT[:-3], f"{DOCUMENT}x", "", "[]", '{"a" 1}', "{1:2}", '{"a":1,}', '{"a":' + "[" * 10**5],
)  # fmt: skip
def test_a_scan_of_what_is_no_json_is_refused(text: str) -> None:
    with pytest.raises(FailedError, match=r"index\.json is not JSON \("):
        read_all(JsonScan([text.encode()], "index.json"))


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-be"])
def test_another_encoding_than_engines_read_is_refused(encoding: str) -> None:
    """transformers opens a config.json as UTF-8, and its json refuses a byte-order mark."""
    document = '{"model_type": "llama"}'.encode(encoding)
    with pytest.raises(ValueError, match=r"BOM|decode|Expecting"):
        json.loads(document.decode("utf-8"))
    with pytest.raises(FailedError) as raised:
        parse_json(document, "config.json")
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
