"""Whether a model's folder holds a tokenizer and says how a conversation becomes a prompt."""

from __future__ import annotations

import dataclasses

from tacho_contract.model import ModelFacts
from tacho_engines.shared.files import GGUF, UNPARSED
from tacho_runtime.headers.jsonfile import read_json
from tacho_runtime.headers.source import FileEntry, Source

TOKENIZERS = frozenset(
    (
        "tokenizer.json",
        "tokenizer.model",
        "spiece.model",
        "sentencepiece.bpe.model",
        "tekken.json",
        "vocab.json",
        "vocab.txt",
    )
)
"""A tokenizer is at least one of these. Source: transformers, ``vocab_files_names`` of its tokenizers."""
TEMPLATES = frozenset(("chat_template.jinja", "chat_template.json"))
SETTINGS = "tokenizer_config.json"


def with_tokenizer(facts: ModelFacts, source: Source, files: tuple[FileEntry, ...]) -> ModelFacts:
    """``facts`` with what the ``files`` that will be loaded say. A GGUF file has said it in its header; what
    is not parsed stays unknown, and so does a tokenizer that the repository's own code makes."""
    if facts.format in (GGUF, UNPARSED):
        return facts
    names = {entry.path for entry in files}
    own_code = bool(facts.architecture and facts.architecture.needs_remote_code)
    found = bool(names & TOKENIZERS) or any(name.endswith(".tiktoken") for name in names)
    if not found and own_code:
        return facts
    return dataclasses.replace(facts, tokenizer=found, chat_template=_has_template(source, files, names))


def _has_template(source: Source, files: tuple[FileEntry, ...], names: set[str]) -> bool:
    if names & TEMPLATES or any(name.startswith("additional_chat_templates/") for name in names):
        return True
    settings = read_json(source, files, SETTINGS)
    return bool(settings and settings.get("chat_template"))
