"""Requests to any server of the OpenAI API, and what an engine's own dialect adds to them. Pure.

The probe needs answers of an exact length that no cache has made cheaper. The plain API has no field for
that, so each engine's ``dialect`` names the fields of its own that do.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

COMPLETIONS = "/v1/completions"
CHAT = "/v1/chat/completions"
MODELS = "/v1/models"
METRICS = "/metrics"

Fields = Callable[[int, str], Mapping[str, Any]]
"""(output tokens, a salt that is used once) → the fields of a request beside model, prompt and max_tokens."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What an engine reports of its model, in tokens. 0: not reported."""

    max_model_len: int = 0
    vocabulary: int = 0


def stated_length(model: Mapping[str, Any]) -> Limits:
    """``max_model_len`` of an entry of /v1/models, where vLLM and engines like it put it."""
    return Limits(max_model_len=whole_number(model.get("max_model_len")))


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """Fields of requests beyond the plain API, from the richest an engine has to none at all."""

    name: str
    """The engine's, where the dialect is one engine's own."""
    owner: str = ""
    """``owned_by`` of its models, in lower case and without dots; "": no engine is known by it."""
    fields: Fields
    counting: Mapping[str, Any] = field(default_factory=dict, hash=False)
    """Request fields that make the engine report the token count of each chunk. Counting costs the front end
    work at every token, so the fields are sent only where exact counts are needed."""
    limits: Callable[[Mapping[str, Any]], Limits] = stated_length
    """Function that reads the engine's limits from an entry of /v1/models."""


def _bare(_output_tokens: int, _salt: str) -> Mapping[str, Any]:
    return {}


def _plain(_output_tokens: int, _salt: str) -> Mapping[str, Any]:
    return {"temperature": 0, "stream_options": {"include_usage": True}}


def _common(output_tokens: int, _salt: str) -> Mapping[str, Any]:
    return {
        "temperature": 0,
        "ignore_eos": True,
        "min_tokens": output_tokens,
        "stream_options": {"include_usage": True},
    }


CONTINUOUS_USAGE: Mapping[str, Any] = {
    "stream_options": {"include_usage": True, "continuous_usage_stats": True}
}
"""vLLM's way to count each chunk, which servers like it have taken over."""

BARE = Dialect(name="bare", fields=_bare)
"""Only what no server refuses."""
PLAIN = Dialect(name="plain", fields=_plain)
"""The OpenAI API as documented."""
COMMON = Dialect(name="common", fields=_common, counting=CONTINUOUS_USAGE)
"""Extensions of vLLM that many engines have taken over, and most others ignore."""


def model_entry(models: object) -> Mapping[str, Any]:
    """The first model in an answer of /v1/models; empty for an answer of another shape."""
    data = models.get("data") if isinstance(models, dict) else None
    return data[0] if isinstance(data, list) and data and isinstance(data[0], dict) else {}


def owner_of(model: Mapping[str, Any]) -> str:
    """``owned_by``, as ``Dialect.owner`` spells it."""
    return str(model.get("owned_by", "")).lower().replace(".", "")


def whole_number(value: object) -> int:
    """``value`` where it is a whole number, else 0."""
    return value if isinstance(value, int) and not isinstance(value, bool) else 0
