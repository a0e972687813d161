"""What the backends do with threads and handlers, without their libraries."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import sys
import threading
import time
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from tacho_ctranslate2 import backend as ctranslate2
from tacho_ctranslate2.backend import CTranslate2Backend
from tacho_server.backend import Abilities, Generation, GenerationError, Sampling, Token, TokenLogprob
from tacho_transformers import backend as transformers_backend
from tacho_transformers.backend import TransformersBackend, _end_tokens

OPTIONS = argparse.Namespace(max_batch=2)
GENERATION = Generation(identity="one", prompt=array("i", [1]), sampling=Sampling(max_tokens=1))


class Manager:
    """Of transformers' continuous batching, one that takes no request."""

    def __init__(self, broken: str) -> None:
        self.broken = broken
        self.output_router = SimpleNamespace(result_handlers={})
        self.cancelled: list[str] = []

    def register_result_handler(self, identity: str, handler: Any) -> None:
        self.output_router.result_handlers[identity] = handler
        if self.broken == "register":
            raise RuntimeError("the loop is closed")

    def add_request(self, _prompt: list[int], **_options: Any) -> None:
        raise ValueError("the prompt is longer than the cache")

    def cancel_request(self, identity: str) -> None:
        self.cancelled.append(identity)


@pytest.mark.parametrize("broken", ["register", "add"])
async def test_a_request_that_transformers_does_not_take_leaves_nothing(broken: str) -> None:
    backend = TransformersBackend(OPTIONS)
    manager = Manager(broken)
    backend._manager, backend._end = manager, ()
    backend._sampler = cast(Any, SimpleNamespace(row=lambda _sampling: SimpleNamespace(chosen=[])))
    with pytest.raises((RuntimeError, ValueError)):
        await anext(backend.generate(GENERATION))
    assert (backend._rows, manager.output_router.result_handlers) == ({}, {})
    assert manager.cancelled == ["one"]


class OneToken(Manager):
    """Answers each request with one token."""

    def add_request(self, _prompt: list[int], **_options: Any) -> str:
        told = SimpleNamespace(error=None, generated_tokens=[0], is_finished=lambda: True)
        self.output_router.result_handlers["one"](told)
        return "one"


async def test_a_row_without_numbers_fails_and_gives_no_token() -> None:
    backend = TransformersBackend(OPTIONS)
    backend._manager, backend._end = OneToken(""), ()
    row = SimpleNamespace(chosen=[], has_failed=True)
    backend._sampler = cast(Any, SimpleNamespace(row=lambda _sampling: row))
    with pytest.raises(GenerationError, match="NaN"):
        await anext(backend.generate(GENERATION))


class Telling(Manager):
    """Answers each request with two tokens at once."""

    def add_request(self, _prompt: list[int], **_options: Any) -> str:
        told = SimpleNamespace(error=None, generated_tokens=[0, 0], is_finished=lambda: True)
        self.output_router.result_handlers["one"](told)
        return "one"


async def test_a_row_does_not_keep_what_its_reader_has() -> None:
    backend = TransformersBackend(OPTIONS)
    backend._manager, backend._end = OneToken(""), ()
    row = SimpleNamespace(chosen=[Token(token=5, logprob=-1.0)], has_failed=False)
    backend._sampler = cast(Any, SimpleNamespace(row=lambda _sampling: row))
    assert [token.token async for token in backend.generate(GENERATION)] == [5]
    assert row.chosen == [transformers_backend.DELIVERED]


async def test_tokens_of_transformers_are_counted_before_they_are_read() -> None:
    backend, manager, made = TransformersBackend(OPTIONS), Telling(""), list[int]()
    backend._manager, backend._end = manager, ()
    row = SimpleNamespace(chosen=[Token(token=5), Token(token=6)], has_failed=False)
    backend._sampler = cast(Any, SimpleNamespace(row=lambda _sampling: row))
    generation = replace(GENERATION, on_token=lambda token: made.append(token.token))
    answer = backend.generate(generation)
    assert (await anext(answer)).token == 5
    assert made == [5, 6]
    await answer.aclose()


