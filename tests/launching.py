"""Runtime configurations by the fields of their document, which is flat."""

from __future__ import annotations

from typing import Any

from tacho_contract import codec
from tacho_contract.launch import RuntimeConfig


def runtime_config(**fields: Any) -> RuntimeConfig:
    """``model_path`` is the document's ``modelPath``, whatever part of the configuration has it."""
    return codec.from_dict(RuntimeConfig, _document(fields))


def changed(config: RuntimeConfig, **fields: Any) -> RuntimeConfig:
    """``config`` with other values, named as for ``runtime_config``."""
    return codec.from_dict(RuntimeConfig, {**codec.to_dict(config), **_document(fields)})


def _document(fields: dict[str, Any]) -> dict[str, Any]:
    def key(name: str) -> str:
        head, *rest = name.split("_")
        return head + "".join(map(str.title, rest))

    return {key(name): codec.to_dict(value) for name, value in fields.items()}
