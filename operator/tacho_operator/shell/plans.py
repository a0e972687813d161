"""Makes plans one after the other in a child process, alternating between namespaces, and caches them by
their inputs. A namespace whose plans took more than its share of the time waits for those of others.

The event loop does not wait for a plan: its resource is reconciled again when the plan is made. Inputs that
wait and plans that are kept are compressed: as objects, hostile ones take a hundred times as much memory.
"""

from __future__ import annotations

import asyncio
import logging
import pickle
import signal
import sys
import time
import zlib
from asyncio.subprocess import PIPE, Process
from collections import OrderedDict
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from tacho_operator.core.pauses import doubling_seconds
from tacho_operator.core.planner.inputs import inputs_hash, subject_hash
from tacho_operator.core.planner.types import PlanFailure, PlanResult
from tacho_operator.core.types import PlanInputs
from tacho_operator.shell.budget import NamespaceBudget
from tacho_operator.shell.log_context import about
from tacho_operator.shell.metrics import Metrics
from tacho_operator.shell.plan_process import LENGTH_BYTES, READY, framed, planning_failed
from tacho_operator.shell.waiting_plans import Question, WaitingPlans
from tacho_operator.shell.workqueue import Key, Priority, PriorityLines

logger = logging.getLogger(__name__)

CPU_SECONDS = 10
"""CPU seconds for a plan. The slowest known takes one (no model size fits on any of four kinds of GPU)."""
DEADLINE_SECONDS = 60.0
"""Seconds for one plan, whether it uses the CPU or waits for it: a busy node may make it six times slower."""
START_SECONDS = 60.0
"""Seconds for the start of the process, counted apart from the plan."""
IDLE_SECONDS = 60.0
"""Seconds without a plan to make after which the process ends, to free its memory."""
END_SECONDS = 1.0
"""Seconds for the end of a process that has closed its output; then it is killed."""
RETRY_SECONDS = 5.0
LATE_RETRY_SECONDS = 120.0
"""Seconds until a plan that missed its deadline is retried; doubled each time. The node was probably busy."""
LONGEST_LATE_RETRY_SECONDS = 3600.0
RESULT_LIMIT_BYTES = 1024**2
"""Longest result in bytes; a ControllerRevision could not store more."""
KEPT_PLANS, KEPT_BYTES = 1000, 16 << 20
"""Most plans in the cache, and most bytes of all of them, compressed."""
COMMAND = (sys.executable, "-m", "tacho_operator.shell.plan_process", str(CPU_SECONDS))


class DeadlinePassed(Exception):
    """A plan took longer than DEADLINE_SECONDS without using up its CPU seconds, as on a busy node. It may be
    tried again.
    """


class PlanProcess:
    """The child process that makes plans. It starts when needed, is killed when a plan takes too long, and is
    then started again.
    """

    def __init__(self, command: Sequence[str] = COMMAND, deadline_seconds: float = DEADLINE_SECONDS) -> None:
        self._command = command
        self._deadline_seconds = deadline_seconds
        self._process: Process | None = None

    @property
    def runs(self) -> bool:
        return self._process is not None

    async def plan(self, inputs: PlanInputs) -> PlanResult:
        """The plan, or the failure. Raises DeadlinePassed; OSError or TimeoutError where the process does not
        start.

        If the process ends without a result, it may have been killed while idle, so one more process tries.
        """
        for _ in range(2):
            if (found := await self._answer(inputs)) is not None:
                return found
        return planning_failed("The planner's process ended without a result.")

    async def _answer(self, inputs: PlanInputs) -> PlanResult | None:
        """As ``plan``; None where the process ended for another reason than a limit of its own."""
        process = self._process or await self._start_process()
        try:
            async with asyncio.timeout(self._deadline_seconds):
                assert process.stdin is not None
                process.stdin.write(framed(inputs))
                found: PlanResult = await _message(process)
                return found
        except TimeoutError:
            await self.stop()
            raise DeadlinePassed(f"The planner took longer than {self._deadline_seconds:.0f} s.") from None
        except (asyncio.IncompleteReadError, ConnectionError):
            # A process that ends keeps its status only where it is waited for before it is killed.
            with suppress(TimeoutError):
                async with asyncio.timeout(END_SECONDS):
                    await process.wait()
            await self.stop()
        except ValueError:
            await self.stop()
        except asyncio.CancelledError:
            await self.stop()
            raise
        if process.returncode == -signal.SIGXCPU:
            return planning_failed("The planner took longer than its CPU time.")
        return None

    async def _start_process(self) -> Process:
        self._process = await asyncio.create_subprocess_exec(
            *self._command, stdin=PIPE, stdout=PIPE, start_new_session=True
        )
        try:
            async with asyncio.timeout(START_SECONDS):
                if await _message(self._process) != READY:
                    raise OSError("the process that makes plans does not answer")
        except BaseException as error:
            await self.stop()
            if isinstance(error, asyncio.IncompleteReadError):
                raise OSError("the process that makes plans ended at its start") from None
            raise
        return self._process

    async def stop(self) -> None:
        """Kills the process at once."""
        process, self._process = self._process, None
        if process is not None and process.returncode is None:
            process.kill()
            await process.wait()


