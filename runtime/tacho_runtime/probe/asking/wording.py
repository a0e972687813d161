"""How requests are worded: an engine's own dialect first, then with ever fewer fields. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tacho_engines.shared.openai import BARE, CHAT, COMMON, COMPLETIONS, PLAIN, Dialect, model_entry, owner_of

KNOWN_FIRST_VOCABULARY = 30_000
"""Without the engine's word: nearly every model's vocabulary is larger."""
SMALL_VOCABULARY = 500
"""Tried when that is refused."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wording:
    """One way to ask."""

    dialect: Dialect
    path: str
    token_ids: bool
    vocabulary: int = 0

    def __str__(self) -> str:
        prompt = "token ids" if self.token_ids else "text"
        return f"{self.path} with {prompt} ({self.dialect.name} fields)"


def dialect_of(engine: str, models: object, known: Mapping[str, Dialect]) -> Dialect:
    """By the engine's own answer to /v1/models, else by the name the plan gives it."""
    owner = owner_of(model_entry(models))
    answered = next((dialect for dialect in known.values() if dialect.owner and dialect.owner == owner), None)
    return answered or known.get(engine, COMMON)


def wordings(dialect: Dialect, *, token_prompts: bool | None, vocabulary: int) -> tuple[Wording, ...]:
    """In the order in which they are tried: the first that is answered with tokens is used."""
    found: list[Wording] = []
    if token_prompts is not False:
        sizes = (vocabulary,) if vocabulary else (KNOWN_FIRST_VOCABULARY, SMALL_VOCABULARY)
        found += [Wording(dialect=dialect, path=COMPLETIONS, token_ids=True, vocabulary=n) for n in sizes]
    if token_prompts is not True:
        texts = ((dialect, COMPLETIONS), (COMMON, COMPLETIONS), (PLAIN, COMPLETIONS))
        chats = ((COMMON, CHAT), (PLAIN, CHAT), (BARE, CHAT))
        ways = dict.fromkeys(texts + chats)
        found += [Wording(dialect=one, path=path, token_ids=False) for one, path in ways]
    return tuple(found)


def body(
    wording: Wording,
    *,
    served_name: str,
    prompt: str | list[int],
    output_tokens: int,
    salt: str,
    counted: bool = True,
    streamed: bool = True,
) -> dict[str, Any]:
    """One request of exactly ``output_tokens``, as far as the dialect can say so; ``counted``: with each
    chunk's tokens."""
    request: dict[str, Any] = {"model": served_name, "stream": streamed, "max_tokens": output_tokens}
    if wording.path == CHAT:
        request["messages"] = [{"role": "user", "content": prompt}]
    else:
        request["prompt"] = prompt
    request |= wording.dialect.fields(output_tokens, salt)
    if counted and streamed:
        request |= wording.dialect.counting
    if not streamed:
        request.pop("stream_options", None)  # refused by some where nothing is streamed
    return request
