from __future__ import annotations

import hashlib
import json
import struct
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, strategies as st

from tacho_contract.failure import FailedError, Failure, FailureClass
from tacho_contract.model import OTHER
from tacho_runtime.headers import safetensors, source
from tacho_runtime.headers.facts import facts_from_config_and_tensors
from tacho_runtime.headers.tensors import StoredTensor, kind_of
from tests.properties import examples
from tools.mock.checkpoints import listed, write_safetensors


def parse(data: bytes, size: int | None = None) -> tuple[Any, ...]:
    size = len(data) if size is None else size
    return safetensors.read_header(lambda start, n: data[start : start + n], size).tensors


def file_of(document: Any, data_bytes: int = 0) -> bytes:
    text = document if isinstance(document, bytes) else json.dumps(document).encode()
    return struct.pack("<Q", len(text)) + text + b"\0" * data_bytes


def entry(dtype: Any = "F16", shape: Any = (2, 2), offsets: Any = (0, 8)) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets}


def test_reads_eight_bytes_then_exactly_the_header(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    write_safetensors(path, [("a.weight", "BF16", (1 << 20, 1 << 13), 1 << 34)])
    reads: list[tuple[int, int]] = []

    def read(start: int, length: int) -> bytes:
        reads.append((start, length))
        with path.open("rb") as file:
            file.seek(start)
            return file.read(length)

    size = path.stat().st_size
    (tensor,) = safetensors.read_header(read, size).tensors
    assert reads == [(0, 8), (8, size - 8 - (1 << 34))]
    assert (tensor.dtype, tensor.shape, tensor.stored_bytes) == ("BF16", (1 << 20, 1 << 13), 1 << 34)
    assert path.stat().st_blocks * 512 < 1 << 20


@pytest.mark.parametrize(
    ("dtype", "shape", "size"),
    [("F4", (4, 4), 8), ("F6_E2M3", (4, 4), 12), ("F8_E8M0", (3,), 3), ("Q9", (7,), 2)],
)
def test_any_dtype_by_its_offsets(dtype: str, shape: tuple[int, ...], size: int) -> None:
    (tensor,) = parse(file_of({"t": entry(dtype, list(shape), [0, size])}, size))
    assert (tensor.dtype, tensor.stored_bytes) == (dtype, size)


def test_types_that_nobody_knows_are_one_type_of_their_stored_bytes() -> None:
    """The header's author chooses the names; each of its own, they would be hundreds of tensor classes."""
    rows = [StoredTensor(f"layers.{n}.norm.weight", f"Q{n:015}", (7,), n) for n in range(800)]
    rows.append(StoredTensor("layers.0.norm.weight", "BF16", (7,), 14))
    facts = facts_from_config_and_tensors({}, rows, listed("x", rows, ""))
    assert [(item.dtype, item.tensors, item.stored_bytes) for item in facts.tensors] == [
        (OTHER, 800, sum(range(800))),
        ("BF16", 1, 14),
    ]


def test_metadata_is_not_a_tensor() -> None:
    assert parse(file_of({"__metadata__": {"format": "pt"}})) == ()


@pytest.mark.parametrize(
    "document",
    [
        {"t": entry(offsets=[0, 9])},  # another size than the shape's
        {"t": entry(offsets=[8, 0])},
        {"t": entry(offsets=[-8, 0])},
        {"t": entry(offsets=[0, 8, 16])},
        {"t": entry(offsets=[0, 1 << 70])},
        {"t": entry(offsets="0-8")},
        {"t": entry(offsets=[0.0, 8.0])},
        {"t": entry(shape=[-2, -2])},
        {"t": entry(shape=[True, 4])},
        {"t": entry(shape=[1 << 40, 1 << 40])},
        {"t": entry(shape={"0": 2})},
        {"t": entry(shape=[2] * 40)},
        {"t": entry(dtype=7)},
        {"t": entry(dtype="")},
        {"t": []},
        {"t": None},
        {"a": entry(), "b": entry(offsets=[4, 12])},  # more bytes than the file holds
        [1, 2, 3],
        "text",
        b"{",
        b'{"t": NaN}',
        b'{"t": {"dtype": "F16", "shape": [1e999], "data_offsets": [0, 8]}}',
        b"[" * 100_000,
        b'{"t":' * 100_000,
        b"\xff\xfe\x00\x01",
        b"9" * 10_000,
        b"",
        b'{"t":[' + b"[]," * 800_000 + b"[]]}",  # takes thirty times its size in memory
        b"{" + b",".join(b'"%x":0' % n for n in range(400_000)) + b"}",
        b'{"t":[' + b"1," * 1_600_000 + b"1]}",
    ],
)
def test_lying_headers_are_refused(document: Any) -> None:
    with pytest.raises(FailedError) as caught:
        parse(file_of(document, 8))
    assert caught.value.failure.failure_class == FailureClass.MODEL_INVALID
    assert caught.value.failure.next_step


@pytest.mark.parametrize(
    ("claimed", "words", "step"),
    [
        (100_000_001, "has 100.0 MB; the format allows 100.0 MB", "more files"),
        ((1 << 64) - 1, "it is cut short, or no safetensors file", "Download"),
    ],
)
def test_a_header_beyond_the_formats_limit_is_not_read(claimed: int, words: str, step: str) -> None:
    reads: list[int] = []

    def read(start: int, length: int) -> bytes:
        reads.append(length)
        return struct.pack("<Q", claimed)[:length]

    with pytest.raises(FailedError, match=words) as raised:
        safetensors.read_header(read, 1 << 40)
    assert reads == [8]
    assert step in raised.value.failure.next_step


def test_a_long_header_is_read_in_pieces_and_experts_are_one_tensor(monkeypatch: pytest.MonkeyPatch) -> None:
    """One of 98 MB took 650 MiB, and a model of 369,000 tensors each of them."""
    monkeypatch.setattr(source, "CHUNK_BYTES", 1000)
    names = [
        f"model.layers.{n}.mlp.experts.{e}.{p}_proj.weight" for n in range(3) for e in range(64) for p in "ud"
    ]
    data = file_of({name: entry(offsets=[8 * n, 8 * n + 8]) for n, name in enumerate(names)}, 8 * len(names))
    reads: list[int] = []

    def read(start: int, length: int) -> bytes:
        reads.append(length)
        return data[start : start + length]

    header = safetensors.read_header(read, len(data))
    assert max(reads) == 1000 < len(data) / 20
    assert header.mark == hashlib.sha256(data[: -8 * len(names)]).hexdigest()
    assert [(t.name, t.copies) for t in header.tensors] == [
        (f"model.layers.{n}.mlp.experts.0.{p}_proj.weight", 64) for n in range(3) for p in "ud"
    ]
    facts = facts_from_config_and_tensors({"num_hidden_layers": 2}, [*header.tensors], listed("x", [], ""))
    assert {(c.kind, c.tensors, c.parameters, c.stored_bytes) for c in facts.tensors} == {
        ("expert", 256, 1024, 2048), ("draft", 128, 512, 1024),
    }  # fmt: skip


@pytest.mark.parametrize("size", [0, 5, 8, 20, 60])
def test_cut_short(size: int) -> None:
    whole = file_of({"t": entry()}, 8)
    with pytest.raises(FailedError, match="cut short"):
        parse(whole[:size])


def test_data_cut_short() -> None:
    with pytest.raises(FailedError, match="cut short"):
        parse(file_of({"t": entry()}, 7))


def test_server_that_sends_less_than_it_said() -> None:
    whole = file_of({"t": entry()}, 8)
    with pytest.raises(FailedError, match="cut short"):
        safetensors.read_header(
            lambda start, n: whole[start : start + n][: n - 1 if n > 8 else n], len(whole)
        )


def parse_or_failure(data: bytes) -> tuple[tuple[Any, ...], Failure | None]:
    try:
        return parse(data), None
    except FailedError as refusal:
        return (), refusal.failure


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=True) | st.text(max_size=6),
    lambda children: (
        st.lists(children, max_size=4) | st.dictionaries(st.text(max_size=12), children, max_size=4)
    ),
    max_leaves=12,
)
ENTRY = st.fixed_dictionaries(
    {
        "dtype": st.sampled_from(["F16", "F4", "U8", "X1"]) | JSON,
        "shape": st.lists(st.integers(-2, 1 << 60), max_size=4) | JSON,
        "data_offsets": st.lists(st.integers(-2, 64), min_size=2, max_size=2) | JSON,
    }
)


