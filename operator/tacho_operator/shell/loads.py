"""Reads the load of many pods at the same time."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable
from typing import NamedTuple

from tacho_contract.codec import DocumentError, loads
from tacho_contract.report import LOAD_LIMIT_BYTES, Load, believed
from tacho_operator.core.autoscaling.algorithm.types import Sample
from tacho_operator.shell.pod_http import PodClient

logger = logging.getLogger(__name__)


class TimedLoad(NamedTuple):
    """A pod's load, and the time of its counters by the operator's clock.

    Each pod has a time of its own. A rate from a later time that all have in common would be too high or too
    low by as much as that was late: slow pods and a busy event loop change it from sampling to sampling.
    """

    load: Load
    time_seconds: float


class Loads:
    """Reads the load of many pods at once."""

    def __init__(self, client: PodClient, clock: Callable[[], float] = time.time) -> None:
        self._client, self._clock = client, clock

    async def read(self, addresses: Iterable[str]) -> dict[str, TimedLoad]:
        """The load by address; a pod that did not answer in time is absent: its load is unknown, not zero."""
        pods = list(addresses)
        found = await asyncio.gather(*map(self._load, pods))
        answers = {address: load for address, load in zip(pods, found, strict=True) if load is not None}
        if len(answers) < len(pods):
            logger.warning("%d of %d pods reported their load", len(answers), len(pods))
        return answers

    async def _load(self, address: str) -> TimedLoad | None:
        answer = await self._client.get(address, "/load", LOAD_LIMIT_BYTES)
        if answer is None or (load := load_of(answer.body)) is None:
            return None
        return TimedLoad(load, answer.at_seconds + self._clock() - time.monotonic())


def load_of(body: bytes) -> Load | None:
    """The load in a pod's answer; None where the answer is invalid."""
    try:
        return loads(Load, body)
    except DocumentError as error:
        logger.debug("no load: %s", error)
        return None


def sample_of(answer: TimedLoad) -> Sample:
    """A pod's load as a sample for the scaling algorithm. Impossible figures (a negative count) become
    unknown."""
    load = believed(answer.load)
    usage = load.kv_cache_usage
    return Sample(
        time_seconds=answer.time_seconds,
        running=load.running,
        waiting=load.waiting,
        generated_tokens=load.generation_tokens_total,
        computed_prompt_tokens=load.prompt_tokens_total,
        kv_cache_usage=None if usage is None else min(1.0, usage),
        first_tokens=load.first_tokens_total,
        ttft=load.ttft,
        tpot=load.tpot,
    )
