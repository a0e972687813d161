"""Selects the files of a model to load: by the user's globs, else those that the engine loads."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase

from tacho_contract.failure import FailedError
from tacho_contract.units import file_size, listed
from tacho_engines.run_parts import CT2, GGUF, MISTRAL, PYTORCH, SAFETENSORS, UNPARSED, LoadableFiles
from tacho_runtime.headers.mistral import PARAMS
from tacho_runtime.headers.source import FileEntry, invalid, not_found

Files = tuple[FileEntry, ...]

INDEX = "model.safetensors.index.json"

CONSOLIDATED = re.compile(r"^consolidated[^/]*[.]safetensors$")
SHARD = re.compile(r"^(?P<stem>.*)-(?P<number>\d{5,6})-of-(?P<total>\d{5,6})\.(safetensors|gguf)$")
NOT_WEIGHTS = re.compile(r"(^|/)(adapter_model|training_args|optimizer|scheduler|rng_state)[^/]*$")
NOT_A_MODEL = re.compile(r"mmproj|imatrix|ggml-vocab", re.IGNORECASE)
"""GGUF files that are not language models: vision projectors, calibration data, bare vocabularies."""
COMPANION = re.compile(
    r"^[^/]*\.(json|jinja|model|tiktoken|py)$|^(vocab|merges|vocabulary|dict)[^/]*\.txt$|^tokenizer[^/]*$"
)
"""Matches files in the top folder that are loaded with the weights: configuration, tokenizer, chat template,
Python code.
"""
NOT_COMPANION = re.compile(r"^(README|LICENSE|adapter_config|trainer_state|all_results|train_results)")
ADAPTER = "adapter_config.json"
"""The file of an adapter by PEFT, which holds no model of its own."""
MODEL_OF_ITS_OWN = re.compile(r"^config[.]json$|^params[.]json$|[.]gguf$")
PATTERNS_LIMIT = 100
"""Most patterns that are tried for a model's files, as each is compared with every file."""


@dataclass(frozen=True, slots=True)
class Selection:
    """The files to load, and the globs that select them."""

    format: str
    files: Files
    globs: tuple[str, ...]
    weights: Files
    """Files whose headers describe tensors; empty for formats that are not parsed."""
    model_file: str = ""


def matches(path: str, globs: Iterable[str]) -> bool:
    """Whether ``path`` matches a glob, by the rules of model hubs: ``*`` also matches ``/``."""
    return any(fnmatchcase(path, glob) for glob in globs)


def select(
    entries: Files, globs: tuple[str, ...], desired: LoadableFiles, index: frozenset[str] | None = None
) -> Selection:
    """The files to load, and their globs. ``index``: the files that model.safetensors.index.json names; None
    without one.

    Raises FailedError: ModelNotFound when no file fits, ModelInvalid when the files of several models do.
    """
    if not globs:
        return _preferred(entries, desired, index)
    chosen = tuple(entry for entry in entries if matches(entry.path, globs))
    for glob in globs:
        if not any(fnmatchcase(entry.path, glob) for entry in chosen):
            raise not_found(
                f"spec.model.files: {glob!r} matches none of the model's {len(entries)} files. "
                f"There is: {_sized(entries)}.",
                "Correct spec.model.files.",
            )
    if not desired.formats:
        return Selection(UNPARSED, chosen, globs, ())
    return _classified(chosen, globs, desired)


def _classified(chosen: Files, globs: tuple[str, ...], desired: LoadableFiles) -> Selection:
    """The selection by the user's globs."""
    ggufs = _ggufs(chosen)
    tensors = tuple(e for e in chosen if e.path.endswith(".safetensors") and not NOT_WEIGHTS.search(e.path))
    if ggufs and (desired.only(GGUF) or not tensors):
        weights = _one_gguf(ggufs)
        return Selection(GGUF, chosen, globs, weights, weights[0].path)
    if desired.only(GGUF):
        raise _absent(desired, chosen)
    if _is_mistral(chosen) and MISTRAL in desired.formats:
        _check_shards(tensors)
        return Selection(MISTRAL, chosen, globs, tensors)
    if tensors and SAFETENSORS in desired.formats:
        if not any(e.path == "config.json" for e in chosen):
            raise invalid(
                "spec.model.files selects weights but not config.json, without which no engine loads them.",
                'Add "*.json" and the tokenizer\'s files to spec.model.files, or leave spec.model.files out.',
            )
        _check_shards(tensors)
        return Selection(SAFETENSORS, chosen, globs, tensors)
    if _is_ct2(chosen):
        return Selection(CT2, chosen, globs, ())
    if any(e.path.endswith((".bin", ".pt", ".pth")) for e in chosen):
        return Selection(PYTORCH, chosen, globs, ())
    raise not_found(
        f"spec.model.files selects no weights: {_sized(chosen)}.",
        "Add the weights' files to spec.model.files.",
    )