@examples(3)
@given(st.dictionaries(st.text(max_size=12), ENTRY | JSON, max_size=4), st.integers(0, 64))
def test_any_document_is_refused_or_adds_up(document: dict[str, Any], data_bytes: int) -> None:
    tensors, failure = parse_or_failure(file_of(document, data_bytes))
    assert failure is None or failure.failure_class == FailureClass.MODEL_INVALID
    assert 0 <= sum(t.stored_bytes * t.copies for t in tensors) <= data_bytes
    assert all(t.elements >= 0 for t in tensors)


@given(st.binary(max_size=200))
def test_any_bytes_are_refused_or_read(data: bytes) -> None:
    tensors, failure = parse_or_failure(data)
    assert tensors == () or failure is None


@pytest.mark.timeout(60)
@pytest.mark.parametrize("name", ["ln_{}!", "norm{}!", "x.layers.{}!", "b.{}.norm"])
def test_no_name_takes_longer_than_its_length(name: str) -> None:
    """20,000 digits took 49 s."""
    assert kind_of(name.format("1" * 100_000), (1, 1)) in ("linear", "norm")


@pytest.mark.parametrize(
    "document",
    [
        {"a": entry(), "b": entry(offsets=(8, 16))},
        {"a": entry(), "b": entry(offsets=(0, 8)), "c": entry(offsets=(16, 24))},
        json.dumps({"a": entry(), "b": entry(offsets=(8, 24), shape=(2, 4))}).replace('"b"', '"a"').encode(),
    ],
    ids=["a hole at the end", "a hole and an overlap", "a name twice"],
)
def test_a_file_that_its_header_does_not_describe_whole_is_refused(document: Any) -> None:
    """Engines refuse it, and the plan's memory was too low until then."""
    with pytest.raises(FailedError, match="names a tensor twice") as raised:
        parse(file_of(document, 32))
    assert raised.value.failure.failure_class == FailureClass.MODEL_INVALID
