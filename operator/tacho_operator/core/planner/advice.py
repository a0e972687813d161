"""What would fit, where what was asked does not."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from tacho_contract.units import gib, gib_or_more
from tacho_engines.base import Context
from tacho_operator.core.planner.attempt import Attempt
from tacho_operator.core.planner.devices import Choice, Choices, gpu_choices
from tacho_operator.core.planner.ranking import rank
from tacho_operator.core.planner.search import GPU_COUNTS, Search, every_way
from tacho_operator.core.types import NodeFacts


@dataclass(frozen=True, slots=True)
class Advice:
    """Next steps, each enough by itself, and the same as figures for later decisions."""

    steps: list[str] = field(default_factory=list)
    details: dict[str, str] = field(default_factory=dict)

    def add(self, step: str, **details: object) -> None:
        self.steps.append(step)
        self.details.update({name: str(value) for name, value in details.items()})

    def sentence(self) -> str:
        """The steps as one sentence; "" when there are none."""
        text = ", or ".join(self.steps)
        return f"{text[:1].upper()}{text[1:]}." if text else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Adviser:
    """What may be tried besides the attempt that comes nearest."""

    search: Search
    choices: Choices
    nodes: tuple[NodeFacts, ...] | None
    nearest: Attempt

    def advice(self) -> Advice:
        """A shorter context, the next method, more GPUs, another GPU of this cluster, a larger host."""
        found = Advice()
        if shorter := self.nearest.nearest:
            step, details = self._shorter(shorter)
            found.add(f"set {step}", **details)
        if other := self._next_method():
            self._quantize(other, found)
        if more := self._more_gpus():
            found.add(f"set gpu.count to {more.gpus}", fitsGpuCount=more.gpus)
        if elsewhere := self._another_gpu():
            count = f" x {elsewhere.gpus}" if elsewhere.gpus > 1 else ""
            on_host = self.nearest.placement.device.on_host
            found.add(
                f"set gpu.count to {elsewhere.gpus}, for {elsewhere.product}"
                if on_host
                else f"use {elsewhere.product}{count}",
                fitsProduct=elsewhere.product,
                fitsProductCount=elsewhere.gpus,
            )
        if self.nearest.placement.device.on_host:
            self._larger_host(found)
        return found

    def _shorter(self, shorter: Context) -> tuple[str, dict[str, object]]:
        """(words after "set", details) of a context that would fit."""
        step = f"context.maxModelLen to {shorter.max_model_len} or less"
        details: dict[str, object] = {"fitsMaxModelLen": shorter.max_model_len}
        asked = self.search.question.request.concurrency
        if shorter.concurrency != (asked or shorter.concurrency):
            details["fitsConcurrency"] = shorter.concurrency
            step += f" with context.concurrency {shorter.concurrency}"
        return step, details

    def _quantize(self, other: Attempt, found: Advice) -> None:
        step = f"quantize with {other.method.method} ({other.engine.name})"
        details: dict[str, object] = {}
        if not other.fits and other.nearest:
            shorter, details = self._shorter(other.nearest)
            step += f" and set {shorter}"
        found.add(step, fitsMethod=other.method.method, fitsEngine=other.engine.name, **details)

    def _next_method(self) -> Attempt | None:
        """The best method that fits where the asked one does not, on the same devices; where nothing fits at
        all, one that fits a part of the context."""
        nearest, search = self.nearest, self.search.freed()
        tried = [search.attempt(way, nearest.choice, nearest.gpus) for way in every_way()]
        others = [t for t in tried if t.method.method != nearest.method.method and (t.fits or t.nearest)]
        if nearest.nearest:
            others = [t for t in others if t.fits]
        return min(others, key=lambda t: (not t.fits, rank(t)), default=None)

    def _more_gpus(self) -> Attempt | None:
        nearest = self.nearest
        counts = (n for n in GPU_COUNTS if nearest.gpus < n <= nearest.choice.most)
        return self._first_that_fits((nearest.choice, n) for n in counts)

    def _another_gpu(self) -> Attempt | None:
        """A kind of GPU that live nodes have and the user did not name."""
        named = {choice.device.product for choice in self.choices.found}
        every = gpu_choices(replace(self.search.question.request, products=()), self.nodes).found
        others = (choice for choice in every if choice.device.product not in named)
        return self._first_that_fits((other, n) for other in others for n in GPU_COUNTS if n <= other.most)

    def _first_that_fits(self, places: Iterator[tuple[Choice, int]]) -> Attempt | None:
        tried = (self.search.with_gpus(self.nearest, choice, gpus) for choice, gpus in places)
        return next((attempt for attempt in tried if attempt.fits), None)

    def _larger_host(self, found: Advice) -> None:
        account, needed = self.nearest.account, self.nearest.needed_bytes
        if account is None or needed is None or self.nearest.beyond_tokens:
            return
        if not found.steps:
            room = (account.budget_bytes or 0) - needed + account.weights_bytes
            kind = "GGUF file" if self.search.question.facts.format == "gguf" else "model"
            found.add(f"use a {kind} below {gib(room)}" if room > 0 else "use a smaller model")
        found.add(f"give it a node (or a memory limit) of {gib_or_more(needed)} or more")
