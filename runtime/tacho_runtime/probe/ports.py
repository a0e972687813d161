"""What the phases of a probe ask of the world: one engine under test, and the machine it runs on.

Sockets and a real clock stand behind it when an engine is measured; a simulated engine on a clock of its own
when the probe itself is tried against laws that are known.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

from tacho_contract.measurement import Workload
from tacho_runtime.probe.asking.counters import Counters
from tacho_runtime.probe.asking.streams import Stream


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuSample:
    """One GPU at one moment. None: not told."""

    index: int
    foreign_memory_bytes: int | None = None
    """Of processes that are not the engine's."""
    utilization_percent: float | None = None
    sm_clock_mhz: int | None = None
    power_watts: float | None = None
    throttle_reasons: tuple[str, ...] = ()
    """By NVML's names, those that slow the clocks down: SwPowerCap, HwThermalSlowdown, …"""


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineSample:
    """The machine at one moment; totals only ever grow. None: not readable here."""

    stamp_ns: int
    """Of the monotonic clock."""
    calibration_ns: int | None = None
    """CPU time that a fixed piece of work took just now; None where it was not run."""
    node_busy_microseconds: int | None = None
    """CPU time that anything on the node has used, by /proc/stat, on the CPUs that this process may run on;
    what a hypervisor took from them is in it."""
    node_cpus: int | None = None
    """How many those are."""
    own_busy_microseconds: int | None = None
    """CPU time that this container has used, by its cgroup."""
    pressure_microseconds: int | None = None
    """Time in which some task of this container waited for a CPU (PSI, ``some``); where its cgroup does not
    tell, that of all its threads added up, less what those waited last that have ended."""
    throttled_microseconds: int | None = None
    """Time in which the cgroup's limit kept its tasks from running."""
    gpus: tuple[GpuSample, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """The engine's own counters at one moment."""

    stamp_ns: int
    """Middle of the request that read them."""
    counters: Counters


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientHealth:
    """How well the asking side kept up while it measured."""

    lag_milliseconds_p99: float = 0.0
    """By how much its event loops woke too late."""
    late_send_milliseconds_p99: float = 0.0
    """By how much its requests were sent after they were due and their connections stood."""
    cpu_share: float = 0.0
    """Of one CPU, in its busiest process."""
    processes: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """What one loop of requests left behind, closed or open."""

    concurrency: int
    """Streams of a closed loop; the most at one time in an open one."""
    start_ns: int
    end_ns: int
    """The window in which tokens are counted; monotonic clock."""
    streams: tuple[Stream, ...]
    """A sample of the requests, each whole, in the order they were sent; cut ones too."""
    residual: int = 0
    """How many of the first of them asked for fewer tokens, so that the loop is steady from its start."""
    intended_ns: tuple[int, ...] = ()
    """Open loop: when each of ``streams`` was meant to be sent."""
    unanswered_ns: tuple[int, ...] = ()
    """Open loop: when those were meant to be sent that had no token at ``end_ns`` and had not failed, of as
    large a sample."""
    bin_nanoseconds: int
    bins: tuple[float, ...]
    """Tokens of all streams, sampled or not, in equal bins from ``start_ns``."""
    started_bins: tuple[int, ...] = ()
    """Requests of all streams whose first token came in the same bins. Empty: not told."""
    requests_ended: int = 0
    """Of all streams, in the window."""
    received_tokens: float = 0.0
    """Of all streams, from the loop's first request to its last byte."""
    readings: tuple[Reading, ...] = ()
    """At both ends of the window, and between them where that costs nothing. Empty: no metrics."""
    machine: tuple[MachineSample, ...] = ()
    """At both ends of the window."""
    client: ClientHealth = ClientHealth()
    started: bool = True
    """Every stream had its first token before the window opened, and none was lost later."""
    failures: tuple[str, ...] = ()
    broken: bool = False
    """Failures ended it early: what was counted until then is too short a time to tell a rate."""


class EngineUnderTest(Protocol):
    """One engine that is healthy. All calls raise RequestFailed where no answer can be had at all."""

    def now_seconds(self) -> float:
        """Monotonic."""

    async def ask(self, input_tokens: int, output_tokens: int, timeout_seconds: float) -> Stream:
        """One request alone, to its end, with a prompt that nobody has sent before."""

    async def burst(
        self, requests: int, input_tokens: int, output_tokens: int, timeout_seconds: float
    ) -> None:
        """So many requests at once, to their end. What fails is forgotten: nothing is measured."""

    async def closed_loop(
        self,
        concurrency: int,
        workload: Workload,
        *,
        spread: float,
        seconds: float,
        window_seconds: float = math.inf,
    ) -> Trace:
        """``concurrency`` streams, each sending its next request when the last one ended, for at most
        ``seconds``, start included; its window is no longer than ``window_seconds``. ``spread``: output
        lengths are drawn evenly from so much (0.25) around the workload's."""

    async def open_loop(
        self, requests_per_second: float, workload: Workload, *, spread: float, seconds: float
    ) -> Trace:
        """Requests at Poisson times, sent whether or not earlier ones have ended."""

    async def unstreamed_rate(self, concurrency: int, workload: Workload, *, seconds: float) -> float | None:
        """Output tokens per second by the engine's counters with answers that come in one piece: what the
        engine does without its front end's work for each token. None: no counters."""

    async def reading(self) -> Reading:
        """The counters now; empty where the engine has none."""

    async def pause(self, seconds: float) -> None:
        """Nothing is asked meanwhile."""

    def machine(self, *, calibrate: bool) -> MachineSample:
        """The machine now; ``calibrate`` runs the fixed piece of work, which takes a few milliseconds."""
