"""One conversation with an engine: how it is asked, and requests nobody has sent before."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from random import Random
from typing import Any

from tacho_engines import run_parts
from tacho_engines.shared.openai import METRICS, MODELS, model_entry
from tacho_runtime.probe.asking import counters, prompts, timed_client as client
from tacho_runtime.probe.asking.streams import Stream, reduce_stream
from tacho_runtime.probe.asking.timed_client import RequestFailed
from tacho_runtime.probe.asking.wording import Wording, body, dialect_of, wordings
from tacho_runtime.probe.target import ProbeTarget

CONTROL_SECONDS = 10.0
"""For /v1/models and /metrics: an engine on few cores answers late, and that is no failure."""


@dataclass(slots=True)
class Session:
    target: ProbeTarget
    endpoint: client.Endpoint
    rng: Random
    max_model_len: int = 0
    wording: Wording | None = None
    text_length: prompts.TextLength = field(default_factory=prompts.TextLength)
    seen: list[Stream] = field(default_factory=list)
    """Every stream that was read, for the checks at the end."""
    received_tokens: float = 0.0

    def prompt(self, input_tokens: int) -> str | list[int]:
        assert self.wording is not None
        if self.wording.token_ids:
            return prompts.random_ids(input_tokens, self.wording.vocabulary, self.rng)
        return prompts.random_text(self.text_length.words_for(input_tokens), self.rng)

    def request(self, input_tokens: int, output_tokens: int) -> tuple[str, dict[str, Any]]:
        """(path, body) with a prompt of its own. Needs the wording to be known."""
        assert self.wording is not None
        request = body(
            self.wording,
            served_name=self.target.served_name,
            prompt=self.prompt(input_tokens),
            output_tokens=output_tokens,
            salt=f"{self.rng.getrandbits(128):032x}",
        )
        return self.wording.path, request

    async def ask(self, input_tokens: int, output_tokens: int, timeout_seconds: float) -> Stream:
        """One request on its own, read to its end. Raises RequestFailed when it brought no token."""
        path, request = self.request(input_tokens, output_tokens)
        raw = await client.exchange(self.endpoint, "POST", path, request, timeout_seconds=timeout_seconds)
        stream = reduce_stream(raw.sent_ns, raw.response().events)
        if stream.error or not stream.tokens:
            what = stream.error or "an answer without a token"
            raise RequestFailed(f"POST {path}: {what}", answered=True)
        self._note(stream)
        return stream

    def read_one(self, raw: client.Stream, tokens_per_chunk: float = 1.0) -> Stream | None:
        """The figures of one exchange; None when it brought no token."""
        if not raw.sent_ns or not raw.reads:
            return None
        try:
            events = raw.response().events
        except RequestFailed:
            return None
        stream = reduce_stream(raw.sent_ns, events, tokens_per_chunk=tokens_per_chunk)
        if stream.error or not stream.tokens:
            return None
        self._note(stream)
        return stream

    async def read(self, raws: Iterable[client.Stream]) -> tuple[Stream, ...]:
        """``read_one`` of many; yields between them, because health checks are served by the same loop."""
        per_chunk = self.tokens_per_chunk()
        found: list[Stream] = []
        for raw in list(raws):
            await asyncio.sleep(0)
            stream = self.read_one(raw, per_chunk)
            if stream is not None:
                found.append(stream)
        return tuple(found)

    def _note(self, stream: Stream) -> None:
        self.received_tokens += stream.output_tokens
        self.seen.append(stream)

    def tokens_per_chunk(self) -> float:
        """Of the requests that ended: how a cut stream's chunks are counted when the engine does not say."""
        ended = [s for s in self.seen if s.finish_reason and not s.exact and len(s.tokens) > 1]
        chunks = sum(len(stream.tokens) - 1 for stream in ended)
        return sum(stream.output_tokens - stream.tokens[0][1] for stream in ended) / chunks if chunks else 1.0

    async def discover(self) -> tuple[Wording, ...]:
        """What the engine says of itself, and the wordings worth trying. Raises RequestFailed."""
        answer = await self._get(MODELS)
        try:
            models = json.loads(answer)
        except ValueError:
            models = {}
        dialect = dialect_of(self.target.engine, models, run_parts.dialects())
        stated = dialect.limits(model_entry(models))
        known = [length for length in (self.target.max_model_len, stated.max_model_len) if length > 0]
        self.max_model_len = min(known, default=0)
        return wordings(
            dialect,
            token_prompts=self.target.token_prompts,
            vocabulary=self.target.vocabulary or stated.vocabulary,
        )

    async def counters(self) -> counters.Counters:
        """Empty when the engine has no metrics."""
        try:
            answer = await self._get(METRICS)
        except RequestFailed:
            return counters.Counters()
        return counters.parse(answer.decode(errors="replace"), run_parts.metric_names())

    async def _get(self, path: str) -> bytes:
        raw = await client.exchange(self.endpoint, "GET", path, timeout_seconds=CONTROL_SECONDS)
        return raw.response().body
