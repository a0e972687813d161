"""Generates the sequences of one request: tokens of the backend in, pieces of text out."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass

from tacho_server.backend import Backend, Generation, Token
from tacho_server.text import Detokenizer, Stops


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """The text and data that one token adds to one choice."""

    index: int
    text: str
    token: Token | None = None
    """The generated token; None: the piece is the echoed prompt."""
    scored: Sequence[Token] = ()
    """Log-probabilities of the echoed prompt."""
    finish: str | None = None


async def pieces(
    backend: Backend, generation: Generation, stops: Sequence[str], index: int
) -> AsyncGenerator[Piece, None]:
    """The pieces of one choice, until the end-of-sequence token, a stop string or the limit.

    Leaving the iteration early cancels the generation.
    """
    text = Detokenizer(backend.tokenizer, generation.prompt)
    stop = Stops(stops)
    async with contextlib.aclosing(backend.generate(generation)) as tokens:
        async for token in tokens:
            new = "" if token.finish == "stop" else text.add(token.token)
            if token.finish:
                new += text.rest()
            given, met = stop.add(new)
            if token.finish and not met:
                given += stop.rest()
            finish = "stop" if met else token.finish or None
            yield Piece(index=index, text=given, token=token, finish=finish)
            if finish:
                return


async def merged(sources: Sequence[AsyncGenerator[Piece, None]]) -> AsyncGenerator[Piece, None]:
    """The pieces of all sources in order of arrival. Leaving the iteration early closes every source."""
    if len(sources) == 1:
        async with contextlib.aclosing(sources[0]) as only:
            async for piece in only:
                yield piece
        return
    # Of limited length: a client may read slower than its choices are made, which the backend counts.
    queue: asyncio.Queue[Piece | BaseException | None] = asyncio.Queue(len(sources))

    async def drain(source: AsyncGenerator[Piece, None]) -> None:
        try:
            async with contextlib.aclosing(source):
                async for piece in source:
                    await queue.put(piece)
            await queue.put(None)
        except asyncio.CancelledError:
            raise
        except BaseException as error:  # noqa: BLE001 - the one reader raises it, also a panic of a tokenizer
            await queue.put(error)

    tasks = [asyncio.ensure_future(drain(source)) for source in sources]
    try:
        left = len(tasks)
        while left:
            item = await queue.get()
            if isinstance(item, BaseException):
                raise item
            if item is None:
                left -= 1
            else:
                yield item
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
