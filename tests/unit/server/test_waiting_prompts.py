"""How many prompts the Transformers backend has in its library."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

from tacho_server.backend import Token
from tacho_transformers import backend as transformers_backend
from tacho_transformers.backend import TransformersBackend
from tests.unit.server.test_backends import GENERATION, OPTIONS, Manager


class Busy(Manager):
    """Takes each request, and answers when it is told to."""

    def __init__(self) -> None:
        super().__init__("")
        self.taken: list[str] = []
        self.input_queue = SimpleNamespace(qsize=lambda: 0)

    def add_request(self, _prompt: list[int], *, request_id: str, **_options: Any) -> str:
        self.taken.append(request_id)
        return request_id

    def answer(self, identity: str) -> None:
        told = SimpleNamespace(error=None, generated_tokens=[0], is_finished=lambda: True)
        self.output_router.result_handlers[identity](told)


async def test_few_prompts_wait_in_the_library() -> None:
    """Each token of 272 prompts of 128,000 took 56 bytes there, two gigabytes that no plan had."""
    backend, manager = TransformersBackend(OPTIONS), Busy()
    backend._manager, backend._end = manager, ()
    scheduler = SimpleNamespace(active_requests=(), waiting_requests=())
    cache = SimpleNamespace(compute_free_capacity=lambda: 1.0)
    backend._processor = SimpleNamespace(scheduler=scheduler, cache=cache)
    row = SimpleNamespace(chosen=[Token(token=5)], has_failed=False)
    backend._sampler = cast(Any, SimpleNamespace(row=lambda _sampling: row))
    answers = [backend.generate(replace(GENERATION, identity=str(index))) for index in range(20)]
    tasks = [asyncio.ensure_future(anext(answer)) for answer in answers]
    most = OPTIONS.max_batch + transformers_backend.AHEAD

    async def settled(taken: int, waiting: int) -> None:
        async with asyncio.timeout(5):
            while (len(manager.taken), backend.occupancy().waiting) != (taken, waiting):
                await asyncio.sleep(0)

    await settled(most, 20 - most)
    manager.answer("0")  # its client reads no further
    await settled(most + 1, 19 - most)
    tasks[most].cancel()
    tasks[-1].cancel()
    await settled(most + 2, 17 - most)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    for answer in answers:
        await answer.aclose()
    assert (backend.occupancy().waiting, backend._rows) == (0, {})
