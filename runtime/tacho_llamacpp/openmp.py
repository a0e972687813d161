"""Switches OpenMP's library (libgomp) between spinning and sleeping while llama.cpp serves.

libgomp reads its environment once. What it does follow later is documented: with more OpenMP threads than
CPUs it spins ``throttled``, and with OMP_WAIT_POLICY=passive that is not at all (libgomp's manual,
GOMP_SPINCOUNT). So idle OpenMP threads, held for as long as the cores are shared, are the switch.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import threading
import time
from collections.abc import Iterator, MutableMapping
from pathlib import Path

from tacho_llamacpp.waiting import Times, WaitPolicy, next_policy, passed, sample_seconds

SPINS = 20_000
"""Turns before a spinning thread goes to sleep after all: 1 ms where the processor's pause takes 60 ns
(Sapphire Rapids), 0.2 ms where it takes a sixth of that. From 3000 turns on nothing more was gained there;
an engine that has nothing to do sleeps at once."""
CHOICES = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "OMP_THREAD_LIMIT", "OMP_DYNAMIC")
"""Environment variables with which the user chooses how OpenMP threads wait; with any of these set, the
launcher does not change it."""
TASKS = Path("/proc/self/task")


class Switch:
    """Threads sleep from the start on, until ``spin``."""

    def __init__(self, library: ctypes.CDLL, cpus: int) -> None:
        self._library = library
        self._cpus = cpus
        """CPUs that libgomp counted when it was loaded."""
        self._release: threading.Event | None = None
        self.sleep()

    def sleep(self) -> None:
        """Returns when the threads are held."""
        if self._release is not None:
            return
        self._release, held = threading.Event(), threading.Event()
        arguments = (self._release, held)
        threading.Thread(target=self._hold, args=arguments, name="omp-sleep", daemon=True).start()
        held.wait()

    def spin(self) -> None:
        """The held threads end with the one that began them."""
        if self._release is not None:
            self._release.set()
            self._release = None

    def _hold(self, release: threading.Event, held: threading.Event) -> None:
        # Each of the team's threads calls a function that has no effect, and then waits, asleep, for more.
        self._library.GOMP_parallel(self._library.omp_get_level, None, self._cpus + 1, 0)
        held.set()
        release.wait()


def prepare(environment: MutableMapping[str, str], threads: int | None) -> Switch | None:
    """Prepares OpenMP before llama.cpp and libgomp are loaded. None: the user has chosen, one thread waits
    for no other, or libgomp is missing."""
    if threads == 1 or any(name in environment for name in CHOICES):
        return None
    environment.update({"OMP_WAIT_POLICY": "passive", "GOMP_SPINCOUNT": str(SPINS)})
    with _counted(threads) as cpus:
        try:
            return Switch(ctypes.CDLL("libgomp.so.1"), cpus)
        except OSError:
            return None  # loading llama.cpp says so


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
    """Empty where the kernel does not tell (its Documentation/scheduler/sched-stats.rst)."""
    times: dict[str, tuple[float, float]] = {}
    for thread in os.listdir(tasks):
        with contextlib.suppress(OSError, ValueError):  # it has ended
            ran, queued, _ = (tasks / thread / "schedstat").read_bytes().split()
            times[thread] = (int(ran) / 1e9, int(queued) / 1e9)
    return times
