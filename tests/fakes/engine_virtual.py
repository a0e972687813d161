"""The mock engine's scheduler on a clock that moves when it is told to: hours in a second, no sockets."""

from __future__ import annotations

import itertools
import math
from typing import Any

from tests.fakes.engine_foreign import Foreign
from tests.fakes.engine_law import Law
from tests.fakes.engine_scheduler import Scheduler, Sequence


class Virtual:
    """One scheduler and its clock. Prompts are all different unless a key is given."""

    def __init__(self, law: Law) -> None:
        self.now = 0.0
        self.scheduler = Scheduler(law, lambda: self.now)
        self.foreign = Foreign(self.scheduler)
        self._keys = itertools.count()

    def submit(self, prompt_tokens: int, output_tokens: int, **more: Any) -> Sequence:
        """A request that arrives now."""
        values: dict[str, Any] = {
            "prompt_key": next(self._keys), "arrived": self.now, "sink": lambda *_: None,
        }  # fmt: skip
        return self.scheduler.submit(prompt_tokens=prompt_tokens, max_tokens=output_tokens, **(values | more))

    def step(self, until: float = math.inf) -> bool:
        """To the next thing that is due and no further than ``until``. False: nothing was due before it."""
        due = self.scheduler.next_due()
        reached = due <= until and due < math.inf
        if reached or until < math.inf:
            self.now = max(self.now, due if reached else until)
            self.scheduler.advance(self.now)
        return reached

    def run(self, seconds: float) -> None:
        """So much time, everything at its moment."""
        end = self.now + seconds
        while self.step(end):
            pass

    def drain(self) -> None:
        """Until nothing is under way."""
        while self.step():
            pass
