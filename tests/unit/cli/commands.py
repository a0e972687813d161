"""The command as tests call it, and the manifests they call it with."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from tacho_cli.main import main

SMOLLM2: dict[str, Any] = {
    "apiVersion": "tacho.dev/v1alpha1",
    "kind": "LLMDeployment",
    "metadata": {"name": "smollm2"},
    "spec": {
        "model": {"uri": "pvc://models/smollm2"},
        "quantization": {"method": "gguf"},
        "engine": {"name": "llamacpp", "resources": {"limits": {"memory": "2Gi"}}},
        "gpu": {"count": 0},
        "context": {"maxModelLen": 512, "concurrency": 2},
        "workload": {"inputTokens": 16, "outputTokens": 8},
    },
}


def manifest(folder: Path, name: str = "llmd.yaml", **spec: Any) -> str:
    """SMOLLM2 with whole fields of spec replaced (None removes one), in a file."""
    document = copy.deepcopy(SMOLLM2)
    for key, value in spec.items():
        document["spec"].pop(key, None)
        if value is not None:
            document["spec"][key] = value
    path = folder / name
    path.write_text(yaml.safe_dump(document, sort_keys=False))
    return str(path)


@dataclass(frozen=True)
class Told:
    """How a command ended and what it printed."""

    code: int
    out: str
    err: str


def call(capsys: pytest.CaptureFixture[str], *arguments: str) -> Told:
    """``tacho`` in this process."""
    code = main(list(arguments))
    printed = capsys.readouterr()
    return Told(code, printed.out, printed.err)


def play_kubectl(folder: Path, monkeypatch: pytest.MonkeyPatch, program: str) -> Path:
    """A kubectl in ``folder`` that notes its arguments in the file ``asked`` and goes on with lines of sh."""
    script = folder / "kubectl"
    script.write_text(f'#!/bin/sh\necho "$@" >> {folder}/asked\n{program}')
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    return folder
