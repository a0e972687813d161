"""Answers with very many log-probabilities, which are formatted in parts."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Awaitable
from typing import Any

import pytest

from tacho_server.answers import LEAST_LOGPROB, PART_LOGPROBS, AnswerChoice, AnswerFormat, Usage
from tacho_server.backend import Token, TokenLogprob
from tacho_server.generating import Piece

TOKENS = [
    Token(token=97 + place % 26, logprob=-float(place), top=(TokenLogprob(97, -0.5),))
    for place in range(3 * PART_LOGPROBS)
]
NAMES = [chr(token.token) * 2 for token in TOKENS]


def form_of(*, chat: bool) -> AnswerFormat:
    return AnswerFormat(
        identity="a", created=1, model="m", chat=chat, logprobs=True, name=lambda token: chr(token) * 2
    )


async def made(work: Awaitable[bytes]) -> tuple[dict[str, Any], int]:
    """(the only choice of an answer, how often others had their turn meanwhile)"""
    task, turns = asyncio.ensure_future(work), 0
    while not task.done():
        turns += 1
        await asyncio.sleep(0)
    return json.loads(task.result())["choices"][0], turns


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("chat", [False, True])
async def test_many_log_probabilities_leave_the_loop_to_others(chat: bool, streamed: bool) -> None:
    form = form_of(chat=chat)
    if streamed:
        choice, turns = await made(form.chunk(Piece(index=0, text="a", scored=TOKENS)))
    else:
        collected = AnswerChoice(text="a", finish="length", tokens=TOKENS)
        choice, turns = await made(form.whole([collected], Usage(1, len(TOKENS))))
    assert turns >= 2 * len(TOKENS) // PART_LOGPROBS
    found = choice["logprobs"]
    if chat:
        assert [entry["token"] for entry in found["content"]] == NAMES
        assert [entry["logprob"] for entry in found["content"]] == [token.logprob for token in TOKENS]
        assert found["refusal"] is None
    else:
        assert found["tokens"] == NAMES
        assert found["text_offset"] == [2 * place for place in range(len(TOKENS))]
        assert found["token_logprobs"] == [token.logprob for token in TOKENS]
        assert found["top_logprobs"][1] == {"aa": -0.5, "bb": -1.0}


async def test_an_echos_first_token_has_no_alternatives_and_does_not_set_the_size_of_a_part() -> None:
    likely = tuple(TokenLogprob(place, -1.0) for place in range(19))
    tokens = [Token(token=97), *[Token(token=97, logprob=-1.0, top=likely)] * PART_LOGPROBS]
    _, turns = await made(form_of(chat=False).whole([AnswerChoice(tokens=tokens)], Usage(1, len(tokens))))
    assert turns >= 20


@pytest.mark.parametrize("chat", [False, True])
async def test_no_token_and_infinity_are_json(chat: bool) -> None:
    form, low = form_of(chat=chat), Token(token=97, logprob=-math.inf, top=(TokenLogprob(98, -math.inf),))
    none, _ = await made(form.whole([AnswerChoice()], Usage(1)))
    assert not any(none["logprobs"].values())
    one, _ = await made(form.whole([AnswerChoice(tokens=[low])], Usage(1, 1)))
    assert json.dumps(one).count(str(LEAST_LOGPROB)) == (2 if chat else 3)