@pytest.mark.parametrize(
    ("stated", "ends"),
    [(None, (3,)), (7, (7,)), ([7, 10, 9, -1, "8", True], (7, 9)), (2**63, ()), ("7", ()), ([], ())],
)
def test_only_tokens_of_the_vocabulary_end_an_answer(stated: object, ends: tuple[int, ...]) -> None:
    """With min_tokens each is an index into a row of logits: another ends the thread of all requests."""
    model = SimpleNamespace(generation_config=SimpleNamespace(eos_token_id=stated))
    assert _end_tokens(model, 3, 10) == ends


async def test_texts_are_scored_one_after_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each has a cache of its own beside the planned one, and the batch stands while any of them runs."""
    backend = TransformersBackend(OPTIONS)
    scoring: list[int] = []
    most = 0

    def score(*_arguments: Any) -> list[Token]:
        nonlocal most
        scoring.append(1)
        most = max(most, len(scoring))
        time.sleep(0.02)
        scoring.pop()
        return []

    monkeypatch.setattr(backend, "_score", score)
    await asyncio.gather(*(backend.score([1], 0) for _ in range(5)))
    assert most == 1


async def test_a_text_whose_client_has_gone_is_not_kept_to_be_scored(monkeypatch: pytest.MonkeyPatch) -> None:
    backend, gate = TransformersBackend(OPTIONS), threading.Event()
    gone: list[threading.Event] = []

    def score(_tokens: list[int], _top: int, left: threading.Event) -> None:
        gone.append(left)
        gate.wait(20)

    monkeypatch.setattr(backend, "_score", score)
    busy = asyncio.ensure_future(backend.score([1], 0))
    await asyncio.sleep(0)
    token = 10**9
    before = sys.getrefcount(token)
    left = asyncio.ensure_future(backend.score([token] * 50, 0))
    await asyncio.sleep(0)
    left.cancel()
    await asyncio.wait({left})
    del left
    gc.collect()
    assert sys.getrefcount(token) == before
    busy.cancel()
    await asyncio.wait({busy})
    assert [left.is_set() for left in gone] == [True]
    gate.set()


def test_the_batch_makes_a_step_between_two_parts_of_a_scored_text(monkeypatch: pytest.MonkeyPatch) -> None:
    backend = TransformersBackend(OPTIONS)
    events: list[object] = []

    @contextlib.contextmanager
    def pause() -> Iterator[None]:
        events.append("pause")
        yield
        events.append("step")

    def score_part(tokens: list[int], past: int | None, _top: int) -> tuple[int, list[Token]]:
        events.append((tokens, past))
        return tokens[-2], [Token(token=token, logprob=-1.0) for token in tokens[1:]]

    backend._manager = SimpleNamespace(pause=pause)
    vocabulary = transformers_backend.SCORE_BYTES // 8 // 2  # two tokens a part
    backend.abilities = Abilities(max_model_len=8, vocabulary=vocabulary)
    monkeypatch.setattr(backend, "_score_part", score_part)
    left = threading.Event()
    assert [token.token for token in backend._score([5, 6, 7, 8], 0, left)] == [5, 6, 7, 8]
    assert events == ["pause", ([5, 6, 7], None), "step", "pause", ([7, 8], 6), "step"]
    assert [token.token for token in backend._score([5], 0, left)] == [5]
    left.set()  # its client has gone
    backend._score([5, 6, 7, 8], 0, left)
    assert len(events) == 6


@pytest.mark.parametrize(
    ("cell_bytes", "max_model_len", "tokens"),
    [(128 * 1024, 8192, 1024), (128 * 1024, 512, 512), (1024 * 1024, 8192, 256), (1024 * 1024, 128, 128)],
)
def test_a_scored_text_takes_so_much_memory_beside_the_batchs_cache(
    cell_bytes: int, max_model_len: int, tokens: int
) -> None:
    options = argparse.Namespace(max_batch=2, max_model_len=max_model_len, page_tokens=64)
    backend = TransformersBackend(options)
    tensor = SimpleNamespace(numel=lambda: 10 * 64 * cell_bytes // 2, element_size=lambda: 2)
    backend._processor = SimpleNamespace(cache=SimpleNamespace(num_blocks=10, cache_tensor=tensor))
    assert backend._scored_tokens() == tokens


class Generator:
    """Of CTranslate2; it scores a text only once it may."""

    def __init__(self, *_arguments: Any, **_options: Any) -> None:
        self.may_score = threading.Event()
        self.scoring = self.most = 0

    def forward_batch(self, texts: list[list[int]], **_options: Any) -> list[list[list[float]]]:
        self.scoring += 1
        self.most = max(self.most, self.scoring)
        self.may_score.wait(3)
        self.scoring -= 1
        return [[[-1.0, -1.0] for _token in text] for text in texts]

    def generate_batch(self, _prompts: Sequence[Any], callback: Any, **_options: Any) -> None:
        callback(SimpleNamespace(token_id=1, is_last=True))


@pytest.fixture
def ctranslate2_backend(monkeypatch: pytest.MonkeyPatch) -> Iterator[CTranslate2Backend]:
    """Of two workers, which wait to score and generate at once."""
    library = SimpleNamespace(Generator=Generator)
    monkeypatch.setattr(ctranslate2, "import_module", lambda _name: library)
    monkeypatch.setattr(ctranslate2.steps, "rows", lambda found: found[0])
    monkeypatch.setattr(ctranslate2, "usable_cpus", lambda: 2)
    plan: Any = None
    backend = CTranslate2Backend(plan, device="cpu", max_model_len=8, concurrency=2)
    backend._generator, backend._vocabulary = backend._load_generator(Path("model")), ["a", "b"]
    yield backend
    backend._generator.may_score.set()
    backend.close()


async def test_what_waits_for_a_worker_and_is_left_keeps_no_memory(
    ctranslate2_backend: CTranslate2Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A hundred requests of 32,000 tokens that hung up kept 130 MB while the workers were busy."""
    backend, gate = ctranslate2_backend, threading.Event()
    monkeypatch.setattr(backend, "_generate", lambda *_arguments: gate.wait(20))
    monkeypatch.setattr(backend, "_score", lambda *_arguments: gate.wait(20))
    prompt, scored = array("i", range(1000, 1010)), tuple(range(1000, 1010))
    left = replace(GENERATION, prompt=prompt)
    busy = [asyncio.ensure_future(anext(backend.generate(GENERATION))) for _ in range(2)]
    busy += [asyncio.ensure_future(backend.score([1, 1], 0))]
    await asyncio.sleep(0)
    gc.collect()
    before = sys.getrefcount(prompt), sys.getrefcount(scored[0])
    waiting = [asyncio.ensure_future(anext(backend.generate(left))) for _ in range(9)]
    waiting += [asyncio.ensure_future(backend.score(scored, 0)) for _ in range(9)]
    while backend.occupancy().waiting < 9:
        await asyncio.sleep(0.001)
    for task in waiting:
        task.cancel()
    await asyncio.wait(waiting)
    waiting.clear()
    del task
    gc.collect()
    assert backend.occupancy().waiting == 0
    assert (sys.getrefcount(prompt), sys.getrefcount(scored[0])) == before
    gate.set()
    for task in busy:
        task.cancel()
    await asyncio.gather(*busy, return_exceptions=True)


