"""Reads the one LLMDeployment of a manifest and checks it as the API server would."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import yaml

from tacho_operator.api.rules import validate_offline
from tacho_operator.api.types import LLMDeployment
from tacho_operator.cli.problems import CommandError
from tacho_operator.core.model import Manifest

LIMIT_BYTES = 4 * 1024 * 1024


def _text(file: str) -> str:
    if file == "-":
        return sys.stdin.read(LIMIT_BYTES)
    path = Path(file)
    try:
        if path.stat().st_size > LIMIT_BYTES:
            raise CommandError(f"{file}: larger than {LIMIT_BYTES >> 20} MiB; a manifest is wanted")
        return path.read_text()
    except UnicodeDecodeError:
        raise CommandError(f"{file}: not text; a YAML or JSON manifest is wanted") from None
    except OSError as error:
        raise CommandError(f"{file}: {error.strerror}; name a YAML file with an LLMDeployment") from None


def select(documents: list[Any], file: str, name: str = "") -> Manifest:
    """The LLMDeployment among ``documents``; several need ``name``. Raises CommandError."""
    found = [item for item in documents if isinstance(item, dict) and item.get("kind") == "LLMDeployment"]
    names = [str((item.get("metadata") or {}).get("name")) for item in found]
    if name:
        found = [item for item, known in zip(found, names, strict=True) if known == name]
    if len(found) == 1:
        return found[0]
    if name:
        raise CommandError(
            f"{file}: no LLMDeployment is named {name}; it holds: {', '.join(names) or 'none'}"
        )
    if not found:
        kinds = sorted({str(item.get("kind")) for item in documents if isinstance(item, dict)})
        raise CommandError(f"{file}: no LLMDeployment in it (found: {', '.join(kinds) or 'nothing'})")
    raise CommandError(f"{file}: holds several LLMDeployments ({', '.join(names)}); choose one with --name")


def load(file: str, name: str = "") -> tuple[Manifest, LLMDeployment]:
    """The manifest as written, and typed. Raises CommandError listing every problem with its place."""
    try:
        documents = list(yaml.safe_load_all(_text(file)))
    except (yaml.YAMLError, RecursionError) as error:
        raise CommandError(f"{file}: not YAML: {error}") from None
    raw = select(documents, file, name)
    problems = validate_offline(raw)
    if problems:
        raise CommandError(f"{file}: not a valid LLMDeployment", *(f"  {item}" for item in problems))
    filled = {**raw, "metadata": {"namespace": "default", **raw["metadata"]}}
    return filled, LLMDeployment.model_validate(filled)
