"""Model facts from configuration and tensors: a pure function, so that no disk and no network is needed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from tacho_contract.model import Architecture, ModelFacts
from tacho_runtime.headers.architecture import read_architecture
from tacho_runtime.headers.gguf import GGUFHeader
from tacho_runtime.headers.gguf_facts import gguf_architecture, gguf_quantization
from tacho_runtime.headers.quantization import stored_quantization
from tacho_runtime.headers.tensors import StoredTensor, aggregate

STORED_DTYPES = {"BF16": "bfloat16", "F16": "float16", "F32": "float32"}

TensorRow = tuple[str, str, tuple[int, ...], int]
"""(name, dtype, shape, stored bytes)."""


def facts_from_config_and_tensors(
    config: dict[str, Any], tensors: Iterable[TensorRow], base: ModelFacts
) -> ModelFacts:
    """``base`` with what config.json and the tensors' headers say."""
    stored = [StoredTensor(name, dtype, tuple(shape), size) for name, dtype, shape, size in tensors]
    architecture, unknown = read_architecture(config)
    architecture = _with_stored_dtype(architecture, stored)
    if architecture.dtype and "dtype" in unknown:
        unknown.remove("dtype")
    architecture = _with_stored_head(architecture, stored)
    return replace(
        base,
        architecture=architecture,
        quantization=stored_quantization(config, stored),
        tensors=aggregate(stored, architecture.layers),
        unknown=(*base.unknown, *unknown),
    )


def facts_from_gguf(headers: list[GGUFHeader], base: ModelFacts) -> ModelFacts:
    """``base`` with what the headers of a GGUF model (its shards in order) say."""
    metadata = headers[0].metadata
    tensors = [tensor for header in headers for tensor in header.tensors]
    architecture, unknown = gguf_architecture(metadata, tensors)
    newer = sorted({t.dtype for t in tensors if t.dtype.startswith("GGML_")})
    if newer:
        unknown.append(f"exact size of tensors of the types {', '.join(newer)[:80]}")
    return replace(
        base,
        architecture=architecture,
        quantization=gguf_quantization(metadata, tensors),
        tensors=aggregate(tensors, architecture.layers),
        tokenizer="tokenizer.ggml.model" in metadata,
        chat_template=bool(metadata.get("tokenizer.chat_template")),
        unknown=(*base.unknown, *unknown),
    )


def _with_stored_dtype(architecture: Architecture, tensors: list[StoredTensor]) -> Architecture:
    """A configuration without a dtype: the one most weights are stored in."""
    if architecture.dtype or not tensors:
        return architecture
    sizes: dict[str, int] = {}
    for tensor in tensors:
        if name := STORED_DTYPES.get(tensor.dtype):
            sizes[name] = sizes.get(name, 0) + tensor.stored_bytes
    return replace(architecture, dtype=max(sizes, key=lambda n: sizes[n])) if sizes else architecture


def _with_stored_head(architecture: Architecture, tensors: list[StoredTensor]) -> Architecture:
    """Configurations leave ``tie_word_embeddings`` to a family's default; the weights cannot be wrong
    about it."""
    if not tensors or not any("embed" in t.name or "wte" in t.name for t in tensors):
        return architecture
    has_head = any("lm_head." in t.name or "embed_out." in t.name for t in tensors)
    return replace(architecture, tied_embeddings=architecture.tied_embeddings or not has_head)