@pytest.mark.parametrize(
    ("logprobs", "answer", "segments", "finishes"),
    [
        (None, [1, 1, 1, 1, 1], [(1, 5, 3)], ["", "", "", "", "length"]),
        (0, [1, 1, 1, 1, 1], [(1, 2, 2), (3, 2, 1), (5, 1, 0)], ["", "", "", "", "length"]),
        (0, [1, 1, 1, 0], [(1, 2, 2), (3, 2, 1)], ["", "", "", "stop"]),
        (0, [1, 1, 0], [(1, 2, 2), (3, 2, 1)], ["", "", "stop"]),
    ],
)
async def test_log_probabilities_are_made_in_segments(
    ctranslate2_backend: CTranslate2Backend,
    monkeypatch: pytest.MonkeyPatch,
    logprobs: int | None,
    answer: list[int],
    segments: list[tuple[int, int, int]],
    finishes: list[str],
) -> None:
    """CTranslate2 keeps the logits of each step: 0.8 MB a token for a vocabulary of 128,000."""
    backend, calls, left = ctranslate2_backend, list[tuple[int, int, int]](), iter(answer)
    monkeypatch.setattr(ctranslate2, "SEGMENT_BYTES", 2 * 8 * len(backend._vocabulary))
    backend._end_tokens = (0,)

    def token_of(step: Any, *_arguments: Any) -> Token:
        end = ("stop" if step.token_id == 0 else "length") if step.is_last else ""
        return Token(token=step.token_id, finish=end)

    def generate_batch(prompts: list[list[str]], callback: Any, **options: Any) -> None:
        length = options["max_length"]
        calls.append((len(prompts[0]), length, options["min_length"]))
        for place in range(length):
            token = next(left)
            callback(SimpleNamespace(token_id=token, is_last=token == 0 or place + 1 == length))
            if token == 0:
                return

    monkeypatch.setattr(ctranslate2.steps, "token_of", token_of)
    monkeypatch.setattr(backend._generator, "generate_batch", generate_batch)
    sampling = Sampling(max_tokens=5, min_tokens=3, top_logprobs=logprobs)
    found = [token async for token in backend.generate(replace(GENERATION, sampling=sampling))]
    assert [token.token for token in found] == answer
    assert [token.finish for token in found] == finishes
    assert calls == segments
    assert backend._token_budget._taken == 0