def _preferred(entries: Files, desired: LoadableFiles, index: frozenset[str] | None) -> Selection:
    """The model's files in the first desired format that it has. Raises FailedError where it has none."""
    if not desired.formats:
        files = tuple(e for e in entries if not e.path.startswith("."))
        if not files:
            raise _absent(desired, entries)
        return Selection(UNPARSED, files, _globs(files, entries), ())
    for desired_format in desired.formats:
        if (selection := _of_format(desired_format, entries, index, desired)) is not None:
            return selection
    raise _absent(desired, entries)


def _of_format(
    model_format: str, entries: Files, index: frozenset[str] | None, desired: LoadableFiles
) -> Selection | None:
    """The model's files in the format ``model_format``; None where it has none. Raises FailedError where
    several models match."""
    if model_format == MISTRAL and _is_mistral(entries):
        weights = tuple(e for e in entries if CONSOLIDATED.match(e.path))
        _check_shards(weights)
        files = _with_companions(weights, entries, "consolidated.safetensors.index.json", desired.code)
        return Selection(MISTRAL, files, _globs(files, entries), weights)
    if model_format == SAFETENSORS and (weights := _safetensors(entries, index)):
        files = _with_companions(weights, entries, INDEX, desired.code)
        return Selection(SAFETENSORS, files, _globs(files, entries), weights)
    if model_format == GGUF and (ggufs := _ggufs(entries)):
        weights = _one_gguf(ggufs)
        found = desired.gguf_companions and "/" not in weights[0].path
        files = _with_companions(weights, entries, "", desired.code) if found else weights
        return Selection(GGUF, files, _globs(files, entries), weights, weights[0].path)
    if model_format == CT2 and _is_ct2(entries):
        weights = tuple(e for e in entries if e.path == "model.bin")
        files = _with_companions(weights, entries, "", desired.code)
        return Selection(CT2, files, _globs(files, entries), ())
    pickled = tuple(e for e in entries if re.fullmatch(r"pytorch_model[^/]*\.bin", e.path))
    if model_format == PYTORCH and pickled:
        files = _with_companions(pickled, entries, "pytorch_model.bin.index.json", desired.code)
        return Selection(PYTORCH, files, _globs(files, entries), ())
    return None


def _is_mistral(entries: Files) -> bool:
    """Whether the files are in Mistral's own layout alone, and not in Hugging Face's, too."""
    names = {entry.path for entry in entries}
    return PARAMS in names and "config.json" not in names and any(map(CONSOLIDATED.match, names))


def _is_ct2(entries: Files) -> bool:
    return {"model.bin", "config.json"} <= {entry.path for entry in entries}


def _ggufs(entries: Files) -> Files:
    return tuple(e for e in entries if e.path.endswith(".gguf") and not NOT_A_MODEL.search(e.path))


def _one_gguf(ggufs: Files) -> Files:
    """The parts of the only GGUF model in ``ggufs``, in order. Raises FailedError with the candidates if
    there are several models.
    """
    sets = _sets(ggufs)
    if len(sets) > 1:
        sizes = [f"{name} ({file_size(sum(e.size_bytes for e in shards))})" for name, shards in sets.items()]
        raise invalid(
            f"There are {len(sets)} GGUF models to choose from: {listed(sizes, 12)}.",
            'Name one in spec.model.files, for example files: ["*Q4_K_M.gguf"].',
        )
    _check_shards(ggufs)
    return next(iter(sets.values()))


def _absent(desired: LoadableFiles, entries: Files) -> FailedError:
    if any(entry.path == ADAPTER for entry in entries):
        return adapter_alone("")
    return not_found(f"{desired.absent} There is: {_sized(entries)}.", desired.next_step)


def lone_adapter(entries: Files) -> bool:
    """Whether the files are those of an adapter (LoRA) without a model of its own."""
    return any(e.path == ADAPTER for e in entries) and not any(
        MODEL_OF_ITS_OWN.search(e.path) for e in entries
    )


