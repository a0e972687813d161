"""Finds the facts of a model for planning: lists files in a folder or on a hub, selects, reads headers."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from typing import Any

from tacho_contract.failure import FailedError, FailureClass
from tacho_contract.launch import startup_budget_seconds
from tacho_contract.model import FULL, InspectConfig, ModelFacts, ModelFiles
from tacho_engines.run_parts import (
    ALL_FILES,
    CT2,
    GGUF,
    MISTRAL,
    PYTORCH,
    SAFETENSORS,
    UNPARSED,
    loadable_files,
)
from tacho_engines.shared.purpose import DRAFTED, EMBEDDED
from tacho_runtime.headers import gguf, mistral, safetensors
from tacho_runtime.headers.digests import (
    PARALLEL_READS,
    content_digest,
    files_digest,
    full_digest,
    loaded,
    mark,
)
from tacho_runtime.headers.facts import (
    facts_from_config_and_tensors,
    facts_from_gguf,
    with_gguf_companions,
    with_tokenizer,
)
from tacho_runtime.headers.json_values import read_json, scan_json, text
from tacho_runtime.headers.quantization import SIDE_FILES
from tacho_runtime.headers.source import (
    CHUNK_BYTES,
    FileEntry,
    FolderSource,
    ModelSource,
    invalid,
    not_found,
)
from tacho_runtime.headers.tensors import StoredTensor
from tacho_runtime.hub.select import ADAPTER, INDEX, Selection, adapter_alone, lone_adapter, select


def find_facts(
    config: InspectConfig, source: ModelSource, allow_seconds: Callable[[int], None] = lambda _: None
) -> ModelFacts:
    """The facts of the model in ``source``. Raises FailedError.

    ``allow_seconds`` is called with the time limit for reading every byte, before that reading begins.
    """
    entries = source.files()
    try:
        selection = _selection(config, source, entries)
    except FailedError as error:
        if error.failure.failure_class == FailureClass.MODEL_NOT_FOUND and isinstance(source, FolderSource):
            raise source.with_closed(error) from None
        raise
    total_bytes = sum(entry.size_bytes for entry in selection.files)
    base = ModelFacts(
        uri=config.uri,
        files=ModelFiles(
            commit=source.commit,
            digest=source.commit,
            globs=selection.globs,
            file_count=len(selection.files),
            total_bytes=total_bytes,
            files_digest=files_digest(_identifying(source, selection)),
            model_file=selection.model_file,
        ),
        format=selection.format,
    )
    marks: dict[str, str] = {}
    parsed = _parsed(base, source, entries, selection, marks)
    facts = with_tokenizer(parsed, source, selection.files, trusted=config.trust_remote_code)
    if not isinstance(source, FolderSource):
        facts = with_gguf_companions(facts, selection.files)
    elif not source.single_file:  # a pod has the whole folder, whatever is selected
        facts = with_gguf_companions(facts, entries)
    if source.commit:
        return facts
    facts = replace(facts, files=replace(facts.files, digest=_digest(source, selection, marks)))
    if config.verification != FULL or not isinstance(source, FolderSource):
        return facts
    allow_seconds(startup_budget_seconds(facts.files.total_bytes))
    whole = full_digest(source, _identifying(source, selection))
    return replace(facts, files=replace(facts.files, content_digest=whole))


def _selection(config: InspectConfig, source: ModelSource, entries: tuple[FileEntry, ...]) -> Selection:
    """The files of the model to load. Raises FailedError where there are none, or those of several models."""
    if not entries:
        raise not_found(f"{config.uri} has no files.", "Put the model there, or correct spec.model.uri.")
    if config.parse and lone_adapter(entries):
        base = text((read_json(source, entries, ADAPTER) or {}).get("base_model_name_or_path"))
        raise adapter_alone(base)
    loadable = loadable_files(config.engine) if config.parse else ALL_FILES
    loadable = replace(loadable, code=config.trust_remote_code)
    index = None if config.files or SAFETENSORS not in loadable.formats else _index(source, entries)
    return select(entries, config.files, loadable, index)


def _index(source: ModelSource, entries: tuple[FileEntry, ...]) -> frozenset[str] | None:
    """The files that the index of a sharded checkpoint names; None: the model has no index."""
    index = scan_json(source, entries, INDEX)
    if index is None:
        return None
    files: set[str] = set()
    for key in index.entries():
        if key != "weight_map":
            index.skip()
            continue
        for _ in index.entries():
            file = index.value()
            if not isinstance(file, str) or not file.endswith(".safetensors"):
                raise invalid(f"{INDEX} names something that is no safetensors file.")
            files.add(file)
    index.end()
    if not files:
        raise invalid(f"{INDEX} has no weight_map.")
    return frozenset(files)


def _parsed(
    base: ModelFacts,
    source: ModelSource,
    entries: tuple[FileEntry, ...],
    selection: Selection,
    marks: dict[str, str],
) -> ModelFacts:
    """``base``, completed from the files' headers and configuration. ``marks`` gets the headers' hashes."""
    if selection.format == GGUF:
        headers = list(_ggufs(source, selection, marks))
        _require_weights(selection, [tensor for header in headers for tensor in header.tensors])
        return facts_from_gguf(headers, base)
    if selection.format in (SAFETENSORS, MISTRAL):
        tensors = list(_safetensors(source, selection, marks))
        _require_weights(selection, tensors)
        if selection.format == MISTRAL:
            config = mistral.config_of(read_json(source, entries, mistral.PARAMS) or {})
            return facts_from_config_and_tensors(config, tensors, base)
        config = _language_model(source, entries)
        # A pod has the whole folder of a claim, and of a hub's repository what is selected.
        side_files = _side_files(source, selection.files if source.commit else entries, config)
        return facts_from_config_and_tensors(config, tensors, base, side_files)
    if selection.format == PYTORCH:
        facts = facts_from_config_and_tensors(_language_model(source, entries), [], base)
        return replace(
            facts, unknown=(*facts.unknown, "sizes of single weights (pickle files are never opened)")
        )
    if selection.format == CT2:
        unknown = "architecture and sizes of single weights (CTranslate2 files do not contain them)"
        return replace(base, unknown=(unknown,))
    return base


def _require_weights(selection: Selection, tensors: list[StoredTensor]) -> None:
    """Raises FailedError where no tensor of the model has a byte."""
    if not any(tensor.stored_bytes for tensor in tensors):
        raise invalid(f"{selection.weights[0].path} holds no weights: its header describes no bytes of any.")


MODULES = "modules.json"
POOLING = re.compile(rb'"type"\s*:\s*"sentence_transformers[.][^"]*[.]Pooling"')
"""A module of Sentence Transformers that makes one vector of a text. Source: vLLM 0.32
transformers_utils/config.py get_pooling_config, by which every architecture is an embedding model's."""


