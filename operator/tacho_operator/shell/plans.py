"""Makes plans one by one in a child process, namespace by namespace, and caches them by their inputs.

The event loop never waits for a plan: a resource whose plan is not made yet is reconciled again once it is.
"""

from __future__ import annotations

import asyncio
import logging
import pickle
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from tacho_operator.core.planner.inputs import inputs_hash, subject_hash
from tacho_operator.core.planner.types import PlanFailure, PlanResult
from tacho_operator.core.types import PlanInputs
from tacho_operator.shell.log_context import about
from tacho_operator.shell.metrics import Metrics
from tacho_operator.shell.plan_process import LENGTH_BYTES, READY, framed, planning_failed
from tacho_operator.shell.workqueue import Key, Priority, PriorityLines

logger = logging.getLogger(__name__)

CPU_SECONDS = 10
"""CPU time of one plan. The slowest one known takes one second: nothing fits on four kinds of GPU."""
DEADLINE_SECONDS = 60.0
"""Time of one plan, CPU time or not: a busy node may lengthen it six times."""
START_SECONDS = 60.0
"""Time for the process to start: it has nothing to do with what is to be planned."""
IDLE_SECONDS = 60.0
"""The process ends after so long without a plan to make, and its memory is free."""
RETRY_SECONDS = 5.0
LATE_RETRY_SECONDS = 120.0
"""Pause before a plan whose deadline has passed is tried again: the node was busy. It doubles each time."""
LONGEST_LATE_RETRY_SECONDS = 3600.0
RESULT_LIMIT_BYTES = 1024**2
"""A revision could not hold more."""
KEPT_PLANS = 1000
COMMAND = (sys.executable, "-m", "tacho_operator.shell.plan_process", str(CPU_SECONDS))


class DeadlinePassed(Exception):
    """A plan took too long without using up its CPU time, as on a busy node: it is worth another try."""


class PlanProcess:
    """The child process that makes plans; started when needed, killed where a plan takes too long, and
    started again."""

    def __init__(self, command: Sequence[str] = COMMAND, deadline_seconds: float = DEADLINE_SECONDS) -> None:
        self._command = command
        self._deadline_seconds = deadline_seconds
        self._process: Process | None = None

    @property
    def runs(self) -> bool:
        return self._process is not None

    async def plan(self, inputs: PlanInputs) -> PlanResult:
        """The plan, or the failure. Raises DeadlinePassed, and OSError or TimeoutError where the process does
        not start.

        A process that ended without a result may have been killed while it was idle, so a second one tries.
        """
        for _ in range(2):
            if (found := await self._answer(inputs)) is not None:
                return found
        return planning_failed("The planner's process ended without a result.")

    async def _answer(self, inputs: PlanInputs) -> PlanResult | None:
        """As ``plan``; None where the process ended, and no limit of its time explains that."""
        process = self._process or await self._start()
        try:
            async with asyncio.timeout(self._deadline_seconds):
                assert process.stdin is not None
                process.stdin.write(framed(inputs))
                found: PlanResult = await _message(process)
                return found
        except TimeoutError:
            await self.stop()
            raise DeadlinePassed(f"The planner took longer than {self._deadline_seconds:.0f} s.") from None
        except (asyncio.IncompleteReadError, ConnectionError, ValueError):
            await self.stop()
        except asyncio.CancelledError:
            await self.stop()
            raise
        if process.returncode == -signal.SIGXCPU:
            return planning_failed("The planner took longer than its CPU time.")
        return None

    async def _start(self) -> Process:
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
        """Ends the process, at once."""
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


class _Question(NamedTuple):
    """A plan to be made."""

    subject: str
    hash: str
    inputs: PlanInputs


