"""A backend of the server that says what it is told, a letter a token."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from typing import Any

import httpx
from fastapi import FastAPI

from tacho_server.app import ServerState, make_app
from tacho_server.backend import (
    Abilities,
    Generation,
    GenerationError,
    Occupancy,
    Token,
    TokenLogprob,
)
from tacho_server.options import ServerSettings

END = 0
"""The end-of-sequence token; every other token is a code point."""


class Letters:
    """A tokenizer of one token a character."""

    def __init__(self, chat_problem: str = "") -> None:
        self.chat_problem = chat_problem
        self.reserved = frozenset({"chat_template"})
        self.encoded: list[str] = []
        self.open = threading.Event()
        self.open.set()

    def encode(self, text: str) -> Sequence[int]:
        self.encoded.append(text)
        self.open.wait(3)
        return [ord(letter) for letter in text]

    def decode(self, tokens: Sequence[int]) -> str:
        return "".join(chr(token) for token in tokens if token != END)

    def name(self, token: int) -> str:
        return chr(token)

    def chat(self, messages: Sequence[Mapping[str, Any]], options: Mapping[str, Any]) -> Sequence[int]:
        if options.get("refuse"):
            raise ValueError("the chat template refuses these messages: no")
        return self.encode("".join(f"{message['role']}:{message['content']};" for message in messages))


class Scripted:
    """Answers every prompt with the same text, then the end-of-sequence token."""

    name = "scripted"
    version = "1.2"

    def __init__(self, answer: str, *, max_model_len: int = 64, scores: bool = True) -> None:
        self.answer = answer
        self.tokenizer = Letters()
        self.abilities = Abilities(
            max_model_len=max_model_len,
            vocabulary=1 << 16,
            top_logprobs=5 if scores else -1,
            scored_tokens=max_model_len if scores else 0,
        )
        self.seen: list[Generation] = []
        self.running = 0
        self.gate = asyncio.Event()
        self.gate.set()
        self.dead = ""
        self.break_after: int | None = None

    def load(self) -> None: ...

    def close(self) -> None: ...

    async def generate(self, generation: Generation) -> AsyncGenerator[Token, None]:
        self.seen.append(generation)
        self.running += 1
        try:
            limit = generation.sampling.max_tokens
            tokens = [*self.tokenizer.encode(self.answer), END]
            for at, token in enumerate(tokens[:limit]):
                await self.gate.wait()
                await asyncio.sleep(0)
                if at == self.break_after:
                    raise GenerationError("a kernel failed")
                finish = "stop" if token == END else "length" if at + 1 == limit else ""
                made = Token(token=token, logprob=-0.5, top=(TokenLogprob(token, -0.5),), finish=finish)
                generation.on_token(made)
                yield made
        finally:
            self.running -= 1

    async def score(self, tokens: Sequence[int], top_logprobs: int) -> Sequence[Token]:
        return [
            Token(token=token, logprob=None if at == 0 else -float(at)) for at, token in enumerate(tokens)
        ]

    def occupancy(self) -> Occupancy:
        return Occupancy(running=self.running, waiting=0, kv_cache_usage=0.25)

    def problem(self) -> str:
        return self.dead


def app_of(backend: Scripted, *, loaded: bool = True, api_key: str = "", max_requests: int = 4) -> FastAPI:
    """The server over ``backend``."""
    settings = ServerSettings(
        host="127.0.0.1",
        port=1,
        served_name="m",
        max_requests=max_requests,
        require_chat=False,
        api_key=api_key,
    )
    return make_app(backend, settings, ServerState(loaded=loaded))


@contextlib.asynccontextmanager
async def client_of(
    backend: Scripted, *, loaded: bool = True, api_key: str = "", max_requests: int = 4
) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the server over ``backend``, without a socket."""
    app = app_of(backend, loaded=loaded, api_key=api_key, max_requests=max_requests)
    async with client_to(app) as client:
        yield client


@contextlib.asynccontextmanager
async def client_to(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://server") as client:
        yield client
