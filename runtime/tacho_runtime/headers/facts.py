"""Combines the model's facts from config.json, tensor headers and tokenizer files."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from tacho_contract.model import Architecture, ModelFacts
from tacho_engines.run_parts import GGUF, MISTRAL, UNPARSED
from tacho_runtime.headers.architecture import read_architecture
from tacho_runtime.headers.gguf import GGML_TYPES, GGUFHeader
from tacho_runtime.headers.gguf_facts import gguf_architecture, gguf_quantization
from tacho_runtime.headers.json_values import scan_json
from tacho_runtime.headers.quantization import stored_quantization
from tacho_runtime.headers.safetensors import DTYPE_BITS
from tacho_runtime.headers.source import FileEntry, ModelSource
from tacho_runtime.headers.tensors import StoredTensor, aggregate, is_head, largest

TOKENIZERS = frozenset((
    "tokenizer.json", "tokenizer.model", "spiece.model", "sentencepiece.bpe.model", "tekken.json",
    "vocab.json", "vocab.txt",
))  # fmt: skip
"""Tokenizer files, of which a model with a tokenizer has at least one. Source: transformers,
``vocab_files_names`` of its tokenizers."""
OTHER_TOKENIZERS = re.compile(r"[.]tiktoken$|^tokenizer[.]model[.]v\d")
"""Those whose names differ, the second Mistral's, which bring a chat template of their own."""
TEMPLATES = frozenset(("chat_template.jinja", "chat_template.json"))
SETTINGS = "tokenizer_config.json"


def with_tokenizer(
    facts: ModelFacts, source: ModelSource, files: tuple[FileEntry, ...], *, trusted: bool
) -> ModelFacts:
    """``facts`` completed with those of the tokenizer files among ``files``, the files to load.

    A GGUF file has them in its header. Files that cannot be parsed leave them unknown, as do tokenizers made
    by the repository's own code if it is ``trusted``.
    """
    if facts.format in (GGUF, UNPARSED):
        return facts
    names = {entry.path for entry in files}
    own_code = trusted and bool(facts.architecture and facts.architecture.needs_remote_code)
    found = bool(names & TOKENIZERS) or any(map(OTHER_TOKENIZERS.search, names))
    if not found and own_code:
        return facts
    template = facts.format == MISTRAL or _has_template(source, files, names)
    return replace(facts, tokenizer=found, chat_template=template)


def with_gguf_companions(facts: ModelFacts, files: tuple[FileEntry, ...]) -> ModelFacts:
    """``facts`` of a GGUF model, completed with what lies in its folder. ``files``: those that a pod has."""
    if facts.format != GGUF:
        return facts
    folder = facts.files.model_file.rpartition("/")[0]
    names = {name for path, _, name in (entry.path.rpartition("/") for entry in files) if path == folder}
    return replace(facts, gguf_companions="config.json" in names and bool(names & TOKENIZERS))


def _has_template(source: ModelSource, files: tuple[FileEntry, ...], names: set[str]) -> bool:
    if names & TEMPLATES or any(name.startswith("additional_chat_templates/") for name in names):
        return True
    if settings := scan_json(source, files, SETTINGS):  # it may describe 100,000 tokens
        for key in settings.entries():
            if key == "chat_template":
                return bool(settings.value())
            settings.skip()
    return False


KNOWN_DTYPES = frozenset(DTYPE_BITS).union(name for name, _, _ in GGML_TYPES.values())
STORED_DTYPES = {"BF16": "bfloat16", "F16": "float16", "F32": "float32"}


def facts_from_config_and_tensors(
    config: dict[str, Any],
    stored: list[StoredTensor],
    base: ModelFacts,
    side_files: Mapping[str, dict[str, Any]] = MappingProxyType({}),
) -> ModelFacts:
    """``base`` completed from config.json and the tensors' headers. ``side_files``: files that say how the
    weights are quantized where config.json does not, by their names."""
    architecture, unknown = read_architecture(config)
    architecture = _with_stored_dtype(architecture, stored)
    if architecture.dtype and "dtype" in unknown:
        unknown.remove("dtype")
    architecture = _with_stored_head(architecture, stored)
    tensors = aggregate(stored, architecture.layers, KNOWN_DTYPES)
    return replace(
        base,
        architecture=architecture,
        quantization=stored_quantization(config, tensors, side_files),
        tensors=tensors,
        unknown=(*base.unknown, *unknown),
    )


def facts_from_gguf(headers: list[GGUFHeader], base: ModelFacts) -> ModelFacts:
    """``base`` completed from the headers of a GGUF model, its shards in order."""
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
        tensors=aggregate(tensors, architecture.layers, KNOWN_DTYPES),
        tokenizer="tokenizer.ggml.model" in metadata,
        chat_template=bool(metadata.get("tokenizer.chat_template")),
        unknown=(*base.unknown, *unknown),
    )


def _with_stored_dtype(architecture: Architecture, tensors: list[StoredTensor]) -> Architecture:
    """``architecture`` with the dtype of most weights, where its configuration has none."""
    if architecture.dtype or not tensors:
        return architecture
    named = ((STORED_DTYPES[t.dtype], t.stored_bytes * t.copies) for t in tensors if t.dtype in STORED_DTYPES)
    return replace(architecture, dtype=largest(named))


def _with_stored_head(architecture: Architecture, tensors: list[StoredTensor]) -> Architecture:
    """``architecture`` with tied or separate embeddings by the tensors. Configurations often leave this to a
    family's default.
    """
    if not tensors or not any("embed" in t.name or "wte" in t.name for t in tensors):
        return architecture
    has_head = any(is_head(t.name) for t in tensors)
    return replace(architecture, tied_embeddings=architecture.tied_embeddings or not has_head)
