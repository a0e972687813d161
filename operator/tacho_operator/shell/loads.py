"""Asks pods for their load."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Iterable

from tacho_contract.codec import DocumentError, loads
from tacho_contract.pod import RUNTIME_PORT
from tacho_contract.report import LOAD_LIMIT_BYTES, Load
from tacho_operator.core.scaling.law.types import Sample
from tacho_operator.shell.ask_many import ask_many

logger = logging.getLogger(__name__)

TIMEOUT_SECONDS = 5.0
LOOK_SECONDS = 10.0
"""For all pods together: readings that are to be compared must not be a minute apart, whoever hangs."""
AT_ONCE = 64
"""Requests under way, so that a thousand pods do not open a thousand sockets."""
MOST_VAIN = 10_000
"""Addresses that are remembered for not having answered: pods that went are among them."""
LARGEST = 1e15
"""Of a counter that can be believed."""


class Loads:
    """Readings of many pods at once."""

    def __init__(self, port: int = RUNTIME_PORT) -> None:
        self._port = port
        self._vain: dict[str, None] = {}
        """Who did not answer when asked last; who was asked longest ago comes first."""

    async def read(self, addresses: Iterable[str]) -> dict[str, Load]:
        """By address; a pod that did not answer, or whose turn did not come, is absent: unknown, not idle.

        Those that did not answer last time come last, so that they do not use up the others' time.
        """
        wanted = dict.fromkeys(addresses)
        # A look asks for some: those that the others ask for are remembered until their turn.
        self._vain = dict.fromkeys(list(self._vain)[-MOST_VAIN:])
        turns = [
            *(address for address in wanted if address not in self._vain),
            *(address for address in self._vain if address in wanted),
        ]
        found = await self._ask(turns) if turns else {}
        answers = {address: load for address, load in found.items() if load is not None}
        for address in found:
            self._vain.pop(address, None)
            if address not in answers:
                self._vain[address] = None
        if len(found) < len(turns):
            logger.warning("%d of %d pods told their load in time", len(answers), len(turns))
        return answers

    async def _ask(self, addresses: list[str]) -> dict[str, Load | None]:
        """None: no good answer; one whose turn did not come is absent."""
        leaving = threading.Event()

        def ask() -> dict[str, Load | None]:
            bodies = ask_many(
                addresses,
                self._port,
                "/load",
                at_once=AT_ONCE,
                each_seconds=TIMEOUT_SECONDS,
                all_seconds=LOOK_SECONDS,
                limit_bytes=LOAD_LIMIT_BYTES,
                wanted=lambda: not leaving.is_set(),
            )
            return {address: load_of(body) for address, body in bodies.items()}

        try:
            return await asyncio.to_thread(ask)
        finally:
            leaving.set()  # a thread cannot be cancelled


def load_of(body: bytes | None) -> Load | None:
    """What a pod said; None where it makes no sense."""
    try:
        return None if body is None else loads(Load, body)
    except DocumentError as error:
        logger.debug("no load: %s", error)
        return None


def sample_of(load: Load, now: float) -> Sample:
    """A load as the law reads it. Figures that no engine has (a negative count) are unknown."""
    usage = _figure(load.kv_cache_usage)
    return Sample(
        time_seconds=now,
        running=_count(load.running),
        waiting=_count(load.waiting),
        generated_tokens=_figure(load.generation_tokens_total),
        computed_prompt_tokens=_figure(load.prompt_tokens_total),
        kv_cache_usage=None if usage is None else min(1.0, usage),
        preemptions=_figure(load.preemptions_total),
        first_token_seconds=_figure(load.first_token_seconds_total),
        first_tokens=_figure(load.first_tokens_total),
    )


def _count(value: int | None) -> int | None:
    return value if value is not None and 0 <= value < 10**6 else None


def _figure(value: float | None) -> float | None:
    return value if value is not None and 0 <= value < LARGEST else None
