"""Builds answers in the OpenAI API's format, whole or as chunks."""

from __future__ import annotations

import asyncio
import json
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from tacho_server.backend import Token, TokenLogprob
from tacho_server.generating import Piece

Name = Callable[[int], str]
"""Function that returns one token as text."""
PART_LOGPROBS = 500
"""Log-probabilities that are formatted before the event loop turns to others. Each takes about 10 us."""


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
    ends: Counter[int] = field(default_factory=Counter)
    """Where the text of each choice ends so far, by its index, in characters of its tokens."""

    def _head(self, kind: str) -> dict[str, Any]:
        return {"id": self.identity, "object": kind, "created": self.created, "model": self.model}

    # --- chunks ----------------------------------------------------------------------------------
    def opening(self, index: int) -> dict[str, Any] | None:
        """The chunk that a stream begins with; None for completions, which have none."""
        return self._chat_chunk(index, {"role": "assistant", "content": ""}) if self.chat else None

    async def chunk(self, piece: Piece, usage: Usage | None = None) -> bytes:
        """The chunk of a piece, with the token counts so far where they are given, as JSON."""
        tokens = piece.scored if piece.token is None else (piece.token,)
        logprobs = await self._logprobs(tokens, piece.index) if self.logprobs and tokens else NO_LOGPROBS
        choice: dict[str, Any] = {"index": piece.index, "finish_reason": piece.finish}
        if self.chat:
            kind, choice["delta"] = "chat.completion.chunk", {"content": piece.text}
        else:
            kind, choice["text"] = "text_completion", piece.text
        return _answer(self._head(kind), [_with_value(choice, "logprobs", logprobs)], usage)

    def usage_chunk(self, usage: Usage) -> dict[str, Any]:
        kind = "chat.completion.chunk" if self.chat else "text_completion"
        return {**self._head(kind), "choices": [], "usage": usage.document()}

    def _chat_chunk(self, index: int, delta: dict[str, Any]) -> dict[str, Any]:
        choice = {"index": index, "delta": delta, "logprobs": None, "finish_reason": None}
        return {**self._head("chat.completion.chunk"), "choices": [choice]}

    # --- whole -----------------------------------------------------------------------------------
    async def whole(self, choices: Sequence[AnswerChoice], usage: Usage) -> bytes:
        """The whole answer as JSON."""
        kind = "chat.completion" if self.chat else "text_completion"
        listed = [await self._choice(index, choice) for index, choice in enumerate(choices)]
        return _answer(self._head(kind), listed, usage)

    async def _choice(self, index: int, choice: AnswerChoice) -> bytes:
        logprobs = await self._logprobs(choice.tokens, index) if self.logprobs else NO_LOGPROBS
        found: dict[str, Any] = {"index": index, "finish_reason": choice.finish}
        if self.chat:
            found["message"] = {"role": "assistant", "content": choice.text, "refusal": None}
        else:
            found["text"] = choice.text
        return _with_value(found, "logprobs", logprobs)

    # --- log-probabilities -----------------------------------------------------------------------
    async def _logprobs(self, tokens: Sequence[Token], index: int) -> bytes:
        """The log-probabilities of a choice's next tokens as JSON. Made in parts: 250,000 at once took the
        event loop 5 s."""
        parts: defaultdict[str, list[bytes]] = defaultdict(list)
        step = max(1, PART_LOGPROBS // (1 + max((len(token.top) for token in tokens), default=0)))
        for begin in range(0, max(1, len(tokens)), step):
            columns = self._columns(tokens[begin : begin + step], index)
            for name, values in columns.items():
                parts[name].append(_json(values)[1:-1])
            if len(tokens) > step:
                await asyncio.sleep(0)
        fields = [b'"%s":[%s]' % (name.encode(), b",".join(values)) for name, values in parts.items()]
        return b"{" + b",".join([*fields, *([b'"refusal":null'] if self.chat else [])]) + b"}"

    def _columns(self, tokens: Sequence[Token], index: int) -> dict[str, list[Any]]:
        """The lists of log-probabilities of a choice's next tokens."""
        if self.chat:
            return {"content": [self._chat_logprob(token) for token in tokens]}
        names = [self.name(token.token) for token in tokens]
        offsets = []
        for name in names:
            offsets.append(self.ends[index])
            self.ends[index] += len(name)
        return {
            "tokens": names,
            "token_logprobs": [None if token.logprob is None else _shown(token.logprob) for token in tokens],
            "top_logprobs": [self._alternatives(token) for token in tokens],
            "text_offset": offsets,
        }

    def _alternatives(self, token: Token) -> dict[str, float] | None:
        """Log-probabilities of the most likely tokens and the chosen one; None where nothing precedes it."""
        if token.logprob is None:
            return None
        both = (*token.top, TokenLogprob(token.token, token.logprob))
        found: dict[str, float] = {}
        for likely in both:
            found.setdefault(self.name(likely.token), _shown(likely.logprob))
        return found

    def _chat_logprob(self, token: Token) -> dict[str, Any]:
        assert token.logprob is not None, "log-probabilities were requested"
        entry = self._named(TokenLogprob(token.token, token.logprob))
        return {**entry, "top_logprobs": [self._named(likely) for likely in token.top]}

    def _named(self, likely: TokenLogprob) -> dict[str, Any]:
        name = self.name(likely.token)
        return {"token": name, "logprob": _shown(likely.logprob), "bytes": list(name.encode())}


NO_LOGPROBS = b"null"
LEAST_LOGPROB = -9999.0
"""Stands for lower ones: JSON has no infinity."""


def _shown(logprob: float) -> float:
    return max(logprob, LEAST_LOGPROB)


def _json(document: object) -> bytes:
    return json.dumps(document, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()


def _with_value(document: dict[str, Any], key: str, value: bytes) -> bytes:
    """``document`` as JSON, with one more value that is JSON already."""
    return b'%s,"%s":%s}' % (_json(document)[:-1], key.encode(), value)


def _answer(head: dict[str, Any], choices: Sequence[bytes], usage: Usage | None) -> bytes:
    found = _with_value(head, "choices", b"[" + b",".join(choices) + b"]")
    return found if usage is None else b'%s,"usage":%s}' % (found[:-1], _json(usage.document()))
