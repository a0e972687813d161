"""Published checkpoints without their weights: a real config.json, and safetensors files that are holes
behind real headers, so that a 700 GB model takes a few MB of disk and none of a network.

``facts_for(name)`` is what inspection finds of one; ``write_checkpoint(folder, name)`` writes it. Names
are those of ``NAMES``; a suffix quantizes a Llama-shaped model: ``llama-3.1-8b-awq``, ``-gptq``,
``-w4a16``, ``-w8a8``, ``-fp8``, ``-bnb-nf4``, ``-bnb-int8``.
"""

from __future__ import annotations

import functools
import json
import struct
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from tacho_contract.model import ModelFacts, ModelFiles
from tacho_contract.uri import HubUri
from tacho_runtime.headers.facts import facts_from_config_and_tensors
from tacho_runtime.headers.safetensors import DTYPE_BITS
from tacho_runtime.headers.tensors import StoredTensor
from tools.mock.hybrids import BY_HYBRID_FAMILY
from tools.mock.published import CONFIGS, SMALL
from tools.mock.quantized import QUANTIZERS
from tools.mock.shapes import BY_FAMILY, Row

SHARD_BYTES = 5_000_000_000
SIZED_FAMILIES = {**BY_FAMILY, **BY_HYBRID_FAMILY}

Tensor = tuple[str, str, tuple[int, ...], int]
"""(name, dtype, shape, bytes)."""

NAMES = tuple(CONFIGS)
"""Names of all published models in the catalog; each can be written as a checkpoint and has facts."""


def published_parameters(name: str) -> int:
    """Parameters as the model's hub page or paper says."""
    return CONFIGS[name][1]


def config_and_tensors(name: str) -> tuple[dict[str, Any], list[Tensor]]:
    """config.json's content, and every tensor."""
    base, quantizer = _split(name)
    return _quantized(SMALL if base == "small" else CONFIGS[base][0], quantizer)


def _quantized(config: dict[str, Any], quantizer: str) -> tuple[dict[str, Any], list[Tensor]]:
    config = dict(config)
    rows: Iterable[Row] = SIZED_FAMILIES[config["model_type"]](config)
    if quantizer:
        settings, transform = QUANTIZERS[quantizer]
        config["quantization_config"] = settings
        rows = transform(rows)
    return config, _sized(rows)


def _sized(rows: Iterable[Row]) -> list[Tensor]:
    return [(name, dtype, shape, _bytes(dtype, shape)) for name, dtype, shape in rows]


@functools.cache
def facts_for(name: str) -> ModelFacts:
    """The facts inspection finds of the published checkpoint ``name``."""
    config, tensors = config_and_tensors(name)
    return _facts(name, config, tensors)


def facts_of(config: dict[str, Any]) -> ModelFacts:
    """Facts of a model with any ``config`` of a published family."""
    return _facts(config["model_type"], config, tensors_of(config))


def tensors_of(config: dict[str, Any]) -> list[Tensor]:
    return _sized(SIZED_FAMILIES[config["model_type"]](config))


def _facts(name: str, config: dict[str, Any], tensors: list[Tensor]) -> ModelFacts:
    commit = f"{sum(name.encode()):040x}"
    stored = [StoredTensor(*tensor) for tensor in tensors]
    return facts_from_config_and_tensors(config, stored, listed(name, tensors, commit))


def listed(name: str, tensors: Iterable[Tensor], commit: str) -> ModelFacts:
    """Facts that a listing of the published checkpoint ``name`` alone gives."""
    files = ModelFiles(
        commit=commit,
        digest=commit,
        globs=(),
        file_count=1,
        total_bytes=sum(size for *_, size in tensors),
        files_digest="",
    )
    return ModelFacts(uri=HubUri(f"published/{name}"), files=files, format="safetensors")


def write_checkpoint(folder: Path | str, name: str, *, shard_bytes: int = SHARD_BYTES) -> Path:
    """Writes ``name`` into ``folder`` (made when absent) as a hub shows it: shards, index, config,
    tokenizer."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    config, tensors = config_and_tensors(name)
    shards = list(_shards(tensors, shard_bytes))
    names = ["model.safetensors"]
    if len(shards) > 1:
        names = [f"model-{n:05}-of-{len(shards):05}.safetensors" for n in range(1, len(shards) + 1)]
        weight_map = {row[0]: file for file, shard in zip(names, shards, strict=True) for row in shard}
        index = {"metadata": {"total_size": sum(row[3] for row in tensors)}, "weight_map": weight_map}
        (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    for file, shard in zip(names, shards, strict=True):
        write_safetensors(folder / file, shard)
    (folder / "config.json").write_text(json.dumps(config, indent=1))
    (folder / "generation_config.json").write_text("{}")
    (folder / "tokenizer.json").write_text("{}")
    (folder / "tokenizer_config.json").write_text("{}")
    return folder


def write_checkpoint_of(folder: Path, config: dict[str, Any], quantizer: str = "") -> Path:
    """A model of one file, of any ``config`` of a published family; no tokenizer. ``quantizer``: a suffix."""
    folder.mkdir(parents=True, exist_ok=True)
    config, tensors = _quantized(config, quantizer)
    write_safetensors(folder / "model.safetensors", tensors)
    (folder / "config.json").write_text(json.dumps(config, indent=1))
    return folder


def write_safetensors(path: Path, tensors: Iterable[Tensor]) -> None:
    """A safetensors file whose data is a hole."""
    header, offset = {}, 0
    for name, dtype, shape, size in tensors:
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [offset, offset + size]}
        offset += size
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        file.truncate(8 + len(text) + offset)


def _split(name: str) -> tuple[str, str]:
    if name in CONFIGS or name == "small":
        return name, ""
    for quantizer in QUANTIZERS:
        if name.endswith(f"-{quantizer}"):
            return name.removesuffix(f"-{quantizer}"), quantizer
    raise KeyError(f"no checkpoint {name!r}; there are {', '.join(NAMES)}")


def _shards(tensors: list[Any], shard_bytes: int) -> Iterator[list[Any]]:
    shard: list[Any] = []
    size = 0
    for row in tensors:
        if shard and size + row[3] > shard_bytes:
            yield shard
            shard, size = [], 0
        shard.append(row)
        size += row[3]
    yield shard


def _bytes(dtype: str, shape: tuple[int, ...]) -> int:
    elements = 1
    for size in shape:
        elements *= size
    return (elements * DTYPE_BITS[dtype] + 7) // 8
