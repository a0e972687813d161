"""Switches llama.cpp's threads between spinning and sleeping while they wait for each other.

They synchronise about a hundred times per token. Threads of a small model that sleep lose more than half of
their speed to wake-ups. Threads that spin take the CPU from the thread they wait for, if another program uses
the same cores. So they spin on cores of their own and sleep on shared ones. The time that they queue for a
CPU shows which cores are shared.

OpenMP's library (libgomp) reads its environment only once. But with more OpenMP threads than CPUs it spins
only ``throttled`` times, with OMP_WAIT_POLICY=passive not at all (libgomp's manual, GOMP_SPINCOUNT). So idle
OpenMP threads, kept while cores are shared, act as the switch.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import threading
import time
from collections.abc import Iterator, Mapping, MutableMapping
from dataclasses import dataclass
from pathlib import Path

# --- the policy, pure -----------------------------------------------------------------------------
SAMPLE_SECONDS, SHORT_SAMPLE_SECONDS = 0.1, 0.025
SHORT_SAMPLES = 4
"""Number of short samples after threads begin to spin. If that was wrong, engine and neighbour stand still
until the first sample ends. Six scheduler turns (3 to 4 ms each) are as reliable as thirty.
"""
BUSY_SHARE = 0.2
"""Share of one CPU below which a sample shows nothing about other programs."""
SHARED, CALM = 0.2, 0.12
"""Limits of the share of their runnable time for which threads queue for a CPU. Above SHARED cores count as
shared, below CALM as free. Measured: 0.4 to 0.5 beside a second engine with equal CPU shares, 0.01 to 0.1
alone.
"""
PATIENCE, MOST_PATIENCE = 32, 256
"""Number of samples for which threads sleep before spinning is tried, and the most.

Spinning must be tried in any case: an engine with a larger CPU request than its neighbour detects free cores
only so. The number doubles each time that spinning proves wrong within SETTLED samples.
"""
CALM_COUNTS = 16
"""A sample without a queue counts as this many samples towards the next try."""
SETTLED = 10


@dataclass(frozen=True)
class WaitPolicy:
    spinning: bool = False
    """Whether threads spin now; at first they sleep, so that a second engine's start is not starved."""
    samples: int = 0
    """Number of samples since the last switch; while threads sleep, samples without a queue count more."""
    patience: int = PATIENCE


def sample_seconds(state: WaitPolicy) -> float:
    """Seconds until the next sample."""
    return SHORT_SAMPLE_SECONDS if state.spinning and state.samples < SHORT_SAMPLES else SAMPLE_SECONDS


def next_policy(state: WaitPolicy, ran_seconds: float, queued_seconds: float) -> WaitPolicy:
    """The policy after a sample, from the seconds in which all threads ran and in which they queued for a
    CPU."""
    runnable = ran_seconds + queued_seconds
    if runnable < BUSY_SHARE * sample_seconds(state):
        return state
    share = queued_seconds / runnable
    if not state.spinning:
        samples = state.samples + (CALM_COUNTS if share < CALM else 1)
        spins = samples >= state.patience
        return WaitPolicy(spinning=spins, samples=0 if spins else samples, patience=state.patience)
    if share <= SHARED:
        return WaitPolicy(spinning=True, samples=state.samples + 1, patience=state.patience)
    settled = state.samples >= SETTLED
    return WaitPolicy(patience=PATIENCE if settled else min(2 * state.patience, MOST_PATIENCE))


Times = Mapping[str, tuple[float, float]]
"""Times of each thread: seconds on a CPU, seconds runnable without a CPU."""


def passed(before: Times, after: Times) -> tuple[float, float]:
    """(seconds on a CPU, seconds in the queue for one) between two readings, of the threads that are in
    both."""
    both = before.keys() & after.keys()
    return (
        sum(after[thread][0] - before[thread][0] for thread in both),
        sum(after[thread][1] - before[thread][1] for thread in both),
    )


# --- the switch -----------------------------------------------------------------------------------
TASKS = Path("/proc/self/task")
EXIT_POLLS, EXIT_POLL_SECONDS = 100, 0.001
"""Most looks whether the kernel still counts a thread that has ended, and the pause after each."""


class ReservedThreads:
    """Threads that only wait, and leave their places to those that libgomp starts.

    At a pod's limit of threads it could start none, and would end the engine.
    """

    def __init__(self) -> None:
        self._leave, self._waiting = threading.Event(), list[threading.Thread]()

    def take(self, count: int) -> bool:
        """Starts ``count`` threads. False, and none is left, where so many cannot be started."""
        leave, waiting = threading.Event(), list[threading.Thread]()
        try:
            for _ in range(count):
                thread = threading.Thread(target=leave.wait, name="omp-place", daemon=True)
                thread.start()
                waiting.append(thread)
        except RuntimeError:
            leave.set()
            return False
        self._leave, self._waiting = leave, waiting
        return True

    def give(self) -> None:
        """Ends the threads, and returns when their places are free."""
        self._leave.set()
        while self._waiting:
            thread = self._waiting.pop()
            thread.join()
            for _ in range(EXIT_POLLS):
                if not (TASKS / str(thread.native_id)).exists():
                    break
                time.sleep(EXIT_POLL_SECONDS)


