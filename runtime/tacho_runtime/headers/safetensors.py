"""Reads safetensors headers: eight bytes of length, then that much JSON, and none of the weights.

Format: https://github.com/huggingface/safetensors#format. Sizes come from the header's offsets, so dtypes
newer than this code count correctly.
"""

from __future__ import annotations

import struct
from typing import Any, TypeGuard

from tacho_contract.units import file_size
from tacho_runtime.headers.json_values import parse_json
from tacho_runtime.headers.source import Read, invalid
from tacho_runtime.headers.tensors import NAME_LIMIT, StoredTensor

HEADER_LIMIT_BYTES = 25_000_000
"""Maximum size of a header in bytes, the same as in huggingface_hub. A shard of 100,000 tensors has a header
of about 15 MB."""
TENSOR_LIMIT = 300_000
"""Maximum number of tensors of a whole model. The largest published models have about 200,000."""
ELEMENT_LIMIT = 1 << 50

DTYPE_BITS = {
    "F64": 64, "F32": 32, "F16": 16, "BF16": 16, "F8_E4M3": 8, "F8_E5M2": 8, "F8_E8M0": 8, "F4": 4,
    "I64": 64, "I32": 32, "I16": 16, "I8": 8, "U64": 64, "U32": 32, "U16": 16, "U8": 8, "BOOL": 8,
}  # fmt: skip
"""Bits per element by dtype, to reject inconsistent headers. Others have the size of their offsets."""


def fetch_header(read: Read, size_bytes: int) -> bytes:
    """The header's length and JSON as bytes, which identify the file. Raises FailedError; reads at most 25
    MB."""
    prefix = read(0, 8) if size_bytes >= 8 else b""
    if len(prefix) < 8:
        raise invalid(f"a safetensors file of {size_bytes} bytes has no header: it is cut short.")
    (length,) = struct.unpack("<Q", prefix)
    if length > HEADER_LIMIT_BYTES:
        raise invalid(
            f"the safetensors header claims {file_size(length)}, more than {file_size(HEADER_LIMIT_BYTES)}; "
            "the file is damaged, or not a safetensors file."
        )
    if 8 + length > size_bytes:
        raise invalid(
            f"the safetensors header claims {file_size(length)}, but the file has {file_size(size_bytes)}: "
            "it is cut short."
        )
    body = read(8, length)
    if len(body) < length:
        raise invalid("the file ended inside its safetensors header: it is cut short.")
    return prefix + body


def parse_header(header: bytes, size_bytes: int) -> tuple[StoredTensor, ...]:
    """The tensors that ``header``, from ``fetch_header``, describes. Raises FailedError."""
    document = parse_json(header[8:], "the safetensors header")
    if len(document) > TENSOR_LIMIT:
        raise invalid(f"the safetensors header describes {len(document)} tensors.")
    data_bytes = size_bytes - len(header)
    tensors = tuple(_tensor(n, v, data_bytes) for n, v in document.items() if n != "__metadata__")
    described_bytes = sum(tensor.stored_bytes for tensor in tensors)
    if described_bytes > data_bytes:
        raise invalid("the safetensors header describes overlapping tensors.")
    if described_bytes < data_bytes:  # the format allows no holes, and engines refuse them
        raise invalid(
            f"the safetensors header describes {file_size(described_bytes)} of tensors, and the file has "
            f"{file_size(data_bytes)} of them: it is damaged, or names a tensor twice.",
        )
    return tensors


def _tensor(name: str, entry: Any, data_bytes: int) -> StoredTensor:
    shown = name[:80]
    if len(name) > NAME_LIMIT:
        raise invalid(f"the safetensors header names a tensor with {len(name)} characters: {shown!r}.")
    # One character beyond ASCII would make four bytes of each.
    name = name.encode("ascii", "replace").decode()
    if not isinstance(entry, dict):
        raise invalid(f"the safetensors header has no usable entry for {shown!r}.")
    dtype, shape, offsets = entry.get("dtype"), entry.get("shape"), entry.get("data_offsets")
    if not isinstance(dtype, str) or not 0 < len(dtype) <= 16 or not dtype.isascii():
        raise invalid(f"the safetensors header gives {shown!r} no dtype.")
    if not _whole_numbers(shape) or len(shape) > 16:
        raise invalid(f"the safetensors header gives {shown!r} no valid shape.")
    if not _whole_numbers(offsets) or len(offsets) != 2 or offsets[0] > offsets[1]:
        raise invalid(f"the safetensors header gives {shown!r} no valid offsets.")
    if offsets[1] > data_bytes:
        raise invalid(
            f"the safetensors header puts {shown!r} at byte {offsets[1]} of {data_bytes}: "
            "the file is cut short.",
            "Download the model again.",
        )
    tensor = StoredTensor(name, dtype, tuple(shape), offsets[1] - offsets[0])
    bits = DTYPE_BITS.get(dtype)
    if tensor.elements > ELEMENT_LIMIT or (bits and (tensor.elements * bits + 7) // 8 != tensor.stored_bytes):
        raise invalid(
            f"the safetensors header contradicts itself: {shown!r} is {dtype} {list(shape)[:8]}, "
            f"but takes {tensor.stored_bytes} bytes."
        )
    return tensor


def _whole_numbers(value: Any) -> TypeGuard[list[int]]:
    return isinstance(value, list) and all(type(n) is int and 0 <= n <= ELEMENT_LIMIT for n in value)
