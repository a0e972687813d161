"""Waiting for the model: until fetch has brought it, and until it is known to be the planned one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from tacho_contract.failure import FailedError, FailureClass
from tacho_contract.fetch import FetchProgress
from tacho_contract.launch import RuntimeConfig
from tacho_contract.units import part_of
from tacho_runtime.headers.content import Reading
from tacho_runtime.supervisor import model_content, store

POLL_SECONDS = 0.5


async def root(
    config: RuntimeConfig, tell: Callable[[FetchProgress | None], None], check_budget: Callable[[], None]
) -> str:
    """The model's folder or file, once it is there. ``tell`` is told how far fetch is, again and again.
    Raises FailedError, also what ``check_budget`` raises."""
    path = config.model_path
    if config.fetch_dir:
        fetched = await _fetched(config.fetch_dir, tell, check_budget)
        path = path or fetched
    if not path:
        raise FailedError.of(
            FailureClass.INVALID_CONFIG,
            f"fetch is complete but names no folder in {config.fetch_dir}",
            "runtime and fetch must be of one release: let the operator make the pod again",
        )
    return path


async def _fetched(
    fetch_dir: str, tell: Callable[[FetchProgress | None], None], check_budget: Callable[[], None]
) -> str:
    while True:
        path = store.fetched_path(fetch_dir)
        tell(store.read_progress(fetch_dir))
        if path is not None:
            return path
        check_budget()
        await asyncio.sleep(POLL_SECONDS)


async def compare(
    config: RuntimeConfig, path: str, say: Callable[[str], None], check_budget: Callable[[], None]
) -> None:
    """Holds what is at ``path`` against the plan. Raises FailedError, also what ``check_budget`` raises."""
    reading = Reading()
    comparing = asyncio.ensure_future(asyncio.to_thread(model_content.check, config, path, reading))
    try:
        while not comparing.done():
            await asyncio.wait({comparing}, timeout=POLL_SECONDS)
            if reading.total_bytes and not comparing.done():
                done = part_of(reading.done_bytes, reading.total_bytes)
                say(f"comparing every byte of the model with the plan: {done}")
                check_budget()
        comparing.result()
    finally:
        reading.stopped.set()  # a thread cannot be cancelled
