"""Builds answers in the OpenAI API's format, whole or as chunks. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from tacho_server.backend import Token, TokenLogprob
from tacho_server.generating import Piece

Name = Callable[[int], str]
"""Function that returns one token as text."""


@dataclass(slots=True)
class Usage:
    """Token counts of a request. Output tokens include the end-of-sequence token."""

    prompt: int
    generated: int = 0

    def document(self) -> dict[str, int]:
        return {
            "prompt_tokens": self.prompt,
            "completion_tokens": self.generated,
            "total_tokens": self.prompt + self.generated,
        }


@dataclass(slots=True)
class AnswerChoice:
    """One choice of an answer, collected from its pieces."""

    text: str = ""
    finish: str | None = None
    tokens: list[Token] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerFormat:
    """The format of one endpoint's answers."""

    identity: str
    created: int
    model: str
    chat: bool
    logprobs: bool
    name: Name

    def _head(self, kind: str) -> dict[str, Any]:
        return {"id": self.identity, "object": kind, "created": self.created, "model": self.model}

    # --- chunks ----------------------------------------------------------------------------------
    def opening(self, index: int) -> dict[str, Any] | None:
        """The chunk that a stream begins with; None for completions, which have none."""
        return (
            self._chat_chunk(index, {"role": "assistant", "content": ""}, None, None) if self.chat else None
        )

    def chunk(self, piece: Piece) -> dict[str, Any]:
        tokens: list[Token] = [*piece.scored] if piece.token is None else [piece.token]
        logprobs = self._logprobs(tokens) if self.logprobs and tokens else None
        if self.chat:
            return self._chat_chunk(piece.index, {"content": piece.text}, piece.finish, logprobs)
        choice = {
            "index": piece.index,
            "text": piece.text,
            "logprobs": logprobs,
            "finish_reason": piece.finish,
        }
        return {**self._head("text_completion"), "choices": [choice]}

    def usage_chunk(self, usage: Usage) -> dict[str, Any]:
        kind = "chat.completion.chunk" if self.chat else "text_completion"
        return {**self._head(kind), "choices": [], "usage": usage.document()}

    def _chat_chunk(
        self, index: int, delta: dict[str, Any], finish: str | None, logprobs: dict[str, Any] | None
    ) -> dict[str, Any]:
        choice = {"index": index, "delta": delta, "logprobs": logprobs, "finish_reason": finish}
        return {**self._head("chat.completion.chunk"), "choices": [choice]}

    # --- whole -----------------------------------------------------------------------------------
    def whole(self, choices: Sequence[AnswerChoice], usage: Usage) -> dict[str, Any]:
        kind = "chat.completion" if self.chat else "text_completion"
        listed = [self._choice(index, choice) for index, choice in enumerate(choices)]
        return {**self._head(kind), "choices": listed, "usage": usage.document()}

    def _choice(self, index: int, choice: AnswerChoice) -> dict[str, Any]:
        logprobs = self._logprobs(choice.tokens) if self.logprobs else None
        end = {"logprobs": logprobs, "finish_reason": choice.finish}
        if self.chat:
            message = {"role": "assistant", "content": choice.text, "refusal": None}
            return {"index": index, "message": message, **end}
        return {"index": index, "text": choice.text, **end}

    # --- log-probabilities -----------------------------------------------------------------------
    def _logprobs(self, tokens: Sequence[Token]) -> dict[str, Any]:
        if self.chat:
            return {"content": [self._chat_logprob(token) for token in tokens], "refusal": None}
        names = [self.name(token.token) for token in tokens]
        offsets, at = [], 0
        for name in names:
            offsets.append(at)
            at += len(name)
        return {
            "tokens": names,
            "token_logprobs": [token.logprob for token in tokens],
            "top_logprobs": [self._alternatives(token) for token in tokens],
            "text_offset": offsets,
        }

    def _alternatives(self, token: Token) -> dict[str, float] | None:
        """Log-probabilities of the most likely tokens and of the chosen one; None where nothing precedes the
        token.
        """
        if token.logprob is None:
            return None
        both = (*token.top, TokenLogprob(token.token, token.logprob))
        found: dict[str, float] = {}
        for likely in both:
            found.setdefault(self.name(likely.token), likely.logprob)
        return found

    def _chat_logprob(self, token: Token) -> dict[str, Any]:
        assert token.logprob is not None, "log-probabilities were requested"
        entry = self._named(TokenLogprob(token.token, token.logprob))
        return {**entry, "top_logprobs": [self._named(likely) for likely in token.top]}

    def _named(self, likely: TokenLogprob) -> dict[str, Any]:
        name = self.name(likely.token)
        return {"token": name, "logprob": likely.logprob, "bytes": list(name.encode())}
