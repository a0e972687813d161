"""Writes GGUF headers, sound ones and others, with holes for the weights."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

STRING, ARRAY, UINT32, INT32, FLOAT32, BOOL = 8, 9, 4, 5, 6, 7
F32, F16, Q4_0, Q8_0, Q4_K, Q6_K = 0, 1, 2, 8, 12, 14
BLOCKS = {F32: (1, 4), F16: (1, 2), Q4_0: (32, 18), Q8_0: (32, 34), Q4_K: (256, 144), Q6_K: (256, 210)}

Tensor = tuple[str, tuple[int, ...], int]
"""(name, shape with the fastest dimension first, GGML type)."""


def text(value: str) -> bytes:
    raw = value.encode()
    return struct.pack("<Q", len(raw)) + raw


def value(item: Any) -> bytes:
    """A metadata value with its type: bool, int (32 bits), float, str, or a list of values of one of these
    types."""
    kind, raw = _value(item)
    return struct.pack("<I", kind) + raw


def _value(item: Any) -> tuple[int, bytes]:
    if isinstance(item, bool):
        return BOOL, struct.pack("<?", item)
    if isinstance(item, int):
        return (UINT32, struct.pack("<I", item)) if item >= 0 else (INT32, struct.pack("<i", item))
    if isinstance(item, float):
        return FLOAT32, struct.pack("<f", item)
    if isinstance(item, str):
        return STRING, text(item)
    kind = _value(item[0])[0] if item else UINT32
    return ARRAY, struct.pack("<IQ", kind, len(item)) + b"".join(_value(each)[1] for each in item)


def header(metadata: dict[str, Any], tensors: list[Tensor], *, version: int = 3) -> tuple[bytes, int]:
    """The header's bytes, padded to the data's start, and the size of the data."""
    body = b"GGUF" + struct.pack("<IQQ", version, len(tensors), len(metadata))
    for key, item in metadata.items():
        body += text(key) + value(item)
    offset = 0
    for name, shape, kind in tensors:
        body += text(name) + struct.pack("<I", len(shape)) + struct.pack(f"<{len(shape)}Q", *shape)
        body += struct.pack("<IQ", kind, offset)
        offset += _stored(shape, kind) + -_stored(shape, kind) % 32
    return body + b"\0" * (-len(body) % 32), offset


def _stored(shape: tuple[int, ...], kind: int) -> int:
    elements = 1
    for size in shape:
        elements *= size
    block, size = BLOCKS[kind]
    return elements // block * size


def write(path: Path, metadata: dict[str, Any], tensors: list[Tensor]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    head, data = header(metadata, tensors)
    with path.open("wb") as file:
        file.write(head)
        file.truncate(len(head) + data)
    return path


def llama(path: Path, *, layers: int = 2, file_type: int = 15, tokens: int = 5000) -> Path:
    """A small model of the llama architecture whose vocabulary is too long to be kept."""
    metadata = {
        "general.architecture": "llama",
        "general.file_type": file_type,
        "llama.block_count": layers,
        "llama.context_length": 4096,
        "llama.embedding_length": 256,
        "llama.feed_forward_length": 512,
        "llama.attention.head_count": 8,
        "llama.attention.head_count_kv": 4,
        "llama.rope.dimension_count": 32,
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.tokens": [f"t{n}" for n in range(tokens)],
        "tokenizer.ggml.scores": [0.5] * tokens,
    }
    rows: list[Tensor] = [("token_embd.weight", (256, tokens), Q6_K), ("output.weight", (256, tokens), Q6_K)]
    for n in range(layers):
        for name, out in (("attn_q", 256), ("attn_k", 128), ("attn_v", 128), ("attn_output", 256)):
            rows.append((f"blk.{n}.{name}.weight", (256, out), Q4_K))
        rows += [(f"blk.{n}.ffn_{name}.weight", (256, 512), Q4_K) for name in ("gate", "up")]
        rows += [(f"blk.{n}.ffn_down.weight", (512, 256), Q4_K)]
        rows += [(f"blk.{n}.{name}.weight", (256,), F32) for name in ("attn_norm", "ffn_norm")]
    return write(path, metadata, [*rows, ("output_norm.weight", (256,), F32)])
