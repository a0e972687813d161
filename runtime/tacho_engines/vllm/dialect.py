"""What vLLM is told beyond the plain OpenAI API, https://docs.vllm.ai/en/stable/serving/openai_compatible_server."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from tacho_engines.shared.openai import COMMON


def _fields(output_tokens: int, salt: str) -> Mapping[str, Any]:
    # Hashed into the first block of the prefix cache: no other request can share it.
    return {**COMMON.fields(output_tokens, salt), "cache_salt": salt}


DIALECT = replace(COMMON, name="vllm", owner="vllm", fields=_fields)
