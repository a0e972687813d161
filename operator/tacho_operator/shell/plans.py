"""Makes plans one after the other in a process of its own, and caches them by their inputs.

The event loop does not wait for a plan: its resources are reconciled again when it is made.
"""

from __future__ import annotations

import asyncio
import logging
import multiprocessing
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool

from tacho_operator.core.planner.inputs import inputs_hash, subject_hash
from tacho_operator.core.planner.types import PlanFailure, PlanResult
from tacho_operator.core.types import PlanInputs
from tacho_operator.shell.metrics import Metrics
from tacho_operator.shell.plan_process import begin, limited_result, planning_failed
from tacho_operator.shell.workqueue import Key

logger = logging.getLogger(__name__)

DEADLINE_SECONDS, RETRY_SECONDS = 60.0, 120.0
"""Seconds for one plan, and until a later one is tried again: the node was probably busy."""
IDLE_SECONDS = 60.0
"""Seconds without a plan to make after which the process ends, to free its memory."""
KEPT_PLANS = 1000


class Plans:
    """The cache of recent plans, and the process that makes them."""

    def __init__(self, *, late: Callable[[Key], None], metrics: Metrics) -> None:
        """``late``: called with each waiting resource when its plan is ready."""
        self._late, self._metrics = late, metrics
        self._made: OrderedDict[str, PlanResult] = OrderedDict()
        self._failed: dict[Key, tuple[str, PlanFailure]] = {}
        """Each resource's last failure, with the hash of its subject."""
        self._waiting: dict[str, set[Key]] = {}
        """Resources that wait for a plan, by the hash of its inputs."""
        self._questions: asyncio.Queue[tuple[str, PlanInputs]] = asyncio.Queue()
        self._pool: ProcessPoolExecutor | None = None

    def answer(self, key: Key, inputs: PlanInputs) -> PlanResult | None:
        """The plan for ``inputs``; None: it is being made, and ``late`` is called with the resource once it
        is there.

        While a plan is made again, the former failure is returned, so that a new node changes no status in
        between.
        """
        subject = subject_hash(inputs)
        digest = inputs_hash(inputs, subject)
        if (found := self._made.get(digest)) is None:
            if digest not in self._waiting:
                self._questions.put_nowait((digest, inputs))
            self._waiting.setdefault(digest, set()).add(key)
            failed_subject, failure = self._failed.get(key, ("", None))
            return failure if failed_subject == subject else None
        self._made.move_to_end(digest)
        self._failed.pop(key, None)
        if isinstance(found, PlanFailure):
            self._failed[key] = (subject, found)
        return found

    def forget(self, key: Key) -> None:
        """Drops the failure of a deleted resource."""
        self._failed.pop(key, None)

    async def run(self) -> None:
        """Makes the waiting plans until cancelled."""
        try:
            while True:
                try:
                    async with asyncio.timeout(IDLE_SECONDS if self._pool else None):
                        digest, inputs = await self._questions.get()
                except TimeoutError:
                    self._end_process()
                    continue
                self._made[digest] = await self._plan(digest, inputs)
                if len(self._made) > KEPT_PLANS:
                    self._made.popitem(last=False)
                for key in sorted(self._waiting.pop(digest, ())):
                    self._late(key)
        finally:
            self._end_process()

    async def _plan(self, digest: str, inputs: PlanInputs) -> PlanResult:
        """The plan, or the failure. A process that was killed, perhaps while idle, is made once more."""
        for _ in range(2):
            spawn = multiprocessing.get_context("spawn")
            self._pool = self._pool or ProcessPoolExecutor(1, spawn, initializer=begin)
            try:
                with self._metrics.plan_duration.time():
                    async with asyncio.timeout(DEADLINE_SECONDS):
                        return await asyncio.get_running_loop().run_in_executor(
                            self._pool, limited_result, inputs
                        )
            except TimeoutError:
                self._end_process()
                asyncio.get_running_loop().call_later(RETRY_SECONDS, self._forget_plan, digest)
                return planning_failed(
                    f"The planner took longer than {DEADLINE_SECONDS:.0f} s. It is retried."
                )
            except BrokenProcessPool:
                self._end_process()
        return planning_failed("The planner took more CPU time or memory than it may.")

    def _forget_plan(self, digest: str) -> None:
        failure = self._made.pop(digest, None)
        for key in [key for key, (_, found) in self._failed.items() if found is failure]:
            self._late(key)

    def _end_process(self) -> None:
        """A process that still computes ends by its limit of CPU time."""
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)
            self._pool = None
