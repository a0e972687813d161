"""Switches llama.cpp's threads between spinning and sleeping while they wait for each other.

They synchronise about a hundred times per token. A small model's threads that sleep lose half of their speed
and more to being woken. Threads that spin take the CPU from the very thread they wait for, as soon as another
program uses the same cores. So they spin on cores of their own and sleep on shared ones; how long they queue
for a CPU shows which these are.

OpenMP's library (libgomp) reads its environment once. A later switch is documented, too: with more OpenMP
threads than CPUs it spins ``throttled``, and with OMP_WAIT_POLICY=passive that is not at all (libgomp's
manual, GOMP_SPINCOUNT). So idle OpenMP threads, held for as long as the cores are shared, are the switch.
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
"""Number of short samples after threads have begun to spin. A wrong try stops the engine and its neighbour
until the first sample ends. Six turns of the scheduler (3 to 4 ms each) are as reliable as thirty."""
BUSY_SHARE = 0.2
"""A sample with less than this share of one CPU in use is no evidence of other demand for it."""
SHARED, CALM = 0.2, 0.12
"""Share of their runnable time that threads queue for a CPU. Above SHARED the cores are shared, below CALM
they are not: 0.4 to 0.5 was measured beside a second engine of equal CPU shares, 0.01 to 0.1 without."""
PATIENCE, MOST_PATIENCE = 32, 256
"""Number of samples asleep before spinning is tried, whatever they show: an engine with more CPU shares (its
CPU request) learns of free cores only by trying. The number doubles, up to MOST_PATIENCE, each time that
spinning proves wrong within SETTLED samples; a wrong try costs one short sample."""
CALM_COUNTS = 16
"""A sample without a queue counts as this many samples towards the next try."""
SETTLED = 10


@dataclass(frozen=True)
class WaitPolicy:
    spinning: bool = False
    """At first it is not known whether the cores are shared: a second engine's start must not starve the
    first."""
    samples: int = 0
    """Since threads began to wait this way; asleep, calm ones count more."""
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
SPINS = 20_000
"""Turns before a spinning thread goes to sleep after all: 1 ms where the processor's pause takes 60 ns
(Sapphire Rapids), 0.2 ms where it takes a sixth of that. From 3000 turns on nothing more was gained there;
an engine that has nothing to do sleeps at once."""
CHOICES = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "OMP_THREAD_LIMIT", "OMP_DYNAMIC")
"""Environment variables with which the user chooses how OpenMP threads wait; with any of these set, the
launcher does not change it."""
TASKS = Path("/proc/self/task")


class Switch:
    """Holds the idle OpenMP threads that make libgomp's waiting threads sleep; it holds them from the
    start."""

    def __init__(self, library: ctypes.CDLL, cpus: int) -> None:
        self._library = library
        self._cpus = cpus
        """CPUs that libgomp counted when it was loaded."""
        self._release: threading.Event | None = None
        self.sleep()

    def sleep(self) -> None:
        """Makes waiting threads sleep; returns when that is in effect."""
        if self._release is not None:
            return
        self._release, held = threading.Event(), threading.Event()
        arguments = (self._release, held)
        threading.Thread(target=self._hold, args=arguments, name="omp-sleep", daemon=True).start()
        held.wait()

    def spin(self) -> None:
        """Makes waiting threads spin again, by ending the held threads."""
        if self._release is not None:
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
    """libgomp counts this thread's CPUs as it is loaded. On 64 of which two are used, 64 threads would have
    to be held; so it is shown no more than are used."""
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
    """The CPU and queue times of all threads; empty where the kernel has none
    (Documentation/scheduler/sched-stats.rst)."""
    times: dict[str, tuple[float, float]] = {}
    for thread in os.listdir(tasks):
        with contextlib.suppress(OSError, ValueError):  # it has ended
            ran, queued, _ = (tasks / thread / "schedstat").read_bytes().split()
            times[thread] = (int(ran) / 1e9, int(queued) / 1e9)
    return times
