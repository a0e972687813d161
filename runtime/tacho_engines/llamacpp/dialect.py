"""What llama-server takes beyond the plain OpenAI API, and says of its model (its tools/server/README.md)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tacho_engines.shared.openai import PLAIN, Dialect, Limits, whole_number


def _fields(output_tokens: int, salt: str) -> Mapping[str, Any]:
    return {**PLAIN.fields(output_tokens, salt), "ignore_eos": True, "cache_prompt": False}


def _limits(model: Mapping[str, Any]) -> Limits:
    meta = model.get("meta")
    said = meta if isinstance(meta, dict) else {}
    return Limits(max_model_len=whole_number(said.get("n_ctx")), vocabulary=whole_number(said.get("n_vocab")))


DIALECT = Dialect(
    name="llamacpp",
    owner="llamacpp",
    fields=_fields,
    counting={"timings_per_token": True},
    limits=_limits,
)
