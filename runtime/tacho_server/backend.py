"""The interface between the server and an engine: the ``Backend`` protocol and its types.

The server owns HTTP, validation, text (stop strings, detokenizing) and metrics. A backend owns the model: its
input and output are token ids. The server calls it from one event loop; a backend that computes in threads
passes tokens through ``threads.Mailbox``.
"""

from __future__ import annotations

import time
from array import array
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """How the next token is chosen, and when generation ends. Stop strings are handled by the server."""

    max_tokens: int
    min_tokens: int = 0
    """Number of tokens before which the end-of-sequence token cannot be chosen."""
    temperature: float = 1.0
    """Sampling temperature; 0: always the most likely token."""
    top_p: float = 1.0
    top_k: int = 0
    """Sampling is limited to this number of most likely tokens; 0: all tokens."""
    seed: int | None = None
    """Seed of the random numbers. The same seed, prompt and settings give the same tokens, unless rounding
    differs in another batch.
    """
    ignore_eos: bool = False
    top_logprobs: int | None = None
    """Number of alternatives with log-probabilities per token; 0: only the chosen token's; None: none."""


@dataclass(frozen=True, slots=True)
class TokenLogprob:
    """A token with the log-probability that the model gives it, before temperature and top-p."""

    token: int
    logprob: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """One token, generated or of a given text; the last generated one has a ``finish``."""

    token: int
    logprob: float | None = None
    """Log-probability of the token; None: not requested, or nothing precedes the token."""
    top: tuple[TokenLogprob, ...] = ()
    """The most likely tokens, best first, where requested."""
    finish: str = ""
    """"" (more tokens follow), stop (the end-of-sequence token) or length (``max_tokens`` reached)."""
    made_seconds: float = field(default_factory=time.monotonic, compare=False)
    """Time of a monotonic clock when it was made: a client may read it a minute later."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Generation:
    """One sequence to generate. The server has checked that prompt and ``max_tokens`` fit."""

    identity: str
    """Id of the sequence, unique in this process."""
    prompt: array[int]
    """Token ids, in four bytes each: hundreds of long prompts may wait."""
    sampling: Sampling
    on_token: Callable[[Token], None] = field(default=lambda _token: None, compare=False)
    """Called in the event loop for each token as it is made, in order, whether or not it is read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Occupancy:
    """Current load of the backend. None: the backend cannot report it."""

    running: int
    """Number of sequences in the batch."""
    waiting: int
    kv_cache_usage: float | None = None
    """Share of the KV cache in use, 0 to 1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Abilities:
    """The kinds of request that a loaded model can answer. Others are refused with 400 and this reason."""

    max_model_len: int
    vocabulary: int
    top_logprobs: int = 0
    """Most alternatives per token for which log-probabilities are available; -1: none at all, not even the
    chosen token's.
    """
    scored_tokens: int = 0
    """Most tokens of a given text that ``score`` takes (``echo`` with ``logprobs``); 0: it does not work."""
    min_tokens: bool = True
    seed: bool = True


class GenerationError(Exception):
    """Generation of one request failed in the backend; other requests continue. The answer is HTTP 500."""


class Tokenizer(Protocol):
    """Converts text to tokens and back. Prompts are tokenized in one thread while the event loop decodes."""

    @property
    def chat_problem(self) -> str:
        """Why chat cannot be served; "" when it can."""

    @property
    def reserved(self) -> frozenset[str]:
        """Names that ``options`` of ``chat`` must not have: these options control the library, not the
        template."""

    def encode(self, text: str) -> Sequence[int]:
        """Token ids of ``text``, with the model's special tokens at the beginning of a prompt.

        Raises ValueError for a text that is far longer than the context.
        """

    def decode(self, tokens: Sequence[int]) -> str:
        """The text of ``tokens``, without special tokens."""

    def name(self, token: int) -> str:
        """One token as text, special tokens included; an incomplete character is shown as U+FFFD."""

    def chat(self, messages: Sequence[Mapping[str, Any]], options: Mapping[str, Any]) -> Sequence[int]:
        """The prompt tokens of a conversation, up to where the answer begins; ``options`` go to the chat
        template.

        Raises ValueError with the problem of the messages or options.
        """


class Backend(Protocol):
    """An engine in the server's process: the interface that an engine implements."""

    @property
    def name(self) -> str:
        """Name of the engine, as in ``spec.engine.name``; also ``owned_by`` of the model."""

    @property
    def version(self) -> str:
        """Version of the engine's package."""

    def load(self) -> None:
        """Loads the model: blocks until it can answer. Called once, in a thread. Raises LoadError."""

    @property
    def abilities(self) -> Abilities:
        """The features of the loaded model; available after loading."""

    @property
    def tokenizer(self) -> Tokenizer:
        """The tokenizer of the loaded model; available after loading."""

    def generate(self, generation: Generation) -> AsyncGenerator[Token, None]:
        """Adds a sequence to the running batch and yields its tokens. Closing the iterator cancels. Raises
        GenerationError."""

    async def score(self, tokens: Sequence[int], top_logprobs: int) -> Sequence[Token]:
        """Log-probabilities of given tokens; at most ``abilities.scored_tokens``."""

    def occupancy(self) -> Occupancy: ...

    def problem(self) -> str:
        """Why the engine can no longer answer; "" while it can."""

    def close(self) -> None:
        """Ends the engine's threads; called once, after the last answer."""