class Plans:
    """The cache of recent plans, and the line of plans still to be made."""

    def __init__(self, process: PlanProcess, *, late: Callable[[Key], None], metrics: Metrics) -> None:
        """``late`` is called for each resource whose plan was not there when it asked, once it is."""
        self._process = process
        self._late = late
        self._metrics = metrics
        self._made: OrderedDict[str, PlanResult] = OrderedDict()
        """Plans and failures by the hash of their inputs; the least recently used goes first."""
        self._failed: dict[Key, tuple[str, PlanFailure]] = {}
        """Each resource's last failure, with the hash of its subject."""
        self._deadlines: dict[Key, int] = {}
        """How many deadlines of each resource's plans have passed in a row."""
        self._questions: dict[Key, _Question] = {}
        self._lines: PriorityLines[Key] = PriorityLines()
        self._making: tuple[Key, str] | None = None
        self._changed = asyncio.Event()

    def answer(self, key: Key, inputs: PlanInputs) -> PlanResult | None:
        """The plan for ``inputs``; None: it is being made, and ``late`` is called with the resource once it
        is there.

        While a plan is made again, the former failure is returned, so that a new node changes no status in
        between.
        """
        subject = subject_hash(inputs)
        question = _Question(subject, inputs_hash(inputs, subject), inputs)
        found = self._made.get(question.hash)
        if found is None:
            self._enqueue(key, question)
            failed_subject, failure = self._failed.get(key, ("", None))
            return failure if failed_subject == subject else None
        self._made.move_to_end(question.hash)
        self._questions.pop(key, None)
        self._failed.pop(key, None)
        if isinstance(found, PlanFailure):
            self._failed[key] = (subject, found)
        return found

    def forget(self, key: Key) -> None:
        """Drops the waiting inputs and the failures of a deleted resource."""
        self._questions.pop(key, None)
        self._failed.pop(key, None)
        self._deadlines.pop(key, None)

    def _enqueue(self, key: Key, question: _Question) -> None:
        """Puts the question in line; a resource has one, the latest."""
        if self._making == (key, question.hash):
            return
        self._questions[key] = question
        self._lines.add(key, key.namespace, Priority.WAITS)
        self._changed.set()

    async def run(self) -> None:
        """Makes the waiting plans until cancelled."""
        try:
            while True:
                key = self._lines.take()
                if key is None:
                    await self._wait()
                elif (question := self._questions.pop(key, None)) is not None:
                    await self._make(key, question)
        finally:
            await self._process.stop()

    async def _wait(self) -> None:
        """Until a plan is asked for. After a while the process ends."""
        self._changed.clear()
        try:
            async with asyncio.timeout(IDLE_SECONDS if self._process.runs else None):
                await self._changed.wait()
        except TimeoutError:
            await self._process.stop()

    async def _make(self, key: Key, question: _Question) -> None:
        if question.hash not in self._made:
            self._making = (key, question.hash)
            try:
                with self._metrics.plan_duration.time():
                    found = await self._process.plan(question.inputs)
                self._deadlines.pop(key, None)
            except DeadlinePassed as error:
                found = self._again_later(key, question.hash, str(error))
            except (OSError, TimeoutError) as error:
                logger.warning("plans wait %.0f s: their process does not start: %s", RETRY_SECONDS, error)
                await asyncio.sleep(RETRY_SECONDS)
                self._making = None
                self._enqueue(key, self._questions.get(key, question))
                return
            finally:
                self._making = None
            self._made[question.hash] = found
            if len(self._made) > KEPT_PLANS:
                self._made.popitem(last=False)
        self._late(key)

    def _again_later(self, key: Key, inputs: str, why: str) -> PlanFailure:
        """The failure until the plan is tried again, as it says nothing about the inputs."""
        passed = self._deadlines[key] = self._deadlines.get(key, 0) + 1
        delay = min(LATE_RETRY_SECONDS * 2.0 ** (passed - 1), LONGEST_LATE_RETRY_SECONDS)

        def again() -> None:
            failure = self._made.pop(inputs, None)
            sharing = {other for other, (_, found) in self._failed.items() if found is failure}
            for other in sorted({key, *sharing}):
                self._late(other)

        asyncio.get_running_loop().call_later(delay, again)
        logger.warning("%s/%s: %s It is retried in %.0f s.", *key, why, delay, extra=about(key))
        return planning_failed(f"{why} It is retried.")
