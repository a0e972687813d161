"""The search through every way to run a model: engines, methods, kinds of device, numbers of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from tacho_contract.failure import FailureClass
from tacho_engines.hardware.gpus import is_slice
from tacho_engines.registry import engine_rows
from tacho_engines.row import EngineRow, MethodRow
from tacho_engines.shared.checkpoints import stored_method, wrong_checkpoint
from tacho_operator.core.planner.attempt import Attempt, Question
from tacho_operator.core.planner.devices import Choice
from tacho_operator.core.planner.ranking import alternative, closeness, not_worth_a_line, rank
from tacho_operator.core.planner.types import Alternative

ALTERNATIVES = 16
GPU_COUNTS = (1, 2, 4, 8)

Way = tuple[EngineRow, MethodRow]


def every_way() -> Iterator[Way]:
    """Each method of each engine."""
    return ((engine, method) for engine in engine_rows() for method in engine.methods)


class Search:
    """Every attempt at one plan, remembered so that none is made twice."""

    def __init__(self, question: Question) -> None:
        self.question = question
        self._tried: dict[tuple[str, str, Choice, int], Attempt] = {}

    def attempt(self, way: Way, choice: Choice, gpus: int) -> Attempt:
        key = (way[0].name, way[1].method, choice, gpus)
        if key not in self._tried:
            self._tried[key] = self.question.attempt(*way, choice, gpus)
        return self._tried[key]

    def ways(self) -> tuple[Way, ...]:
        """What the user's engine and method allow."""
        asked = self.question.request
        if asked.row and not asked.row.methods:
            return ((asked.row, unlisted(asked.method or "none")),)
        return tuple(way for way in every_way() if self.asked_for(way))

    def asked_for(self, way: Way) -> bool:
        """Whether the user's engine and method allow it. ``none`` also asks for the checkpoint as it is."""
        asked, (engine, method) = self.question.request, way
        if asked.engine and engine.name != asked.engine:
            return False
        stored = stored_method(self.question.facts)
        return asked.method in ("", method.method) or (asked.method == "none" and method.method == stored)

    def counts(self, choice: Choice) -> tuple[int, ...]:
        """GPU counts to try: what was asked, else the fewest first, up to what one node has."""
        asked, options = self.question.request, self.question.request.options
        if choice.device.on_host:
            return (0,)
        if asked.gpu_count:
            return (asked.gpu_count,)
        if options.tensor or options.pipeline:
            return ((options.tensor or 1) * (options.pipeline or 1),)
        if is_slice(choice.device):
            return (1,)
        return tuple(n for n in GPU_COUNTS if n <= choice.most) or (1,)

    def best(self, choices: Iterable[Choice]) -> Attempt | None:
        """The best that fits: kinds of device in order and, of one kind, the fewest. Where the user named no
        product, one GPU of any kind comes before two of another. Engines that do not carry load are
        looked at only where no other fits, and what fits tightly only where nothing else does."""
        groups = [[(choice, n) for n in self.counts(choice)] for choice in choices]
        if not self.question.request.products:
            groups = [sorted((step for group in groups for step in group), key=lambda step: step[1])]
        tight: list[Attempt] = []
        for steps in groups:
            for carrying in (True, False):
                ways = [way for way in self.ways() if way[0].carries_load is carrying]
                for choice, gpus in steps:
                    tried = [self.attempt(way, choice, gpus) for way in ways]
                    fitting = [found for found in tried if found.fits]
                    if roomy := [found for found in fitting if not found.tight]:
                        return min(roomy, key=rank)
                    tight = tight or fitting
        return min(tight, key=rank, default=None)

    def nearest(self, choices: Iterable[Choice]) -> Attempt | None:
        """Where nothing fits, the attempt to explain: it lacks only memory, with all that may be had."""
        tried = [
            self.attempt(way, choice, self.counts(choice)[-1]) for choice in choices for way in self.ways()
        ]
        if short := [found for found in tried if found.account is not None]:
            return min(short, key=closeness)
        return min(tried, key=self._telling, default=None)

    def _telling(self, found: Attempt) -> tuple[bool, bool]:
        wrong = wrong_checkpoint(found.method, self.question.facts) != ""
        return found.reason != FailureClass.UNSUPPORTED_GPU, wrong

    def alternatives(self, chosen: Attempt) -> tuple[Alternative, ...]:
        """Everything else on the chosen kind of device, best first, then what was tried elsewhere."""
        if chosen.engine.predicted:
            for way in every_way():
                self.attempt(way, chosen.choice, chosen.gpus)
        others = [found for found in self._tried.values() if found is not chosen]
        others.sort(key=lambda found: (not found.fits, str(found.reason), rank(found), found.gpus))
        lines: dict[tuple[str, str, str], Alternative] = {}
        for other in others:
            key = (other.engine.name, other.method.method, other.product)
            if key not in lines and not not_worth_a_line(other):
                asked_for = self.asked_for((other.engine, other.method))
                lines[key] = alternative(other, chosen, asked_for=asked_for)
        return tuple(lines.values())[:ALTERNATIVES]

    def freed(self) -> Search:
        """The same question with engine and method left open."""
        asked = replace(self.question.request, method="", engine="")
        return Search(replace(self.question, request=asked))

    def with_gpus(self, found: Attempt, choice: Choice, gpus: int) -> Attempt:
        """``found`` on another number or kind of GPU than the user's; parallelism is then free."""
        options = replace(self.question.request.options, tensor=None, pipeline=None)
        asked = replace(self.question.request, gpu_count=gpus, options=options)
        return replace(self.question, request=asked).attempt(found.engine, found.method, choice, gpus)


def unlisted(method: str) -> MethodRow:
    """A method of an engine that tacho does not know: taken as said."""
    return MethodRow(
        method=method, how="either", capability=(0, 0), quality=0.0, source="the command is the user's"
    )