async def _message(process: Process) -> Any:
    """The next message of the process. Raises IncompleteReadError where it has ended."""
    assert process.stdout is not None
    length = int.from_bytes(await process.stdout.readexactly(LENGTH_BYTES))
    if length > RESULT_LIMIT_BYTES:
        raise ValueError(f"a plan of {length} bytes")
    return pickle.loads(await process.stdout.readexactly(length))  # noqa: S301 - from the own process


def packed(document: PlanInputs | PlanResult) -> bytes:
    """``document`` as few bytes: inputs have a user's spec and a model's facts, plans a part of these."""
    return zlib.compress(pickle.dumps(document, pickle.HIGHEST_PROTOCOL), level=1)


def unpacked(document: bytes) -> Any:
    """The inputs or the result in ``document``, which this process has packed."""
    return pickle.loads(zlib.decompress(document))  # noqa: S301 - from the own process


class PlanCache:
    """Recent plans and failures by the hash of their inputs, packed. The least recently used goes first."""

    def __init__(self) -> None:
        self._made: OrderedDict[str, bytes] = OrderedDict()
        self._bytes = 0

    def __contains__(self, inputs: str) -> bool:
        return inputs in self._made

    def get(self, inputs: str) -> bytes | None:
        found = self._made.get(inputs)
        if found is not None:
            self._made.move_to_end(inputs)
        return found

    def put(self, inputs: str, made: bytes) -> None:
        self.pop(inputs)
        self._made[inputs] = made
        self._bytes += len(made)
        while len(self._made) > KEPT_PLANS or self._bytes > KEPT_BYTES:
            self.pop(next(iter(self._made)))

    def pop(self, inputs: str) -> bytes | None:
        former = self._made.pop(inputs, None)
        self._bytes -= len(former or b"")
        return former


