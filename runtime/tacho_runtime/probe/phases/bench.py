"""What every phase works with: the engine, the question, the time, and what was found so far."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tacho_contract.launch import ServiceLevel
from tacho_runtime.probe.advice import IN_SPEC, Advice
from tacho_runtime.probe.contention import Disturbance, judge
from tacho_runtime.probe.findings import Findings
from tacho_runtime.probe.levels import SHORTEST_SHARE
from tacho_runtime.probe.ports import EngineUnderTest, MachineSample
from tacho_runtime.probe.search import Shape

SPREAD = 1 - SHORTEST_SHARE
"""Of output lengths at several streams, to either side: equal ones would keep step with each other."""


@dataclass(frozen=True, slots=True)
class Clock:
    """How much time there is, in two senses. ``now``: monotonic seconds."""

    now: Callable[[], float]
    budget_ends: float
    timeout_ends: float

    def left(self) -> float:
        """Seconds to plan with: nothing new starts when they are over. Negative then."""
        return self.budget_ends - self.now()

    def patience(self) -> float:
        """Seconds a request that has begun may take: a starved engine is slow, not dead."""
        return max(1.0, self.timeout_ends - self.now())


@dataclass(slots=True)
class Bench:
    """One engine, the question put to it, and what was found so far."""

    engine: EngineUnderTest
    slo: ServiceLevel
    clock: Clock
    findings: Findings
    max_model_len: int
    progress: Callable[[str], None]
    shape: Shape
    quiet: MachineSample
    """The machine before anything was asked."""
    advice: Advice = IN_SPEC
    near: bool = True
    """The engine is on this machine: no network lies between."""

    def disturbed(self, before: MachineSample, what: str) -> Disturbance:
        """What else the machine did since ``before``; the words go to the findings."""
        found = judge(before, self.engine.machine(calibrate=True), self.quiet)
        for note in found.notes:
            self.findings.disturbed(note, what)
        return found
