"""Requests to any server of the OpenAI API, and each engine's own extra fields (its dialect). Pure.

The probe needs answers of an exact length that no cache has made faster. The plain API has no field for that,
so each engine's ``dialect`` names the fields of its own that do.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

COMPLETIONS = "/v1/completions"
CHAT = "/v1/chat/completions"
MODELS = "/v1/models"
METRICS = "/metrics"


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Limits of a model in tokens, as an engine reports them. 0: not reported."""

    max_model_len: int = 0
    vocabulary: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """The request fields of one engine that the plain OpenAI API does not have."""

    name: str
    """Name of the engine, or of the dialect if several engines share it."""
    owner: str = ""
    """Value of ``owned_by`` in /v1/models, in lower case and without dots; "": the engine is not recognised
    by it.
    """
    constant: Mapping[str, Any] = field(default_factory=dict, hash=False)
    """Fields that every request has, besides model, prompt and max_tokens."""
    minimum: str = ""
    """Name of the field for the minimum number of output tokens; "": none."""
    salt: str = ""
    """The field that separates prefix caches: requests with different values share none. "": none."""
    counting: Mapping[str, Any] = field(default_factory=dict, hash=False)
    """Request fields that make the engine report the token count of each chunk. Counting costs the front end
    work at every token, so the fields are sent only where exact counts are needed."""

    def fields(self, output_tokens: int, salt: str) -> Mapping[str, Any]:
        """The fields of one request; ``salt`` is used once."""
        chosen = {self.minimum: output_tokens, self.salt: salt}
        return {**self.constant, **{name: value for name, value in chosen.items() if name}}


CONTINUOUS_USAGE: Mapping[str, Any] = {
    "stream_options": {"include_usage": True, "continuous_usage_stats": True}
}
"""Fields by which vLLM, and servers compatible with it, report the token count of each chunk."""

BARE = Dialect(name="bare")
"""The dialect with only those fields that every server accepts."""
PLAIN = Dialect(name="plain", constant={"temperature": 0, "stream_options": {"include_usage": True}})
"""The dialect of the OpenAI API as documented."""
COMMON = Dialect(
    name="common",
    constant={**PLAIN.constant, "ignore_eos": True},
    minimum="min_tokens",
    counting=CONTINUOUS_USAGE,
)
"""The dialect with vLLM's extensions, which many engines support and most others ignore."""


def limits_of(model: Mapping[str, Any]) -> Limits:
    """The limits in an entry of /v1/models, in the form of vLLM and tacho_server, or of llama.cpp."""
    meta = model.get("meta")
    found = {**(meta if isinstance(meta, dict) else {}), **model}
    return Limits(
        max_model_len=whole_number(found.get("max_model_len", found.get("n_ctx"))),
        vocabulary=whole_number(found.get("vocabulary", found.get("n_vocab"))),
    )


def model_entry(models: object, served_name: str = "") -> Mapping[str, Any]:
    """The model ``served_name`` in an answer of /v1/models, else the first; empty for an answer of another
    shape."""
    data = models.get("data") if isinstance(models, dict) else None
    entries = [entry for entry in data if isinstance(entry, dict)] if isinstance(data, list) else []
    return next((entry for entry in entries if entry.get("id") == served_name), entries[0] if entries else {})


def owner_of(model: Mapping[str, Any]) -> str:
    """``owned_by`` of an entry of /v1/models, which names the engine."""
    return str(model.get("owned_by", "")).lower().replace(".", "")


TOKENS_LIMIT = 2**31
"""Limit of a context and of a vocabulary in tokens; an engine may report any number, and -1 for none."""


def whole_number(value: object) -> int:
    """``value`` where it is a possible number of tokens, else 0."""
    return value if type(value) is int and 0 <= value < TOKENS_LIMIT else 0
