"""The model folders of a matrix, as a host with a GPU wants them.

    python3 -m benchmarks.gpu.models MATRIX TOKENIZER MODELS [--device cuda] [--hollow]

A model of which a cell loads weights gets random ones (`benchmarks.engines.random_model`, with TOKENIZER's
files). One whose weights the engine makes up (``--load-format=dummy``) gets real headers before holes, and a
tokenizer as large as its vocabulary, so that every sampled token is text, as real answers are. --hollow: all
are of this kind, which takes no GPU and no torch. What is there is kept; GGUF files are made by
`benchmarks.llamacpp.random_gguf` before.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from benchmarks.engines.random_forms import CONFIGS, FORMS
from benchmarks.engines.random_model import SHAPES
from tools.mock.checkpoints import write_checkpoint, write_checkpoint_of

CLAIM = "pvc://models/"
GGUF = re.compile(r"-q\d_\d$")
MADE_UP = "--load-format=dummy"
KIND = {"apiVersion": "tacho.dev/v1alpha1", "kind": "LLMDeployment"}
NOTES, NOTED = "benchmarks.tacho.dev/", ("replaces", "ends", "beside", "truth")
"""What a cell says of itself becomes annotations."""


def cells(matrix: Path) -> list[dict[str, Any]]:
    """The LLMDeployments of a file, or those that a folder of recorded ones was started from."""
    files = sorted(matrix.rglob("*.yaml")) if matrix.is_dir() else [matrix]
    documents = [document for file in files for document in yaml.safe_load_all(file.read_text()) if document]
    return [cell for document in documents for cell in _cells(document)]


def _cells(document: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Of a list of cells, or the one that a resource was started from."""
    for cell in document.get("cells", ()):
        notes = {NOTES + note: cell[note] for note in NOTED if note in cell}
        changes = {key: value for key, value in cell.items() if key not in {"name", "model", *NOTED}}
        spec = {key: value for key, value in (document["common"] | changes).items() if value is not None}
        model = {"uri": CLAIM + cell["model"], "servedName": "m"}
        metadata = {"name": cell["name"], **({"annotations": notes} if notes else {})}
        yield {**KIND, "metadata": metadata, "spec": {"model": model, **spec}}
    if "cells" not in document:
        metadata = {key: value for key, value in document["metadata"].items() if key != "namespace"}
        yield {**KIND, "metadata": metadata, "spec": document["spec"]}


def loaded(documents: list[dict[str, Any]]) -> dict[str, bool]:
    """Name of each model to whether a cell loads its weights, in the order of the cells."""
    found: dict[str, bool] = {}
    for document in documents:
        spec = document["spec"]
        name = spec["model"]["uri"].removeprefix(CLAIM)
        made_up = MADE_UP in (spec["engine"].get("extraArgs") or ())
        found[name] = found.get(name, False) or not made_up
    return found


def byte_letters() -> list[str]:
    """The 256 letters that stand for bytes in byte-level tokenizers (GPT-2's table)."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in plain]
    return [chr(byte) for byte in plain] + [chr(256 + index) for index in range(len(others))]


def tokenizer(vocabulary: int) -> dict[str, Any]:
    """A byte-level BPE without merges: two special tokens, the bytes, and words."""
    words = ["<s>", "</s>", *byte_letters()]
    words += [f"\u0120w{number}" for number in range(vocabulary - len(words))]
    special = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    return {
        "version": "1.0", "truncation": None, "padding": None,
        "added_tokens": [{"id": index, "content": words[index], **special} for index in (0, 1)],
        "normalizer": None, "pre_tokenizer": byte_level, "post_processor": None, "decoder": byte_level,
        "model": {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
                  "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False,
                  "vocab": {word: index for index, word in enumerate(words)}, "merges": []},
    }  # fmt: skip


def write_hollow(folder: Path, name: str) -> None:
    """A published model, or one of `random_model`'s shapes, without weights."""
    try:
        write_checkpoint(folder, name)
    except KeyError:
        shape, form = (name, "") if name in SHAPES else name.rsplit("-", 1)
        write_checkpoint_of(folder, SHAPES[shape], form)
    config_file = folder / "config.json"
    config = {**json.loads(config_file.read_text()), "bos_token_id": 0, "eos_token_id": 1}
    family = "".join(part.capitalize() for part in config["model_type"].split("_"))
    config.setdefault("architectures", [f"{family}ForCausalLM"])  # without it vLLM 0.26 serves embeddings
    if (form := name.rpartition("-")[2]) in FORMS:
        config["quantization_config"] = CONFIGS[form]  # what vLLM has read of such a checkpoint
    config_file.write_text(json.dumps(config, indent=1))
    documents = {
        "generation_config.json": {"bos_token_id": 0, "eos_token_id": 1},
        "tokenizer.json": tokenizer(config["vocab_size"]),
        "tokenizer_config.json": {
            "tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<s>", "eos_token": "</s>",
            "model_max_length": config["max_position_embeddings"],
            "chat_template": "{% for message in messages %}{{ message['content'] }}{% endfor %}",
        },
    }  # fmt: skip
    for file, document in documents.items():
        (folder / file).write_text(json.dumps(document))


def random_arguments(name: str, tokenizer_folder: Path, folder: Path, device: str) -> list[str]:
    """The command of a model with weights."""
    shape, _, form = name.rpartition("-")
    shape, form = (shape, form) if form in FORMS else (name, "")
    module = [sys.executable, "-m", "benchmarks.engines.random_model"]
    return [*module, shape, str(tokenizer_folder), str(folder), device, *([form] if form else [])]


def make(name: str, folder: Path) -> bool:
    """Headers and a tokenizer; False for a GGUF file, whose weights are in it."""
    if GGUF.search(name):
        return False
    write_hollow(folder, name)
    return True


def main() -> int:
    parser = argparse.ArgumentParser(prog="benchmarks.gpu.models", description=__doc__)
    parser.add_argument("matrix", type=Path)
    parser.add_argument("tokenizer", type=Path)
    parser.add_argument("models", type=Path)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--hollow", action="store_true")
    asked = parser.parse_args()
    for name, with_weights in loaded(cells(asked.matrix)).items():
        folder = asked.models / name
        if folder.exists():
            continue
        if with_weights and not asked.hollow and not GGUF.search(name):
            subprocess.run(random_arguments(name, asked.tokenizer, folder, asked.device), check=True)
        elif make(name, folder):
            print(f"{name}: headers and a tokenizer", flush=True)
        else:
            print(f"{name}: make it by benchmarks.llamacpp.random_gguf", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
