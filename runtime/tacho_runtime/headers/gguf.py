"""GGUF headers: metadata and tensor list, read in growing pieces and not beyond the end of the header.

Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md (versions 2 and 3, little endian).
"""

from __future__ import annotations

import itertools
import struct
from dataclasses import dataclass
from math import prod
from typing import Any

from tacho_contract.units import file_size
from tacho_runtime.headers.source import Read, invalid
from tacho_runtime.headers.tensors import NAME_LIMIT, StoredTensor

FIRST_PIECE_BYTES = 1024 * 1024
HEADER_LIMIT_BYTES = 64 * 1024 * 1024
"""Longest header in bytes. A vocabulary of 260,000 tokens with merges makes about 16 MB."""
TENSOR_LIMIT = 200_000
METADATA_LIMIT = 2000
"""Most metadata keys; real files have about a hundred."""
STRING_LIMIT_BYTES = 1024 * 1024
KEPT_STRING_BYTES = 4096
"""Bytes that are kept of a string, enough for every name. Of a chat template only its presence counts."""
KEPT_TEXTS_BYTES = 8 * 1024 * 1024
"""Most bytes kept of all strings; each may take four bytes of memory. Real headers keep some 100 kB."""
KEPT_ARRAY_LIMIT = 4096
"""Longest array that is kept; of longer ones (vocabularies) only the length is."""
PARTS_LIMIT = 2_000_000
"""Most strings, arrays and kept numbers in the arrays of a header, to limit time. The largest vocabulary with
its merges has fewer than 800,000.
"""
KEPT_PARTS_LIMIT = 200_000
"""Most strings and numbers that are kept of all arrays. A string of one emoji takes 88 bytes of memory; real
headers keep some for each layer.
"""
NESTED_ARRAY_LIMIT = 256
"""Most arrays in an array. The format allows them; no known key uses them."""

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
    header: bytes
    """All bytes up to the end of the tensor list, by which the file is identified."""


class _Cursor:
    """Reads forward in a file with a header of unknown length; each read fetches twice the last."""

    def __init__(self, read: Read, size_bytes: int) -> None:
        self._read, self._size, self.buffer, self.at = read, size_bytes, bytearray(), 0
        self._parts = self._kept_parts = self._kept = 0

    def count_parts(self, count: int, *, kept: bool) -> None:
        """Adds ``count`` to the parts of the header's arrays. Raises an error above PARTS_LIMIT, and above
        KEPT_PARTS_LIMIT of those that are ``kept``."""
        self._parts += count
        self._kept_parts += count * kept
        if self._parts > PARTS_LIMIT or self._kept_parts > KEPT_PARTS_LIMIT:
            raise invalid(
                f"the GGUF header claims {self._parts} strings, arrays and numbers; no real one has so many."
            )

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
            raise invalid(f"the GGUF header is longer than {file_size(HEADER_LIMIT_BYTES)}; no real one is.")
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
        """A string, cut to KEPT_STRING_BYTES. Raises an error above STRING_LIMIT_BYTES."""
        length = self.number("<Q")
        if length > STRING_LIMIT_BYTES:
            raise invalid(f"a GGUF string claims {length} bytes; the header is damaged.")
        self.skip(length)
        begin, kept = self.at - length, min(length, KEPT_STRING_BYTES)
        self._kept += kept
        if self._kept > KEPT_TEXTS_BYTES:
            raise invalid("the GGUF header holds longer texts than any real one.")
        return self.buffer[begin : begin + kept].decode("utf-8", "replace")

    def name(self) -> str:
        """The name of a tensor. One character beyond ASCII would make four bytes of each."""
        length = self.number("<Q")
        if length > NAME_LIMIT:
            raise invalid(f"a GGUF string claims {length} bytes; the header is damaged.")
        return self.take(length).decode("ascii", "replace").encode("ascii", "replace").decode()


def read_header(read: Read, size_bytes: int) -> GGUFHeader:
    """The header of a GGUF file. Raises FailedError for an invalid one; reads at most 64 MiB."""
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
    if tensor_count > TENSOR_LIMIT or metadata_count > METADATA_LIMIT:
        many = f"{tensor_count} tensors and {metadata_count} metadata keys"
        raise invalid(f"the GGUF header states {many}; no real one has so many.")
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
    return GGUFHeader(metadata, tensors, bytes(memoryview(cursor.buffer)[: cursor.at]))


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
        cursor.count_parts(count, kept=True)
        return struct.unpack(f"<{count}{SCALARS[element][1]}", cursor.take(size * count))
    cursor.count_parts(count, kept=count <= KEPT_ARRAY_LIMIT)
    if element == STRING and count > KEPT_ARRAY_LIMIT:
        for _ in range(count):
            cursor.skip(cursor.number("<Q"))
        return ArrayLength(count)
    if count > (NESTED_ARRAY_LIMIT if element == ARRAY else KEPT_ARRAY_LIMIT):
        raise invalid(f"a GGUF array of type {element} claims {count} elements; the header is damaged.")
    return tuple(_value(cursor, element, depth + 1) for _ in range(count))


def _rows(cursor: _Cursor, count: int) -> list[tuple[str, tuple[int, ...], int, int]]:
    """The tensor list: name, shape, type and offset."""
    rows: list[tuple[str, tuple[int, ...], int, int]] = []
    for _ in range(count):
        name, dimensions = cursor.name(), cursor.number("<I")
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
        if elements > 1 << 50:
            raise invalid(f"the GGUF tensor {name[:80]!r} has {elements} elements; no real one has so many.")
        dtype, block, block_bytes = GGML_TYPES.get(type_id, (f"GGML_{type_id}", 1, 0))
        # A type newer than the table: its bytes are what lies between it and the next tensor, or the end.
        size = -(-elements // block) * block_bytes if block_bytes else following.get(offset, offset) - offset
        tensors.append(StoredTensor(name, dtype, shape, size))
        end = max(end, offset + size)
    return tuple(tensors), end