async def test_alternatives_that_are_unread_count(
    ctranslate2_backend: CTranslate2Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each takes as much memory as its token."""
    sizes, put = list[int](), ctranslate2.Mailbox.put
    token = Token(token=1, top=(TokenLogprob(1, -0.1), TokenLogprob(0, -2.0)), finish="stop")

    def counted(mailbox: Any, item: Token, size: int = 1) -> None:
        sizes.append(size)
        put(mailbox, item, size)

    def generate_batch(_prompts: list[list[str]], callback: Any, **_options: Any) -> None:
        callback(SimpleNamespace(token_id=1, is_last=True))

    monkeypatch.setattr(ctranslate2.Mailbox, "put", counted)
    monkeypatch.setattr(ctranslate2.steps, "token_of", lambda *_arguments: token)
    monkeypatch.setattr(ctranslate2_backend._generator, "generate_batch", generate_batch)
    assert [item async for item in ctranslate2_backend.generate(GENERATION)] == [token]
    assert sizes == [3]


@pytest.mark.parametrize(("broken", "problem"), [(1, ""), (3, ""), (99, "CUDA failed")])
async def test_an_engine_that_fails_each_request_has_a_problem(
    ctranslate2_backend: CTranslate2Backend, monkeypatch: pytest.MonkeyPatch, broken: int, problem: str
) -> None:
    """Else it stays ready, and answers each request with an error."""
    monkeypatch.setattr(ctranslate2, "CHECK_SECONDS", 0.0)
    left = broken

    def generate_batch(*_arguments: Any, **_options: Any) -> None:
        nonlocal left
        left -= 1
        if left >= 0:
            raise RuntimeError("CUDA failed with error")

    monkeypatch.setattr(ctranslate2_backend._generator, "generate_batch", generate_batch)
    with pytest.raises(GenerationError):
        await anext(ctranslate2_backend.generate(GENERATION))
    while ctranslate2_backend.occupancy().running:
        await asyncio.sleep(0.001)
    assert problem in ctranslate2_backend.problem()
    assert bool(ctranslate2_backend.problem()) is bool(problem)


async def test_texts_that_wait_to_be_scored_do_not_keep_ctranslate2_from_generating(
    ctranslate2_backend: CTranslate2Backend,
) -> None:
    backend = ctranslate2_backend
    texts = [asyncio.ensure_future(backend.score([1, 1], 0)) for _ in range(3)]
    while not backend._generator.scoring:
        await asyncio.sleep(0.001)
    async with asyncio.timeout(2):
        assert [token.token async for token in backend.generate(GENERATION)] == [1]
    assert not any(text.done() for text in texts)
    backend._generator.may_score.set()
    assert await asyncio.gather(*texts) == [
        (Token(token=1, logprob=None), Token(token=1, logprob=-1.0)) for _ in texts
    ]
    assert backend._generator.most == 1, "one text at a time: what the memory is for"


async def test_tokens_of_ctranslate2_are_counted_as_they_are_made(
    ctranslate2_backend: CTranslate2Backend,
) -> None:
    made: list[int] = []
    generation = replace(GENERATION, on_token=lambda token: made.append(token.token))
    tokens = [token.token async for token in ctranslate2_backend.generate(generation)]
    assert made == tokens == [1]
