"""Builds the probe's requests: in a format that the engine answers, with prompts of a given length."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from string import ascii_lowercase
from typing import Any

from tacho_engines import run_parts
from tacho_engines.shared.openai import (
    BARE,
    CHAT,
    COMMON,
    COMPLETIONS,
    MODELS,
    PLAIN,
    Dialect,
    limits_of,
    model_entry,
    owner_of,
)
from tacho_runtime.probe.load.engine_counters import CONTROL_SECONDS
from tacho_runtime.probe.load.retries import RetryBudget
from tacho_runtime.probe.load.timed_client import EngineEndpoint, StreamConnection, exchange, request_bytes
from tacho_runtime.probe.load.token_stream import TokenStream
from tacho_runtime.probe.statistics import least_squares
from tacho_runtime.probe.target import ProbeTarget

_TEXT = (
    "the of and to in is that it for as with was on are by this be from or have an they which one you were "
    "all her she there would their we him been has when who will no more if out so up said what its about "
    "than into them can only other time new some could these two may first then do any like my now over such "
    "our man me even most made after also well must before through back years where much your way down should"
)
WORDS = tuple(_TEXT.split())
"""Words that nearly every tokenizer keeps whole, so that a word is about a token."""
NONCE_WORDS, NONCE_LETTERS = 6, 12
CHANCE_TOKENS = 4
"""Tokens of a new prompt that a prefix cache may find by chance: its first words are among a hundred each."""


def random_ids(count: int, vocabulary: int, rng: Random) -> list[int]:
    """``count`` token ids, away from both ends of the vocabulary, where special tokens are."""
    high = max(2, min(30_000, int(vocabulary * 0.95)))
    low = min(1000, high // 4)
    return rng.choices(range(low, high), k=count)


@dataclass(frozen=True, slots=True)
class TextLength:
    """How many tokens a text has: overhead + tokens_per_word * words, as the engine's usage counts them."""

    overhead: float = 1.0
    tokens_per_word: float = 1.0
    calibrated: bool = False

    def word_count_for(self, tokens: int) -> int:
        return max(1, round((tokens - self.overhead) / self.tokens_per_word))


def calibrate(samples: Sequence[tuple[int, int]]) -> TextLength:
    """The relation of words to prompt tokens, fitted to pairs (words sent, prompt tokens counted).

    A default where the samples give no rising line.
    """
    line = least_squares([(float(word_count), float(tokens)) for word_count, tokens in samples])
    if line is None or line.slope <= 0:
        return TextLength()
    return TextLength(max(0.0, line.intercept), line.slope, calibrated=True)


def random_text(word_count: int, rng: Random) -> str:
    """A text that begins differently each time: of a million prompts no two have the same first five words.

    A text of fewer words begins with random letters instead, which are a few tokens more.
    """
    drawn = rng.choices(WORDS, k=word_count)
    if word_count < NONCE_WORDS:
        drawn[0] = "".join(rng.choices(ascii_lowercase, k=NONCE_LETTERS))
    return " ".join(drawn)


TEMPLATE_TOKENS = 4096
"""Most tokens that a chat template puts around a prompt; real ones put some hundred."""


def is_possible(prompt_tokens: int | None, prompt: str | list[int]) -> bool:
    """Whether an engine may have counted ``prompt_tokens`` in ``prompt``: no token has less than a byte.

    A list of ids takes its JSON's bytes, as some servers tokenize that.
    """
    return (prompt_tokens or 0) <= TEMPLATE_TOKENS + len(json.dumps(prompt))


