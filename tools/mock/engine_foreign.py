"""Other clients' traffic inside the mock engine: it takes its share of the engine's time and shows in the
counters."""

from __future__ import annotations

from tools.mock.engine_scheduler import Scheduler, Sequence


class Foreign:
    """Streams that each send their next request when the last one ended."""

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler
        self._submitted = 0
        law = scheduler.law
        if law.foreign_streams:
            self.come(scheduler.started + law.foreign_from_s, law.foreign_streams, law.foreign_seconds)

    def come(self, when: float, streams: int, seconds: float) -> None:
        """``streams`` from ``when`` on the clock, gone ``seconds`` later with whatever still runs."""
        ends = when + seconds
        stay: set[Sequence] = set()

        def begin(now: float) -> None:
            for _ in range(streams):
                self._submit(now, ends, stay)

        def leave(now: float) -> None:
            for sequence in tuple(stay):
                self._scheduler.abort(sequence, now)
            stay.clear()

        self._scheduler.at(when, begin)
        self._scheduler.at(ends, leave)

    def _submit(self, now: float, ends: float, stay: set[Sequence]) -> None:
        if now >= ends:
            return
        law = self._scheduler.law
        self._submitted += 1

        def sink(when: float, _: int, last: bool, sequence: Sequence) -> None:
            if last:
                stay.discard(sequence)
                self._submit(when, ends, stay)

        sequence = self._scheduler.submit(
            prompt_tokens=law.foreign_input_tokens,
            prompt_key=("foreign", self._submitted),
            max_tokens=law.foreign_output_tokens,
            arrived=now,
            sink=sink,
            streamed=False,
        )
        stay.add(sequence)
