"""How requests are worded: what each engine needs for a fixed length and a certain cache miss. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

COMPLETIONS = "/v1/completions"
CHAT = "/v1/chat/completions"

KNOWN_FIRST_VOCABULARY = 30_000
"""Without the engine's word: nearly every model's vocabulary is larger."""
SMALL_VOCABULARY = 500
"""Tried when that is refused."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """One way to ask. ``flavour``: vllm | llamacpp | common | plain | bare, from most to fewest fields."""

    flavour: str
    path: str
    token_ids: bool
    vocabulary: int = 0

    def __str__(self) -> str:
        prompt = "token ids" if self.token_ids else "text"
        return f"{self.path} with {prompt} ({self.flavour} fields)"


def flavour_of(engine: str, models: Mapping[str, Any]) -> str:
    """From the engine's own answer to /v1/models, else from the name the plan gives it."""
    data = models.get("data")
    first = data[0] if isinstance(data, list) and data and isinstance(data[0], dict) else {}
    owner = str(first.get("owned_by", "")).lower().replace(".", "")
    if owner in ("vllm", "llamacpp"):
        return owner
    return engine if engine in ("vllm", "llamacpp") else "common"


def limits_of(models: Mapping[str, Any]) -> tuple[int, int]:
    """(longest context, vocabulary) the engine states in /v1/models, 0 where it does not."""
    data = models.get("data")
    first = data[0] if isinstance(data, list) and data and isinstance(data[0], dict) else {}
    meta = first.get("meta") if isinstance(first.get("meta"), dict) else {}
    length = first.get("max_model_len") or (meta or {}).get("n_ctx") or 0
    vocabulary = (meta or {}).get("n_vocab") or 0
    return (length if isinstance(length, int) else 0), (vocabulary if isinstance(vocabulary, int) else 0)


def candidates(flavour: str, *, token_prompts: bool | None, vocabulary: int) -> tuple[Dialect, ...]:
    """Dialects in the order they are tried: the first that is answered with tokens is used."""
    found: list[Dialect] = []
    if token_prompts is not False:
        sizes = (vocabulary,) if vocabulary else (KNOWN_FIRST_VOCABULARY, SMALL_VOCABULARY)
        found += [Dialect(flavour=flavour, path=COMPLETIONS, token_ids=True, vocabulary=n) for n in sizes]
    if token_prompts is not True:
        found += [Dialect(flavour=flavour, path=COMPLETIONS, token_ids=False)]
        if flavour != "common":
            found += [Dialect(flavour="common", path=COMPLETIONS, token_ids=False)]
        found += [
            Dialect(flavour="plain", path=COMPLETIONS, token_ids=False),
            Dialect(flavour="common", path=CHAT, token_ids=False),
            Dialect(flavour="plain", path=CHAT, token_ids=False),
            Dialect(flavour="bare", path=CHAT, token_ids=False),
        ]
    return tuple(found)


def body(
    dialect: Dialect, *, served_name: str, prompt: str | list[int], output_tokens: int, salt: str
) -> dict[str, Any]:
    """One request of exactly ``output_tokens``, as far as the dialect can say so."""
    request: dict[str, Any] = {"model": served_name, "stream": True, "max_tokens": output_tokens}
    if dialect.path == CHAT:
        request["messages"] = [{"role": "user", "content": prompt}]
    else:
        request["prompt"] = prompt
    if dialect.flavour == "bare":
        return request
    request |= {"temperature": 0, "stream_options": {"include_usage": True}}
    if dialect.flavour == "plain":
        return request
    request["ignore_eos"] = True
    if dialect.flavour == "llamacpp":
        return request | {"cache_prompt": False, "timings_per_token": True}
    request["min_tokens"] = output_tokens
    request["stream_options"] = {"include_usage": True, "continuous_usage_stats": True}
    if dialect.flavour == "vllm":
        # Hashed into the first block of the prefix cache: no other request can share it.
        request["cache_salt"] = salt
    return request
