"""One simulated replica, in virtual time: waiting and running requests, free KV cache, and counters.

A replica depends only on the requests sent to it, so its time advances only when its state is read. Between
two events, every running request gets one token per step: the end of a request is a step number. Prompts are
computed in chunks, in the steps that generate tokens for other requests.
"""

from __future__ import annotations

import dataclasses
import heapq
import math
from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate

from tacho_contract.report import LATENCY_EDGES_SECONDS, LatencyHistogram, latency_histogram
from tacho_simulate.performance_model import UNKNOWN_KV_TOKENS, PerformanceModel
from tacho_simulate.policy import PodMetrics

NOT_YET = -1.0
"""Marks a time that has not come yet."""
PREFILLING = math.inf
"""Marks a request whose prompt is being computed, in place of its last step number."""
ROUNDING = 1e-9
GOLDEN = (math.sqrt(5) - 1) / 2
"""Golden ratio: the fractional parts of its multiples are evenly spread between 0 and 1, for any number of
them."""


class Ledger:
    """Times and token counts of all requests, by index in the trace, and how many ended or failed."""

    def __init__(
        self, arrived: Sequence[float], input_tokens: Sequence[int], output_tokens: Sequence[int]
    ) -> None:
        self.arrived, self.input_tokens, self.output_tokens = arrived, input_tokens, output_tokens
        self.first = [NOT_YET] * len(arrived)
        self.last = [NOT_YET] * len(arrived)
        self.ended = 0
        """Number of requests whose answer is complete."""
        self.failed = 0
        """Number of requests that failed because their replica ended."""


@dataclass(frozen=True, slots=True)
class Timed:
    """Step times and prompt times of a performance model, as lookup tables."""

    model: PerformanceModel
    step_seconds: tuple[float, ...]
    """Step time by number of generating requests; 0: what the last step of prompts alone adds."""
    late_seconds: tuple[float, ...]
    """Delay of a first token, by number of other running requests; () for none."""

    @classmethod
    def of(cls, model: PerformanceModel, factor: float = 1.0) -> Timed:
        """The lookup tables of ``model``, with all times multiplied by ``factor``."""
        slowed = dataclasses.replace(
            model,
            steps=tuple((batch, factor * seconds) for batch, seconds in model.steps),
            prefill_tokens_per_second=model.prefill_tokens_per_second / factor,
            prompt_step_seconds=model.prompt_step_seconds * factor,
            ttft_fixed_seconds=model.ttft_fixed_seconds * factor,
            ttft_late=tuple((others, factor * seconds) for others, seconds in model.ttft_late),
        )
        batches = range(1, model.max_num_seqs + 1)
        steps = slowed.prompt_step_seconds, *map(slowed.step_seconds, batches)
        late = tuple(map(slowed.late_seconds, (0, *batches)))
        return cls(slowed, steps, late if any(late) else ())


