"""Reads safetensors headers: eight bytes of length, then that much JSON, and none of the weights.

Format: https://github.com/huggingface/safetensors#format. Sizes come from the header's offsets, so dtypes
newer than this code count correctly. A header is scanned piece by piece: a hundred megabytes take no more
memory than four.
"""

from __future__ import annotations

import hashlib
import struct
from collections import Counter
from collections.abc import Iterator
from typing import Any, NamedTuple, TypeGuard

from tacho_contract.units import file_size
from tacho_runtime.headers.json_scan import JsonScan
from tacho_runtime.headers.source import Read, invalid, pieces
from tacho_runtime.headers.tensors import StoredTensor, alike

HEADER_LIMIT_BYTES = 100_000_000
"""Maximum size of a header in bytes by the format (MAX_HEADER_SIZE of the safetensors library)."""

DTYPE_BITS = {
    "F64": 64, "F32": 32, "F16": 16, "BF16": 16, "F8_E4M3": 8, "F8_E5M2": 8, "F8_E8M0": 8, "F4": 4,
    "I64": 64, "I32": 32, "I16": 16, "I8": 8, "U64": 64, "U32": 32, "U16": 16, "U8": 8, "BOOL": 8,
}  # fmt: skip
"""Bits per element by dtype, to reject inconsistent headers. Others have the size of their offsets."""


class Header(NamedTuple):
    """What is kept of a header."""

    tensors: tuple[StoredTensor, ...]
    """Those that differ by numbers in their names alone, as experts do, are one with its copies."""
    mark: str
    """sha256 of the header's bytes, which identify the file."""


def header_pieces(read: Read, size_bytes: int) -> Iterator[bytes]:
    """The header's length, and its JSON in pieces. Raises FailedError."""
    prefix = read(0, 8) if size_bytes >= 8 else b""
    if len(prefix) < 8:
        raise invalid(f"a safetensors file of {size_bytes} bytes has no header: it is cut short.")
    (length,) = struct.unpack("<Q", prefix)
    if 8 + length > size_bytes:
        raise invalid(
            f"the safetensors header claims {file_size(length)}, but the file has {file_size(size_bytes)}: "
            "it is cut short, or no safetensors file."
        )
    if length > HEADER_LIMIT_BYTES:
        raise invalid(
            f"the safetensors header has {file_size(length)}; the format allows "
            f"{file_size(HEADER_LIMIT_BYTES)}.",
            "Save the weights in more files.",
        )
    yield prefix
    yield from pieces(read, 8, 8 + length)


def read_header(read: Read, size_bytes: int) -> Header:
    """The header of a file of ``size_bytes``. Raises FailedError."""
    text = header_pieces(read, size_bytes)
    prefix = next(text)
    digest, data_bytes = hashlib.sha256(prefix), size_bytes - 8 - struct.unpack("<Q", prefix)[0]

    def hashed() -> Iterator[bytes]:
        for piece in text:
            digest.update(piece)
            yield piece

    found: Counter[StoredTensor] = Counter()
    scan = JsonScan(hashed(), "the safetensors header")
    for name in scan.entries():
        entry = scan.value()
        if name != "__metadata__":
            found[_tensor(name, entry, data_bytes)] += 1
    scan.end()
    described_bytes = sum(tensor.stored_bytes * count for tensor, count in found.items())
    if described_bytes > data_bytes:
        raise invalid("the safetensors header describes overlapping tensors.")
    if described_bytes < data_bytes:  # the format allows no holes, and engines refuse them
        raise invalid(
            f"the safetensors header describes {file_size(described_bytes)} of tensors, and the file has "
            f"{file_size(data_bytes)} of them: it is damaged, or names a tensor twice.",
        )
    return Header(tuple(one._replace(copies=count) for one, count in found.items()), digest.hexdigest())


def _tensor(name: str, entry: Any, data_bytes: int) -> StoredTensor:
    """The tensor of a header's ``entry``, under the name that it shares with those ``alike``."""
    shown = name[:80]
    if not isinstance(entry, dict):
        raise invalid(f"the safetensors header has no usable entry for {shown!r}.")
    dtype, shape, offsets = entry.get("dtype"), entry.get("shape"), entry.get("data_offsets")
    if not isinstance(dtype, str) or not dtype:
        raise invalid(f"the safetensors header gives {shown!r} no dtype.")
    if not _whole_numbers(shape):
        raise invalid(f"the safetensors header gives {shown!r} no valid shape.")
    if not _whole_numbers(offsets) or len(offsets) != 2 or offsets[0] > offsets[1]:
        raise invalid(f"the safetensors header gives {shown!r} no valid offsets.")
    if offsets[1] > data_bytes:
        raise invalid(
            f"the safetensors header puts {shown!r} at byte {offsets[1]} of {data_bytes}: "
            "the file is cut short.",
            "Download the model again.",
        )
    tensor = StoredTensor(alike(name), dtype, tuple(shape), offsets[1] - offsets[0])
    bits = DTYPE_BITS.get(dtype)
    if bits and (tensor.elements * bits + 7) // 8 != tensor.stored_bytes:
        raise invalid(
            f"the safetensors header contradicts itself: {shown!r} is {dtype} {list(shape)[:8]}, "
            f"but takes {tensor.stored_bytes} bytes."
        )
    return tensor


def _whole_numbers(value: Any) -> TypeGuard[list[int]]:
    return isinstance(value, list) and all(type(n) is int and n >= 0 for n in value)