def _language_model(source: ModelSource, entries: tuple[FileEntry, ...]) -> dict[str, Any]:
    """The content of config.json. Raises FailedError if files beside the weights say that it generates no
    text."""
    config = _config(source, entries)
    modules = any(entry.path == MODULES for entry in entries)
    if modules and POOLING.search(source.read(MODULES, 0, CHUNK_BYTES)):
        raise _other_purpose(f"{MODULES} has a pooling module: this is an embedding model", EMBEDDED)
    if config.get("speculators_config"):
        raise _other_purpose("config.json has a speculators_config: this is a draft", DRAFTED)
    return config


def _other_purpose(message: str, step: str) -> FailedError:
    message = f"{message}, which answers no completions."
    return FailedError.of(FailureClass.ENGINE_NOT_SUPPORTED, message, f"{step}.")


def _config(source: ModelSource, entries: tuple[FileEntry, ...]) -> dict[str, Any]:
    """The content of config.json."""
    config = read_json(source, entries, "config.json")
    if config is None and any(entry.path == mistral.PARAMS for entry in entries):
        message = f"The model is in Mistral's own layout ({mistral.PARAMS}), which vllm alone loads."
        step = "Set engine.name to vllm, or use a copy of the model with a config.json."
        raise FailedError.of(FailureClass.ENGINE_NOT_SUPPORTED, message, step)
    if config is None:
        raise invalid("There is no config.json, without which no engine loads the weights.")
    return config


def _side_files(
    source: ModelSource, entries: tuple[FileEntry, ...], config: dict[str, Any]
) -> dict[str, dict[str, Any]]:
    """The files that say how the weights are quantized where ``config`` does not, by their names."""
    if config.get("quantization_config") is not None:
        return {}
    found = ((name, read_json(source, entries, name)) for name in SIDE_FILES)
    return {name: document for name, document in found if document is not None}


def _ggufs(source: ModelSource, selection: Selection, marks: dict[str, str]) -> Iterator[gguf.GGUFHeader]:
    """The headers of all parts of a GGUF model. To save memory, of the first part's metadata alone."""
    for entry in selection.weights:
        with _naming(entry):
            header = gguf.read_header(partial(source.read, entry.path), entry.size_bytes)
        marks[entry.path] = header.mark
        yield replace(header, metadata=header.metadata if len(marks) == 1 else {})


def _safetensors(source: ModelSource, selection: Selection, marks: dict[str, str]) -> Iterator[StoredTensor]:
    def read(entry: FileEntry) -> safetensors.Header:
        with _naming(entry):
            return safetensors.read_header(partial(source.read, entry.path), entry.size_bytes)

    with ThreadPoolExecutor(PARALLEL_READS) as pool:
        for entry, header in zip(selection.weights, pool.map(read, selection.weights), strict=True):
            marks[entry.path] = header.mark
            yield from header.tensors


@contextlib.contextmanager
def _naming(entry: FileEntry) -> Iterator[None]:
    """Context manager that adds the file's name to the message of an error."""
    try:
        yield
    except FailedError as error:
        if not error.failure.message.startswith(entry.path):
            error.failure = replace(error.failure, message=f"{entry.path}: {error.failure.message}")
        raise


def _identifying(source: ModelSource, selection: Selection) -> tuple[FileEntry, ...]:
    """The files that the model's digest covers: all files of a commit; of a folder, what engines read."""
    anything = source.commit or selection.format == UNPARSED
    return selection.files if anything else loaded(selection.files)


def _digest(source: ModelSource, selection: Selection, marks: dict[str, str]) -> str:
    chosen = _identifying(source, selection)
    return content_digest((entry, marks.get(entry.path) or mark(source, entry)) for entry in chosen)