class Replica:
    """A simulated replica. ``advance`` must be called before its state is read.

    Steps without a prompt are simulated many at a time, as are the steps of a single long prompt.
    """

    computed_share = 1.0
    """Share of a prompt's tokens that is computed and counted; the rest is known from earlier prompts."""

    def __init__(self, timed: Timed, ledger: Ledger, begins: float) -> None:
        self._model, self._ledger = timed.model, ledger
        self._step_seconds, self._late_seconds = timed.step_seconds, timed.late_seconds
        self.now = begins
        """Simulated time up to which all events have happened."""
        self.incoming: deque[tuple[float, int]] = deque()
        """(arrival time at the engine, request), sorted; whoever sends a request appends to it."""
        self.hung = False
        """Whether no request makes progress."""
        self.after: Callable[[int, float], None] | None = None
        """Callback for each completed request."""
        self._front: list[tuple[float, int]] = []
        """Heap of (release time, request) for requests that a busy front end delays."""
        self._waiting: deque[int] = deque()
        self._prompts: deque[list[int]] = deque()
        """[request, tokens still to compute], first come first served."""
        self._running: dict[int, float] = {}
        """Number of the step that yields each request's last token, by request in order of admission."""
        self._ends: list[tuple[float, int]] = []
        """Heap of generating requests: (number of the step with the last token, request)."""
        self._steps = 0.0
        """Number of completed steps."""
        self._kv_tokens = 0.0
        self._kept: dict[int, int] = {}
        """Tokens that each preempted request has already received, by request."""
        self._prompt_tokens = self._generated = 0.0
        self._answered = self._first_tokens = 0
        self._ttft = [0] * (len(LATENCY_EDGES_SECONDS) + 1)
        """Number of requests by TTFT, per bucket of a real replica's histogram and above the last one."""
        self._tpot = [0] * (len(LATENCY_EDGES_SECONDS) + 1)
        self.preemptions = 0

    @property
    def entry_seconds(self) -> float:
        """Seconds from a request's arrival until the engine receives it."""
        return self._model.ttft_fixed_seconds

    @property
    def held(self) -> int:
        """The number of requests that would be lost if the replica crashed."""
        return len(self._running) + len(self._waiting) + len(self._front) + len(self.incoming)

    def metrics(self, now: float) -> PodMetrics:
        """The metrics that the replica's engine reports at ``now``."""
        entered = 0
        for when, _ in self.incoming:
            if when > now:
                break
            entered += 1
        return PodMetrics(
            running=len(self._running),
            waiting=len(self._waiting) + len(self._front) + entered,
            kv_cache_usage=min(1.0, self._kv_tokens / self._model.kv_cache_tokens),
            prompt_tokens_total=self._prompt_tokens,
            generation_tokens_total=float(int(self._generated)),
            requests_total=float(self._answered),
            first_tokens_total=float(self._first_tokens),
            ttft=_histogram(self._ttft),
            tpot=_histogram(self._tpot),
        )

    def hang(self, now: float) -> None:
        self.advance(now)
        self.hung = True

    def resume(self, now: float) -> None:
        """Lets a replica that hung continue its requests."""
        self.advance(now)
        self.now, self.hung = now, False

    def advance(self, until: float) -> None:
        """Simulates all events up to ``until``."""
        if self.hung:
            return
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
        """When the next request reaches the engine or its front end; infinity: none is on its way."""
        entry = self.incoming[0][0] if self.incoming else math.inf
        return min(entry, self._front[0][0]) if self._front else entry

    def _enter(self) -> None:
        """Queues requests that reached the engine, and admits queued ones while KV cache and batch have
        space."""
        incoming, waiting, now = self.incoming, self._waiting, self.now
        while incoming and incoming[0][0] <= now:
            waiting.append(incoming.popleft()[1])
        model, ledger, running = self._model, self._ledger, self._running
        while waiting and len(running) < model.max_num_seqs:
            request = waiting[0]
            had = self._kept.get(request, 0) if self._kept else 0
            computed = ledger.input_tokens[request] + had
            if running and not self._fits(request, computed):
                return
            waiting.popleft()
            running[request] = PREFILLING
            self._kv_tokens += computed
            self._prefill(request, max(1, computed))

    def _fits(self, request: int, computed: int) -> bool:
        """Whether the KV cache has space for a request of which ``computed`` tokens are known."""
        del request  # for engines that reserve its whole answer
        return self._kv_tokens + computed + 1 <= self._model.kv_cache_tokens

    def _first(self, request: int, when: float) -> None:
        """Completes a request's prompt, which yields its first token."""
        ledger = self._ledger
        had = self._kept.pop(request, 0) if self._kept else 0
        if ledger.first[request] == NOT_YET:
            ledger.first[request] = when
            waited = when - ledger.arrived[request]
            self._ttft[bisect_left(LATENCY_EDGES_SECONDS, waited)] += 1
            self._first_tokens += 1
            self._prompt_tokens += self.computed_share * ledger.input_tokens[request]
        self._generated += 1
        self._kv_tokens += 1
        left = ledger.output_tokens[request] - had - 1
        if left <= 0:
            self._end_request(request, when)
        else:
            ends = self._steps + left
            self._running[request] = ends
            heapq.heappush(self._ends, (ends, request))

    def _end_request(self, request: int, when: float) -> None:
        ledger = self._ledger
        tokens = ledger.input_tokens[request] + ledger.output_tokens[request]
        del self._running[request]
        self._kv_tokens -= tokens
        if not self._running:
            self._kv_tokens = 0.0  # what rounding left
        ledger.last[request] = when
        if (further := ledger.output_tokens[request] - 1) > 0:
            gap = (when - ledger.first[request]) / further
            self._tpot[bisect_left(LATENCY_EDGES_SECONDS, gap)] += 1
        ledger.ended += 1
        self._answered += 1
        if self.after is not None:
            self.after(request, when)

    def _preempt(self) -> None:
        """Preempts the youngest request, which becomes the first of the queue."""
        request, ends = self._running.popitem()
        ledger = self._ledger
        prompt, output = ledger.input_tokens[request], ledger.output_tokens[request]
        if ends == PREFILLING:
            self._kv_tokens -= prompt + self._kept.get(request, 0)
            self._drop_prompt(request)
        else:
            left = ends - self._steps
            self._kv_tokens -= prompt + output - left
            self._kept[request] = output - math.ceil(left - 1e-9)
            self._ends.remove((ends, request))
            heapq.heapify(self._ends)
        self._waiting.appendleft(request)
        self.preemptions += 1

    @property
    def _kv_free_tokens(self) -> float:
        """Free KV cache, in tokens; unlimited for a single request, which is never preempted."""
        if len(self._running) < 2:
            return float(UNKNOWN_KV_TOKENS)
        return self._model.kv_cache_tokens - self._kv_tokens

    def _prefill(self, request: int, tokens: int) -> None:
        self._prompts.append([request, tokens])

    def _drop_prompt(self, request: int) -> None:
        self._prompts = deque(item for item in self._prompts if item[0] != request)

    def _mixed(self, until: float) -> bool:
        """Simulates one step that includes chunks of prompts; False if it would end after ``until``."""
        model, prompts = self._model, self._prompts
        answered = len(self._running) - len(prompts)
        budget = left = max(1, model.step_tokens - answered)
        whole = 0
        for item in prompts:
            if item[1] > left:
                break
            left -= item[1]
            whole += 1
        part = left if whole < len(prompts) else 0
        seconds = (budget - left + part) / model.prefill_tokens_per_second
        if answered or whole:  # the speed of prompts has the further steps of a long one
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
            self._end_request(heapq.heappop(ends)[1], self.now)

    def _free_kv_cache(self) -> None:
        while self._kv_free_tokens < 0:
            self._preempt()


def replica_of(timed: Timed, ledger: Ledger, begins: float) -> Replica:
    """A replica with these lookup tables, which many replicas share."""
    return (timed.model.replica or Replica)(timed, ledger, begins)


def _histogram(buckets: Sequence[int]) -> LatencyHistogram:
    *counts, total = accumulate(buckets)
    return latency_histogram(LATENCY_EDGES_SECONDS, counts, total)
