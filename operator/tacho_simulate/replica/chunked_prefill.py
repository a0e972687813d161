"""A replica that computes prompts in chunks, in the steps that generate tokens for other requests."""

from __future__ import annotations

import heapq
import math
from collections import deque

from tacho_simulate.replica.base import Ledger, Replica, Timed

ROUNDING = 1e-9
GOLDEN = (math.sqrt(5) - 1) / 2
"""Golden ratio: the fractional parts of its multiples are evenly spread between 0 and 1, for any number of
them."""


class ChunkedPrefill(Replica):
    """A replica that computes prompts in chunks within its steps.

    Steps without a prompt are simulated many at a time, as are the steps of a single long prompt.
    """

    def __init__(self, timed: Timed, ledger: Ledger, begins: float) -> None:
        super().__init__(timed, ledger, begins)
        self._prompts: deque[list[int]] = deque()
        """[request, tokens still to compute], first come first served."""

    def advance(self, until: float) -> None:
        incoming, running = self.incoming, self._running
        late = self._late_seconds
        while True:
            if late:
                self._hold(late)
            if self._waiting or (incoming and incoming[0][0] <= self.now):
                self._enter()
            if self._prompts:
                if not self._mixed(until):
                    return
            elif running:
                if not self._stretch(until):
                    return
            elif (entry := self._entry()) <= until and entry < math.inf:
                self.now = max(self.now, entry)
            else:
                if until < math.inf:
                    self.now = max(self.now, until)
                return

    def _hold(self, late: tuple[float, ...]) -> None:
        """Delays new requests while the front end is busy with running ones: by 0 to twice the mean, spread
        evenly over requests."""
        incoming, front, now = self.incoming, self._front, self.now
        while incoming and incoming[0][0] <= now:
            when, request = incoming.popleft()
            heapq.heappush(front, (when + 2 * (request * GOLDEN % 1) * late[len(self._running)], request))
        while front and front[0][0] <= now:
            self._waiting.append(heapq.heappop(front)[1])

    def _entry(self) -> float:
        """Time at which the next request reaches the engine or its front end; infinity: no request is on its
        way.
        """
        entry = self.incoming[0][0] if self.incoming else math.inf
        return min(entry, self._front[0][0]) if self._front else entry

    def _prefill(self, request: int, tokens: int) -> None:
        self._prompts.append([request, tokens])

    def _drop_prompt(self, request: int) -> None:
        self._prompts = deque(item for item in self._prompts if item[0] != request)

    def _mixed(self, until: float) -> bool:
        """Simulates one step that includes chunks of prompts; returns False if it would end after
        ``until``.
        """
        model, prompts = self._model, self._prompts
        answered = len(self._running) - len(prompts)
        budget = left = max(1, (model.step_tokens or 1) - answered)
        whole = 0
        for item in prompts:
            if item[1] > left:
                break
            left -= item[1]
            whole += 1
        part = left if whole < len(prompts) else 0
        seconds = (budget - left + part) / model.prefill_tokens_per_second
        if answered:
            seconds += self._step_seconds[answered]
        end = self.now + seconds
        if end > until:
            return False
        steps = 1
        if part and not whole:
            steps, end = self._alike(seconds, answered, (prompts[0][1] - 1) // part, until)
        self.now = end
        if part:
            prompts[whole][1] -= part * steps
        self._made(steps, answered)
        for _ in range(whole):
            self._first(prompts.popleft()[0], end)
        self._free_kv_cache()
        return True

    def _alike(self, seconds: float, answered: int, most: int, until: float) -> tuple[int, float]:
        """(number of successive steps with a chunk of the same prompt, end of the last step).

        At most ``most`` steps, while no request arrives, ends or is preempted. A step takes ``seconds``.
        """
        if answered:
            most = int(min(most, self._ends[0][0] - self._steps, max(1.0, self._kv_free_tokens // answered)))
        before = (min(self._entry(), until) - self.now) / seconds
        steps = max(1, int(min(most, before)))
        return steps, self.now + steps * seconds

    def _stretch(self, until: float) -> bool:
        """Simulates steps until a request arrives or ends; returns False if no step ends by ``until``."""
        answered = len(self._running)
        step = self._step_seconds[answered]
        steps = self._ends[0][0] - self._steps
        entry = self._entry()
        if entry < math.inf:
            steps = min(steps, max(1, math.ceil((entry - self.now) / step - ROUNDING)))
        steps = min(steps, max(1.0, self._kv_free_tokens // answered))
        within = (until - self.now) / step
        if within < steps:
            steps = math.floor(within + ROUNDING)
            if steps < 1:
                return False
        self.now += steps * step
        self._made(steps, answered)
        self._free_kv_cache()
        return True

    def _made(self, steps: float, answered: int) -> None:
        """Counts ``steps`` completed steps: each gives one token to each of the ``answered`` generating
        requests."""
        self._steps += steps
        self._generated += steps * answered
        self._kv_tokens += steps * answered
        ends = self._ends
        while ends and ends[0][0] <= self._steps:
            self._end(heapq.heappop(ends)[1], self.now)

    def _free_kv_cache(self) -> None:
        while self._kv_free_tokens < 0:
            self._preempt()
