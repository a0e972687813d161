"""Reads a model's folder: its format, the key of its conversion, and the converted size."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

CONVERTED = "model.bin"
"""File with a converted model's weights; a folder that has it also has CTranslate2's own config.json."""
WEIGHTS = (".safetensors", ".bin")
BYTES_OF = {"int8_float32": 1.02, "int8_float16": 1.02, "float16": 2.0, "bfloat16": 2.0, "float32": 4.0}
"""Bytes per weight after conversion, by compute type; int8 includes a scale for each row."""
SLACK_BYTES = 64 * 1024**2
"""Bytes for vocabulary, norms, biases and the file system's overhead."""
SAMPLES, SAMPLE_BYTES = 64, 16 * 1024
"""Pieces that are read of a file of weights, 1 MiB in all, and their length."""
STORED_BYTES = {"float32": 4.0, "float64": 8.0}
"""Bytes per weight of a checkpoint by config.json's dtype; two for any other."""


def is_converted(folder: Path) -> bool:
    """Whether the folder is in CTranslate2's format already, so that it needs no conversion."""
    return (folder / CONVERTED).is_file()


def end_tokens(folder: Path) -> tuple[int, ...]:
    """Tokens that end an answer by generation_config.json, else config.json; () where neither has it."""
    for name in ("generation_config.json", "config.json"):
        value = _document(folder / name).get("eos_token_id")
        found = value if isinstance(value, list) else [value]
        if ids := tuple(one for one in found if isinstance(one, int)):
            return ids
    return ()


def source_key(folder: Path, quantization: str, version: str) -> str:
    """The name of a conversion in the cache: a hash of its method, the converter's version and the source
    files.

    For weights in a hub's cache, the name of the blob identifies the content. For other weights, size, time
    of the last change and samples do, because reading all takes as long as loading it. Small files are read.
    """
    digest = hashlib.sha256(f"{quantization}\n{version}\n".encode())
    for path in _files(folder):
        target = path.resolve()
        if path.is_symlink() and target.parent.name == "blobs":
            mark = target.name
        elif path.suffix in WEIGHTS:
            status = path.stat()
            mark = f"{status.st_size} {status.st_mtime_ns} {_sampled(path, status.st_size)}"
        else:
            mark = hashlib.sha256(path.read_bytes()).hexdigest()
        digest.update(f"{path.name}\n{mark}\n".encode())
    return digest.hexdigest()[:24]


def _sampled(path: Path, size_bytes: int) -> str:
    """Hash of pieces from the beginning to the end of a file.

    Images and reproducible archives give each file the same time, and models of one shape the same size.
    """
    digest = hashlib.sha256()
    with path.open("rb") as file:
        for piece in range(SAMPLES):
            file.seek(piece * max(0, size_bytes - SAMPLE_BYTES) // (SAMPLES - 1))
            digest.update(file.read(SAMPLE_BYTES))
    return digest.hexdigest()


def converted_bytes(folder: Path, quantization: str) -> int:
    """Approximate bytes of the converted model on disk."""
    config = _document(folder / "config.json")
    stored = STORED_BYTES.get(str(config.get("dtype", config.get("torch_dtype"))), 2.0)
    size_bytes = sum(path.stat().st_size for path in folder.glob("*.safetensors"))
    return int(size_bytes / stored * BYTES_OF[quantization]) + SLACK_BYTES


def _files(folder: Path) -> list[Path]:
    """The files that a conversion reads. Subfolders are left out, as they hold other formats."""
    suffixes = (*WEIGHTS, ".json", ".jinja", ".model", ".txt", ".py")
    return sorted(path for path in folder.iterdir() if path.suffix in suffixes and path.is_file())


def _document(path: Path) -> dict[str, object]:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return document if isinstance(document, dict) else {}