class Plans:
    """The cache of recent plans, and the queue of plans to be made."""

    def __init__(self, process: PlanProcess, *, late: Callable[[Key], None], metrics: Metrics) -> None:
        """``late``: called with the resource when a plan is ready that was not in the cache."""
        self._process = process
        self._late = late
        self._metrics = metrics
        self._made = PlanCache()
        self._failed: dict[Key, tuple[str, bytes]] = {}
        """Each resource's last failure, packed, with the hash of its subject."""
        self._deadlines: dict[Key, int] = {}
        """Number of deadlines that each resource's plans have missed in a row."""
        self._waiting = WaitingPlans()
        self._lines: PriorityLines[Key] = PriorityLines()
        self._making: tuple[Key, str] | None = None
        self._changed = asyncio.Event()
        self._budget = NamespaceBudget(cpu_clock=time.monotonic)
        """The process's time that each namespace has used: facts may be made for plans that take seconds."""

    def answer(self, key: Key, inputs: PlanInputs) -> PlanResult | None:
        """The plan for ``inputs``; None: it is being made, and ``late`` is called with the resource once it
        is there.

        While a plan is made again, the former failure is returned, so that a new node changes no status in
        between.
        """
        subject = subject_hash(inputs)
        digest = inputs_hash(inputs, subject)
        made = self._made.get(digest)
        if made is None:
            waiting = self._waiting.get(key)
            if waiting is None or waiting.hash != digest:
                self._enqueue(key, Question(digest, packed(inputs)))
            failed_subject, failure = self._failed.get(key, ("", b""))
            return unpacked(failure) if failed_subject == subject else None
        self._waiting.forget(key)
        self._failed.pop(key, None)
        found: PlanResult = unpacked(made)
        if isinstance(found, PlanFailure):
            self._failed[key] = (subject, made)
        return found

    def forget(self, key: Key) -> None:
        """Drops the waiting inputs and the failures of a deleted resource."""
        self._waiting.forget(key)
        self._failed.pop(key, None)
        self._deadlines.pop(key, None)

    def _enqueue(self, key: Key, question: Question) -> None:
        """Puts the inputs in the queue. A resource has at most one entry, the latest.

        Where its namespace has no place for them, the resource is reconciled again when a plan is made.
        """
        if self._making != (key, question.hash) and self._waiting.put(key, question):
            self._lines.add(key, key.namespace, Priority.WAITS)
            self._changed.set()

    async def run(self) -> None:
        """Makes the waiting plans until cancelled."""
        try:
            while True:
                key = self._lines.take(self._is_within_share) or self._lines.take()
                if key is None:
                    await self._wait()
                elif (question := self._waiting.pop(key)) is not None:
                    await self._make_plan(key, question)
        finally:
            await self._process.stop()

    def _is_within_share(self, namespace: str) -> bool:
        """Whether the namespace's plans need not wait until those of others are made."""
        return not self._budget.is_over(namespace)

    async def _wait(self) -> None:
        """Waits for the next request for a plan. After IDLE_SECONDS the process is stopped."""
        self._changed.clear()
        retried = self._waiting.all_retried()
        for key in retried:
            self._late(key)
        idle = IDLE_SECONDS if self._process.runs else None
        try:
            async with asyncio.timeout(RETRY_SECONDS if retried else idle):
                await self._changed.wait()
        except TimeoutError:
            if not retried:
                await self._process.stop()

    async def _make_plan(self, key: Key, question: Question) -> None:
        if question.hash not in self._made:
            self._making = (key, question.hash)
            try:
                found = await self._planned(key.namespace, question)
                self._deadlines.pop(key, None)
            except DeadlinePassed as error:
                found = self._again_later(key, question.hash, str(error))
            except (OSError, TimeoutError) as error:
                logger.warning("plans wait %.0f s: their process does not start: %s", RETRY_SECONDS, error)
                await asyncio.sleep(RETRY_SECONDS)
                self._making = None
                self._enqueue(key, self._waiting.get(key) or question)
                return
            except Exception as error:  # one plan must not end the process
                logger.exception("%s/%s: the plan failed", *key, extra=about(key))
                found = planning_failed(f"The planner failed: {type(error).__name__}.")
            finally:
                self._making = None
            self._made.put(question.hash, packed(found))
        for other in (key, *self._waiting.retried(key.namespace)):
            self._late(other)

    async def _planned(self, namespace: str, question: Question) -> PlanResult:
        """The plan. What it takes is charged to the namespace."""
        began = self._budget.cpu_clock()
        try:
            with self._metrics.plan_duration.time():
                return await self._process.plan(unpacked(question.inputs))
        finally:
            self._budget.charge(namespace, self._budget.cpu_clock() - began)

    def _again_later(self, key: Key, inputs: str, why: str) -> PlanFailure:
        """Failure to show until a plan that missed its deadline is tried again; its inputs may be fine."""
        passed = self._deadlines[key] = self._deadlines.get(key, 0) + 1
        delay = doubling_seconds(LATE_RETRY_SECONDS, LONGEST_LATE_RETRY_SECONDS, passed)

        def again() -> None:
            failure = self._made.pop(inputs)
            sharing = {other for other, (_, found) in self._failed.items() if found is failure}
            for other in sorted({key, *sharing}):
                self._late(other)

        asyncio.get_running_loop().call_later(delay, again)
        logger.warning("%s/%s: %s It is retried in %.0f s.", *key, why, delay, extra=about(key))
        return planning_failed(f"{why} It is retried.")
