"""GGUF headers: metadata and tensor list, read in growing pieces and not beyond the end of the header.

Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md (versions 2 and 3, little endian).
"""

from __future__ import annotations

import hashlib
import itertools
import struct
from dataclasses import dataclass
from math import prod
from typing import Any

from tacho_contract.units import file_size
from tacho_runtime.headers.source import Read, invalid
from tacho_runtime.headers.tensors import StoredTensor

FIRST_PIECE_BYTES = 1024 * 1024
HEADER_LIMIT_BYTES = 128 * 1024 * 1024
"""Longest header in bytes that is read, as it is held in memory. A vocabulary of 260,000 tokens with merges
makes about 16 MB, and tokenizer.huggingface.json another 33 MB.
"""
KEPT_STRING_BYTES = 4096
"""Bytes that are kept of a string, enough for every name. Of a chat template only its presence counts."""
KEPT_ARRAY_LIMIT = 4096
"""Longest array that is kept; of longer ones (vocabularies) only the length is."""

STRING, ARRAY = 8, 9
SCALARS = {
    0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<?", 10: "<Q", 11: "<q", 12: "<d",
}  # fmt: skip

GGML_TYPES: dict[int, tuple[str, int, int]] = {
    # id: (name, elements a block, bytes a block); llama.cpp gguf-py/gguf/constants.py GGML_QUANT_SIZES
    0: ("F32", 1, 4), 1: ("F16", 1, 2), 2: ("Q4_0", 32, 18), 3: ("Q4_1", 32, 20),
    6: ("Q5_0", 32, 22), 7: ("Q5_1", 32, 24), 8: ("Q8_0", 32, 34), 9: ("Q8_1", 32, 40),
    10: ("Q2_K", 256, 84), 11: ("Q3_K", 256, 110), 12: ("Q4_K", 256, 144), 13: ("Q5_K", 256, 176),
    14: ("Q6_K", 256, 210), 15: ("Q8_K", 256, 292), 16: ("IQ2_XXS", 256, 66), 17: ("IQ2_XS", 256, 74),
    18: ("IQ3_XXS", 256, 98), 19: ("IQ1_S", 256, 50), 20: ("IQ4_NL", 32, 18), 21: ("IQ3_S", 256, 110),
    22: ("IQ2_S", 256, 82), 23: ("IQ4_XS", 256, 136), 24: ("I8", 1, 1), 25: ("I16", 1, 2),
    26: ("I32", 1, 4), 27: ("I64", 1, 8), 28: ("F64", 1, 8), 29: ("IQ1_M", 256, 56),
    30: ("BF16", 1, 2), 34: ("TQ1_0", 256, 54), 35: ("TQ2_0", 256, 66), 39: ("MXFP4", 32, 17),
    40: ("NVFP4", 64, 36), 41: ("Q1_0", 128, 18),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class ArrayLength:
    """The length of a long array whose items were skipped."""

    count: int


@dataclass(frozen=True, slots=True)
class GGUFHeader:
    metadata: dict[str, Any]
    """GGUF metadata: scalars and strings unchanged, short arrays as tuples, long arrays as ArrayLength."""
    tensors: tuple[StoredTensor, ...]
    mark: str
    """sha256 of all bytes up to the end of the tensor list, which identify the file."""


class _Cursor:
    """Reads forward in a file with a header of unknown length; each read fetches twice the last."""

    def __init__(self, read: Read, size_bytes: int) -> None:
        self._read, self._size, self.buffer, self.at = read, size_bytes, bytearray(), 0

    def skip(self, count: int) -> None:
        end = self.at + count
        if end > len(self.buffer):
            self._fetch(end)
        self.at = end

    def _fetch(self, end: int) -> None:
        if end > self._size:
            raise invalid(
                f"the GGUF header needs {file_size(end)}, but the file has only {file_size(self._size)}: "
                "it is cut short or damaged."
            )
        if end > HEADER_LIMIT_BYTES:
            raise invalid(
                f"the GGUF header has {file_size(end)} or more; tacho reads {file_size(HEADER_LIMIT_BYTES)}.",
                "Convert the model again without what its metadata does not need.",
            )
        have = len(self.buffer)
        until = min(self._size, HEADER_LIMIT_BYTES, max(end, FIRST_PIECE_BYTES, 2 * have))
        self.buffer += self._read(have, until - have)
        if len(self.buffer) < end:
            raise invalid("the file ended inside its GGUF header: it is cut short.")

    def take(self, count: int) -> bytes:
        self.skip(count)
        return bytes(self.buffer[self.at - count : self.at])

    def number(self, code: str) -> Any:
        size = struct.calcsize(code)
        self.skip(size)
        return struct.unpack_from(code, self.buffer, self.at - size)[0]

    def string(self) -> str:
        """A string, cut to KEPT_STRING_BYTES."""
        length = self.number("<Q")
        self.skip(length)
        begin = self.at - length
        return self.buffer[begin : begin + min(length, KEPT_STRING_BYTES)].decode("utf-8", "replace")


def read_header(read: Read, size_bytes: int) -> GGUFHeader:
    """The header of a GGUF file. Raises FailedError for an invalid one."""
    cursor = _Cursor(read, size_bytes)
    if size_bytes < 24 or cursor.take(4) != b"GGUF":
        raise invalid("the file does not begin as a GGUF file does.")
    version = cursor.number("<I")
    if version not in (2, 3):
        raise invalid(
            f"GGUF version {version} cannot be read (2 and 3, little endian, can).",
            "Convert the model again with a current llama.cpp.",
        )
    tensor_count, metadata_count = cursor.number("<Q"), cursor.number("<Q")
    metadata: dict[str, Any] = {}
    for _ in range(metadata_count):
        key = cursor.string()
        metadata[key] = _value(cursor, cursor.number("<I"))
    rows = _rows(cursor, tensor_count)
    alignment = metadata.get("general.alignment", 32)
    if not isinstance(alignment, int) or not 1 <= alignment <= 1 << 20:
        raise invalid(f"the GGUF header sets an alignment of {alignment}.")
    data_start = -(-cursor.at // alignment) * alignment
    tensors, end_of_data = _tensors(rows, size_bytes - data_start)
    if tensors and data_start + end_of_data > size_bytes:
        raise invalid(
            f"the GGUF header describes {file_size(data_start + end_of_data)}, but the file has only "
            f"{file_size(size_bytes)}: it is cut short.",
            "Download the model again.",
        )
    if sum(tensor.stored_bytes for tensor in tensors) > size_bytes:
        raise invalid("the GGUF header describes overlapping tensors.")
    with memoryview(cursor.buffer)[: cursor.at] as header:
        return GGUFHeader(metadata, tensors, hashlib.sha256(header).hexdigest())


def _value(cursor: _Cursor, kind: int, depth: int = 0) -> Any:
    if kind in SCALARS:
        return cursor.number(SCALARS[kind])
    if kind == STRING:
        return cursor.string()
    if kind != ARRAY or depth > 1:
        raise invalid(f"the GGUF header holds metadata of the unknown type {kind}.")
    element, count = cursor.number("<I"), cursor.number("<Q")
    if element in SCALARS:
        size = struct.calcsize(SCALARS[element])
        if count > KEPT_ARRAY_LIMIT:
            cursor.skip(size * count)
            return ArrayLength(count)
        return struct.unpack(f"<{count}{SCALARS[element][1]}", cursor.take(size * count))
    if count > KEPT_ARRAY_LIMIT:
        for _ in range(count):
            _value(cursor, element, depth + 1)
        return ArrayLength(count)
    return tuple(_value(cursor, element, depth + 1) for _ in range(count))


def _rows(cursor: _Cursor, count: int) -> list[tuple[str, tuple[int, ...], int, int]]:
    """The tensor list: name, shape, type and offset."""
    rows: list[tuple[str, tuple[int, ...], int, int]] = []
    for _ in range(count):
        name, dimensions = cursor.string(), cursor.number("<I")
        if dimensions > 8:
            raise invalid(
                f"the GGUF tensor {name[:80]!r} has {dimensions} dimensions, more than GGUF allows."
            )
        shape = tuple(cursor.number("<Q") for _ in range(dimensions))
        rows.append((name, shape, cursor.number("<I"), cursor.number("<Q")))
    return rows


def _tensors(
    rows: list[tuple[str, tuple[int, ...], int, int]], data_bytes: int
) -> tuple[tuple[StoredTensor, ...], int]:
    """The tensors, and the end of the last tensor's data, relative to the beginning of the data."""
    offsets = sorted({*(row[3] for row in rows), data_bytes})
    following = dict(itertools.pairwise(offsets))
    tensors, end = [], 0
    for name, shape, type_id, offset in rows:
        elements = prod(shape)
        dtype, block, block_bytes = GGML_TYPES.get(type_id, (f"GGML_{type_id}", 1, 0))
        # A type newer than the table: its bytes are what lies between it and the next tensor, or the end.
        size = -(-elements // block) * block_bytes if block_bytes else following.get(offset, offset) - offset
        tensors.append(StoredTensor(name, dtype, shape, size))
        end = max(end, offset + size)
    return tuple(tensors), end
