"""How a row of the accept/reject table is written and what document it stands for."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from typing import Any

from tacho_operator.api.rules import RULES
from tacho_operator.api.rules.rule import Rule

ABSENT = object()
"""As a value in a change: remove the field."""

LLAMACPP: dict[str, Any] = {
    "model": {"uri": "pvc://models/smollm2", "files": ["*Q8_0.gguf"]},
    "engine": {"name": "llamacpp"},
    "quantization": {"method": "gguf"},
    "gpu": {"count": 0},
}
HUB: dict[str, Any] = {**LLAMACPP, "model": {"uri": "hf://HuggingFaceTB/SmolLM2-135M-Instruct-GGUF"}}
CUSTOM: dict[str, Any] = {
    "model": {"uri": "pvc://models/smollm2"},
    "engine": {
        "name": "custom",
        "image": "registry.example/engine:1",
        "custom": {"command": ["serve", "--port", "$(TACHO_PORT)"], "port": 8000},
    },
    "gpu": {"count": 0},
}
PRESET: dict[str, Any] = {
    "model": {"uri": "hf://mistralai/Mistral-7B-Instruct-v0.2"},
    "engine": {"name": "custom", "custom": {"preset": "sglang"}},
    "gpu": {"count": 1},
}
VLLM: dict[str, Any] = {
    "model": {"uri": "hf://mistralai/Mistral-7B-Instruct-v0.2"},
    "engine": {"name": "vllm"},
    "gpu": {"count": 1},
}

BY_NAME: dict[str, Rule] = {rule.name: rule for rule in RULES}


@dataclass(frozen=True, kw_only=True)
class Row:
    """A resource and what must be said of it, offline and by the API server alike."""

    name: str
    base: dict[str, Any] = field(default_factory=lambda: LLAMACPP)
    change: dict[str, Any] = field(default_factory=dict)
    """Dotted path in spec (a number is a position in a list) to value."""
    resource_name: str = "smollm2"
    refused: tuple[str, ...] = ()
    """Names of the rules that refuse it."""
    malformed: str = ""
    """Path of the structural problem."""
    offline_too: bool = True
    """False: `tacho run` takes it (rules that hold in a cluster only)."""

    def document(self) -> dict[str, Any]:
        """The resource as a person would write it."""
        spec = copy.deepcopy(self.base)
        for path, value in self.change.items():
            _put(spec, path.split("."), copy.deepcopy(value) if value is not ABSENT else ABSENT)
        return {
            "apiVersion": "tacho.dev/v1alpha1",
            "kind": "LLMDeployment",
            "metadata": {"name": self.resource_name},
            "spec": spec,
        }

    def messages(self) -> set[str]:
        """What must be said."""
        return {BY_NAME[name].message for name in self.refused}


def _put(node: dict[str, Any], steps: list[str], value: Any) -> None:
    for step in steps[:-1]:
        node = node.setdefault(step, {})
    if value is ABSENT:
        node.pop(steps[-1], None)
    else:
        node[steps[-1]] = value
