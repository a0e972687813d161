"""What CTranslate2's server takes beyond the plain OpenAI API."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tacho_engines.shared.openai import CONTINUOUS_USAGE, PLAIN, Dialect, Limits, whole_number


def _fields(output_tokens: int, salt: str) -> Mapping[str, Any]:
    """There is no cache of prompts, so nothing has to be switched off."""
    return {**PLAIN.fields(output_tokens, salt), "ignore_eos": True}


def _limits(model: Mapping[str, Any]) -> Limits:
    return Limits(
        max_model_len=whole_number(model.get("max_model_len")),
        vocabulary=whole_number(model.get("vocabulary")),
    )


DIALECT = Dialect(
    name="ctranslate2", owner="ctranslate2", fields=_fields, counting=CONTINUOUS_USAGE, limits=_limits
)
