"""A real tacho_server over a backend that does what a prompt says: an engine to drain."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Any

from tacho_server.backend import Abilities, Generation, Occupancy, Token
from tacho_server.launch import serve
from tacho_server.options import ServerSettings
from tacho_server.threads import Mailbox

LETTER = ord("a")


class Tokenizer:
    """A letter a token."""

    chat_problem = "it has no chat template"
    reserved = frozenset[str]()

    def encode(self, text: str) -> Sequence[int]:
        return [ord(letter) for letter in text]

    def decode(self, tokens: Sequence[int]) -> str:
        return "".join(map(chr, tokens))

    def name(self, token: int) -> str:
        return chr(token)

    def chat(self, messages: Sequence[Mapping[str, Any]], options: Mapping[str, Any]) -> Sequence[int]:
        raise ValueError("no chat")


class Backend:
    """Computes all tokens at once; after the prompt r, only when ``seconds`` have passed."""

    name = "scripted"
    version = "1"
    abilities = Abilities(max_model_len=1 << 20, vocabulary=1 << 16)

    def __init__(self, seconds: float) -> None:
        self.tokenizer, self._seconds = Tokenizer(), seconds
        self._running = 0

    def load(self) -> None: ...

    async def generate(self, generation: Generation) -> AsyncGenerator[Token, None]:
        mailbox: Mailbox[Token] = Mailbox(lambda: None)
        self._running += 1
        try:
            if generation.prompt[0] == ord("r"):
                await asyncio.sleep(self._seconds)
        finally:
            self._running -= 1
        most = generation.sampling.max_tokens
        for made in range(most):
            mailbox.put(Token(token=LETTER, finish="length" if made + 1 == most else ""))
        mailbox.end()
        async for token in mailbox.read(lambda: None):
            yield token

    async def score(self, tokens: Sequence[int], top_logprobs: int) -> Sequence[Token]:
        raise NotImplementedError

    def occupancy(self) -> Occupancy:
        return Occupancy(running=self._running, waiting=0)

    def problem(self) -> str:
        return ""

    def close(self) -> None: ...


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int)
    parser.add_argument("--seconds", type=float)
    options = parser.parse_args()
    settings = ServerSettings(
        host="127.0.0.1", port=options.port, served_name="demo", max_requests=16, require_chat=False
    )
    return serve(Backend(options.seconds), settings, "server-child")


if __name__ == "__main__":
    sys.exit(main())