KNOWN_FIRST_VOCABULARY = 30_000
"""Vocabulary size where the engine does not report it; nearly every model has a larger one."""
SMALL_VOCABULARY = 500
"""Size of the vocabulary to try when token ids of the assumed one are refused."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestFormat:
    """One form of a request: API path, engine dialect, and the prompt as text or token ids."""

    dialect: Dialect
    path: str
    token_ids: bool
    vocabulary: int = 0

    def __str__(self) -> str:
        prompt = "token ids" if self.token_ids else "text"
        return f"{self.path} with {prompt} ({self.dialect.name} fields)"


def dialect_of(engine: str, model: Mapping[str, Any], known: Mapping[str, Dialect]) -> Dialect:
    """The engine's dialect of the API: by its own entry of ``model``, else by the engine's name in the
    plan."""
    owner = owner_of(model)
    answered = next((dialect for dialect in known.values() if dialect.owner and dialect.owner == owner), None)
    return answered or known.get(engine, COMMON)


def request_formats(dialect: Dialect, *, vocabulary: int) -> tuple[RequestFormat, ...]:
    """Request formats in the order in which they are tried: the first that the engine answers with tokens is
    used."""
    sizes = (vocabulary,) if vocabulary else (KNOWN_FIRST_VOCABULARY, SMALL_VOCABULARY)
    texts = ((dialect, COMPLETIONS), (COMMON, COMPLETIONS), (PLAIN, COMPLETIONS))
    chats = ((COMMON, CHAT), (PLAIN, CHAT), (BARE, CHAT))
    return (
        *(RequestFormat(dialect=dialect, path=COMPLETIONS, token_ids=True, vocabulary=n) for n in sizes),
        *(
            RequestFormat(dialect=one, path=path, token_ids=False)
            for one, path in dict.fromkeys(texts + chats)
        ),
    )


def request_body(
    request_format: RequestFormat,
    *,
    served_name: str,
    prompt: str | list[int],
    output_tokens: int,
    salt: str,
    counted: bool = True,
) -> dict[str, Any]:
    """The JSON of a request for exactly ``output_tokens``, as far as the dialect supports that.

    ``counted``: asks for the number of tokens in each chunk.
    """
    request: dict[str, Any] = {"model": served_name, "stream": True, "max_tokens": output_tokens}
    if request_format.path == CHAT:
        request["messages"] = [{"role": "user", "content": prompt}]
    else:
        request["prompt"] = prompt
    request |= request_format.dialect.fields(output_tokens, salt)
    if counted:
        request |= request_format.dialect.counting
    return request


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestBuilder:
    """Builds requests of any length; all processes of a probe use equal builders."""

    endpoint: EngineEndpoint
    served_name: str
    request_format: RequestFormat
    text_length: TextLength = field(default_factory=TextLength)
    opens_empty: bool = False
    """Whether the engine begins each answer with an event without a token."""

    def stream(self) -> TokenStream:
        """A connection for one request's answer."""
        return TokenStream(opens_empty=self.opens_empty)

    def body(self, rng: Random, input_tokens: int, output_tokens: int, *, counted: bool) -> dict[str, Any]:
        """The JSON of one request. ``counted``: asks for the number of tokens in each chunk, where the engine
        supports it."""
        prompt: str | list[int]
        if self.request_format.token_ids:
            prompt = random_ids(input_tokens, self.request_format.vocabulary, rng)
        else:
            prompt = random_text(self.text_length.word_count_for(input_tokens), rng)
        return request_body(
            self.request_format,
            served_name=self.served_name,
            prompt=prompt,
            output_tokens=output_tokens,
            salt=f"{rng.getrandbits(128):032x}",
            counted=counted,
        )

    def request(self, rng: Random, input_tokens: int, output_tokens: int, *, counted: bool) -> bytes:
        """One HTTP request as the bytes to send."""
        body = self.body(rng, input_tokens, output_tokens, counted=counted)
        return request_bytes(self.endpoint, "POST", self.request_format.path, body)


@dataclass(frozen=True, slots=True, kw_only=True)
class DiscoveredEngine:
    max_model_len: int
    """Longest prompt plus answer in tokens: the lower of the values in the target and from the engine. 0:
    neither is known.
    """
    request_formats: tuple[RequestFormat, ...]
    """Request formats to try, in this order."""


async def discover(target: ProbeTarget, endpoint: EngineEndpoint, tries: RetryBudget) -> DiscoveredEngine:
    """Reads name, models and context length from the engine's /v1/models. Raises RequestFailed."""
    answer, _ = await tries.answered(
        lambda: exchange(endpoint, "GET", MODELS, kind=StreamConnection, timeout_seconds=CONTROL_SECONDS)
    )
    try:
        models = json.loads(answer.body())
    except (ValueError, RecursionError):
        models = {}
    return discovered(target, models)


def discovered(target: ProbeTarget, models: object) -> DiscoveredEngine:
    """What an answer of /v1/models tells of the engine; of any other document: what the target tells."""
    model = model_entry(models, target.served_name)
    dialect, stated = dialect_of(target.engine, model, run_parts.dialects()), limits_of(model)
    known = [length for length in (target.max_model_len, stated.max_model_len) if length > 0]
    return DiscoveredEngine(
        max_model_len=min(known, default=0),
        request_formats=request_formats(dialect, vocabulary=stated.vocabulary),
    )
