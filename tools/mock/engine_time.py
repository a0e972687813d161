"""The mock engine's own time, in which its law holds exactly, and how it runs against the clock.

Jitter and stalls slow all sequences down together, so they are a property of time and not of a sequence:
each cell of about one step of law time takes a drawn time on the clock, and a halt takes time on the clock
and none in the law. The mean of a cell's factor is 1, so the law holds on average.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass
from random import Random

from tools.mock.engine_law import Law

CALM_CELL_SECONDS = 0.1
LEAST_CELL_SECONDS = 0.001
IDLE_SECONDS = 1.0
"""Maximum seconds without requests for which cell times are drawn; a longer idle time is one cell without
noise."""


@dataclass(slots=True)
class _Cell:
    law: float
    clock: float
    slope: float
    """Seconds on the clock for one of law time."""
    law_end: float

    @property
    def clock_end(self) -> float:
        return self.clock + (self.law_end - self.law) * self.slope


class EngineTime:
    """Law time and clock time are equal at ``start``. ``halt`` and the getters only look ahead of the last
    ``forget``."""

    def __init__(self, start: float, rng: Random) -> None:
        self._rng = rng
        self._cells: deque[_Cell] = deque([_Cell(start, start, 1.0, start)])
        self._next_stall = math.inf
        self._stalls_by = (0.0, 0.0)

    def clock(self, law_time: float, law: Law, running: int) -> float:
        """Time on the clock at which ``law_time`` is reached."""
        while self._cells[-1].law_end < law_time:
            self._grow(law, running)
        for cell in self._cells:
            if law_time <= cell.law_end:
                return cell.clock + (law_time - cell.law) * cell.slope
        raise AssertionError("the last cell reaches that far")

    def law(self, clock: float, law: Law, running: int) -> float:
        """The law time that has been reached at ``clock``; in a halt, that of its beginning."""
        while (end := self._cells[-1].clock_end) < clock:
            if clock - end > IDLE_SECONDS:
                last = self._cells[-1]
                self._cells.append(_Cell(last.law_end, end, 1.0, last.law_end + clock - end))
            else:
                self._grow(law, running)
        reached = self._cells[0].law
        for cell in self._cells:
            if cell.clock > clock:
                break
            reached = min(cell.law + (clock - cell.clock) / cell.slope, cell.law_end)
        return reached

    def forget(self, law_time: float) -> None:
        """Drops cells before ``law_time``: later calls never ask for earlier times."""
        while len(self._cells) > 1 and self._cells[0].law_end < law_time:
            self._cells.popleft()

    def halt(self, law_time: float, seconds: float) -> None:
        """Nothing happens for ``seconds`` once ``law_time`` is reached."""
        kept = deque[_Cell]()
        for cell in self._cells:
            if cell.law_end <= law_time:
                kept.append(cell)
                continue
            if cell.law < law_time:
                kept.append(_Cell(cell.law, cell.clock, cell.slope, law_time))
                begins = kept[-1].clock_end
                kept.append(_Cell(law_time, begins + seconds, cell.slope, cell.law_end))
            else:
                kept.append(_Cell(cell.law, cell.clock + seconds, cell.slope, cell.law_end))
        if kept[-1].law_end <= law_time:
            last = kept[-1]
            kept.append(_Cell(last.law_end, last.clock_end + seconds, 1.0, law_time))
        self._cells = kept

    def _grow(self, law: Law, running: int) -> None:
        last = self._cells[-1]
        at, clock = last.law_end, last.clock_end
        calm = not law.jitter_cv
        width = CALM_CELL_SECONDS if calm else max(LEAST_CELL_SECONDS, law.itl_seconds(max(1, running)))
        stalls_by = (law.stall_every_ms, law.stall_ms)
        if stalls_by != self._stalls_by:
            self._stalls_by, self._next_stall = stalls_by, at + self._stall_gap(law)
        if self._next_stall <= at:
            clock += law.stall_ms / 1000
            self._next_stall = at + self._stall_gap(law)
        end = min(at + width, self._next_stall)
        self._cells.append(_Cell(at, clock, 1.0 if calm else self._factor(law.jitter_cv), end))

    def _stall_gap(self, law: Law) -> float:
        if law.stall_every_ms <= 0 or law.stall_ms <= 0:
            return math.inf
        return law.stall_every_ms / 1000 * self._rng.uniform(0.5, 1.5)

    def _factor(self, cv: float) -> float:
        variance = math.log1p(cv * cv)
        return self._rng.lognormvariate(-variance / 2, math.sqrt(variance))