SPINS = 20_000
"""Number of spins before a thread sleeps after all: 1 ms on Sapphire Rapids (60 ns each), 0.2 ms on CPUs with
a shorter pause. More than 3,000 brought no gain.
"""
CHOICES = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "OMP_THREAD_LIMIT", "OMP_DYNAMIC")
"""Environment variables of a user for how OpenMP threads wait. If one is set, nothing is changed here."""


class Switch:
    """Makes libgomp's waiting threads sleep, by keeping idle OpenMP threads; at the start it keeps them."""

    def __init__(self, library: ctypes.CDLL, cpus: int) -> None:
        self._library = library
        self._cpus = cpus
        """Number of CPUs that libgomp saw when it was loaded."""
        self._release: threading.Event | None = None
        self._reserved, self._is_full = ReservedThreads(), False
        self.sleep()

    def sleep(self) -> None:
        """Makes waiting threads sleep; returns when that is in effect."""
        if self._release is not None:
            return
        self._reserved.give()
        self._release, held = threading.Event(), threading.Event()
        arguments = (self._release, held)
        threading.Thread(target=self._hold, args=arguments, name="omp-sleep", daemon=True).start()
        held.wait()

    def spin(self) -> None:
        """Makes waiting threads spin again, by ending the held threads. Others keep their places; where these
        cannot be started, the threads sleep from then on.
        """
        if self._release is None or self._is_full:
            return
        self._is_full = not self._reserved.take(self._cpus + 1)
        if not self._is_full:
            self._release.set()
            self._release = None

    def _hold(self, release: threading.Event, held: threading.Event) -> None:
        # Each of the team's threads calls a function that has no effect, and then waits, asleep, for more.
        self._library.GOMP_parallel(self._library.omp_get_level, None, self._cpus + 1, 0)
        held.set()
        release.wait()


def prepare(environment: MutableMapping[str, str], threads: int | None) -> Switch | None:
    """Prepares OpenMP before llama.cpp and libgomp are loaded, and returns the switch.

    None: the user has chosen a policy, there is one thread only, or libgomp is missing.
    """
    if threads == 1 or any(name in environment for name in CHOICES):
        return None
    environment.update({"OMP_WAIT_POLICY": "passive", "GOMP_SPINCOUNT": str(SPINS)})
    with _counted(threads) as cpus:
        try:
            return Switch(ctypes.CDLL("libgomp.so.1"), cpus)
        except OSError:
            return None  # loading llama.cpp reports it


@contextlib.contextmanager
def _counted(threads: int | None) -> Iterator[int]:
    """Limits the CPUs that libgomp sees while it is loaded to the number of threads. Otherwise on 64 CPUs 64
    idle threads would have to be kept.
    """
    all_cpus = os.sched_getaffinity(0)
    shown = set(sorted(all_cpus)[: threads or len(all_cpus)])
    with contextlib.suppress(OSError):
        os.sched_setaffinity(0, shown)
    try:
        yield len(os.sched_getaffinity(0))
    finally:
        with contextlib.suppress(OSError):
            os.sched_setaffinity(0, all_cpus)


def adapt(switch: Switch) -> None:
    """Starts a thread that lets OpenMP threads spin or sleep depending on the load of the cores. Where the
    kernel does not report the load, threads sleep."""
    threading.Thread(target=_watch, args=(switch,), name="omp-watch", daemon=True).start()


def _watch(switch: Switch) -> None:
    state, before = WaitPolicy(), read_times()
    while before:
        time.sleep(sample_seconds(state))
        after = read_times()
        state = next_policy(state, *passed(before, after))
        (switch.spin if state.spinning else switch.sleep)()
        before = after


def read_times(tasks: Path = TASKS) -> Times:
    """The CPU and queue times of all threads of this process, the engine; empty where the kernel has none
    (Documentation/scheduler/sched-stats.rst)."""
    times: dict[str, tuple[float, float]] = {}
    for thread in os.listdir(tasks):
        with contextlib.suppress(OSError, ValueError):  # it has ended
            ran, queued, _ = (tasks / thread / "schedstat").read_bytes().split()
            times[thread] = (int(ran) / 1e9, int(queued) / 1e9)
    return times