def adapter_alone(base: str) -> FailedError:
    """The refusal of an adapter's files. ``base``: the model that it adapts; "": unknown."""
    named = f", {base}," if base else ""
    return not_found(
        f"{ADAPTER} is that of an adapter (LoRA), which changes another model; there is no model beside it.",
        f"Name the model that it adapts{named} in spec.model.uri, or merge the adapter into it.",
    )


def _sets(weights: Files) -> dict[str, Files]:
    """The files of each model by the name of its first part."""
    grouped: dict[str, list[FileEntry]] = {}
    for entry in sorted(weights, key=lambda entry: entry.path):
        shard = SHARD.match(entry.path)
        grouped.setdefault(f"{shard['stem']}/{shard['total']}" if shard else entry.path, []).append(entry)
    return {shards[0].path: tuple(shards) for shards in grouped.values()}


def _check_shards(weights: Files) -> None:
    for shards in _sets(weights).values():
        shard = SHARD.match(shards[0].path)
        if shard and len(shards) != int(shard["total"]):
            raise invalid(
                f"Of {shard['stem']} only {len(shards)} of {int(shard['total'])} parts are there.",
                "Complete the model, or correct spec.model.files.",
            )


def _safetensors(entries: Files, index: frozenset[str] | None) -> Files:
    """Files of the safetensors model in the top folder, without duplicates in other formats or precisions."""
    by_path = {e.path: e for e in entries}
    if index is not None:
        if missing := sorted(index - by_path.keys()):
            raise invalid(f"{INDEX} names files that are not there: {listed(missing, 4)}.")
        return tuple(by_path[path] for path in sorted(index))
    top = tuple(
        e for e in entries if re.fullmatch(r"[^/]*\.safetensors", e.path) and not NOT_WEIGHTS.search(e.path)
    )
    sets = _sets(top)
    named = {
        name: s
        for name, s in sets.items()
        if re.fullmatch(r"model(\.safetensors)?(-\d+-of-\d+)?\.safetensors", name)
    }
    rest = {name: s for name, s in sets.items() if not name.startswith("consolidated")}
    candidates = named or rest or sets
    if len(candidates) > 1 and "model.safetensors" in candidates:
        candidates = {"model.safetensors": candidates["model.safetensors"]}
    if len(candidates) > 1:
        raise invalid(
            f"There are several sets of weights: {listed(sorted(candidates), 12)}.",
            "Name one in spec.model.files.",
        )
    weights = next(iter(candidates.values()), ())
    _check_shards(weights)
    return weights


def _with_companions(weights: Files, entries: Files, index: str, code: bool) -> Files:
    return tuple(sorted({*weights, *_companions(entries, index, code)}, key=lambda e: e.path))


def _companions(entries: Files, index: str, code: bool) -> Files:
    """Files that are loaded with the weights; of several shard indexes only the matching one. Python files
    only with ``code``.
    """
    return tuple(
        e
        for e in entries
        if COMPANION.match(e.path)
        and (code or not e.path.endswith(".py"))
        and not NOT_COMPANION.search(e.path)
        and (e.path == index or not e.path.endswith(".index.json"))
    )


def _globs(files: Files, entries: Files) -> tuple[str, ...]:
    """Globs that select exactly ``files`` of ``entries``: short patterns if they are exact, else names."""
    desired = {e.path for e in files}
    left, globs = set(desired), []
    patterns = Counter(("*", "*"))
    for path in sorted(desired):
        shard = SHARD.match(path)
        if shard:
            patterns[f"{_literal(shard['stem'])}-*-of-{shard['total']}.{path.rpartition('.')[2]}"] += 1
        patterns[f"*.{path.rpartition('.')[2]}"] += 1
    repeated = [pattern for pattern, count in patterns.items() if count > 1]
    for pattern in repeated[:PATTERNS_LIMIT]:
        hit = {e.path for e in entries if fnmatchcase(e.path, pattern)}
        if len(hit & left) > 1 and hit <= desired:
            globs.append(pattern)
            left -= hit
    return tuple(globs) + tuple(_literal(path) for path in sorted(left))


def _literal(path: str) -> str:
    return re.sub(r"([*?\[])", r"[\1]", path)


def _sized(entries: Files) -> str:
    largest = sorted(entries, key=lambda e: -e.size_bytes)
    return listed([f"{e.path} ({file_size(e.size_bytes)})" for e in largest]) or "nothing at all"
