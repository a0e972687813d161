"""The choice among all ways to run a model, and, where none fits, what would."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from tacho_contract.failure import FailureClass
from tacho_contract.model import Architecture, ModelFacts
from tacho_operator.core.planner.asked import Asked
from tacho_operator.core.planner.catalog.engines import engine_table
from tacho_operator.core.planner.catalog.gpus import is_slice
from tacho_operator.core.planner.catalog.methods import (
    MethodRow,
    is_quantized,
    method_table,
    stored_method,
    wrong_checkpoint,
)
from tacho_operator.core.planner.hardware import Hardware
from tacho_operator.core.planner.trial import Trial, attempt
from tacho_operator.core.planner.types import Alternative
from tacho_operator.core.types import Config, History, NodeFacts

ALTERNATIVES = 16
GPU_COUNTS = (1, 2, 4, 8)
LOWER_QUALITY = "LowerQuality"
SLOWER = "Slower"
NOT_ASKED = "NotAskedFor"
LESS_PREFERRED = "LessPreferred"


def expected_quality(trial: Trial, facts: ModelFacts) -> float:
    """A checkpoint that is already quantized has the quality it has, whatever runs it."""
    return 100.0 if is_quantized(facts) else trial.row.quality


def rank(trial: Trial, facts: ModelFacts) -> tuple[float, ...]:
    """Best first: quality, then speed on this GPU, then whether the engine can be started today.

    Engines without continuous batching come after all others: under load they are slower by two orders of
    magnitude (own measurement, H200: Transformers at batch 1 against vLLM at 1024 streams, 470 times)."""
    engine = engine_table()[trial.engine]
    return (
        0.0 if engine.batching else 1.0,
        -expected_quality(trial, facts),
        -trial.expected_tokens_per_second,
        0.0 if engine.built else 1.0,
    )


def asked_for(row: MethodRow, asked: Asked, facts: ModelFacts) -> bool:
    """Whether the user's engine and method allow ``row``. ``none`` also asks for the checkpoint as it is."""
    if asked.engine and row.engine != asked.engine:
        return False
    if not asked.method:
        return True
    return row.method == asked.method or (asked.method == "none" and row.method == stored_method(facts))


def counts(asked: Asked, hardware: Hardware) -> tuple[int, ...]:
    """GPU counts to try: what was asked, else the fewest first, up to what one node has."""
    if asked.gpu_count:
        return (asked.gpu_count,)
    if asked.tensor or asked.pipeline:
        return ((asked.tensor or 1) * (asked.pipeline or 1),)
    if is_slice(hardware.gpu):
        return (1,)
    return tuple(n for n in GPU_COUNTS if n <= hardware.most) or (1,)


class Search:
    """Every attempt at one plan, remembered so that none is made twice."""

    def __init__(
        self,
        asked: Asked,
        facts: ModelFacts,
        architecture: Architecture,
        history: tuple[History, ...],
        config: Config,
        nodes: tuple[NodeFacts, ...] | None = None,
    ) -> None:
        self.asked, self.facts, self.architecture = asked, facts, architecture
        self.config, self.nodes = config, nodes
        self._history = history
        self._tried: dict[tuple[str, str, str, int, bool], Trial] = {}

    def attempt(self, row: MethodRow, hardware: Hardware, gpus: int) -> Trial:
        key = (row.engine, row.method, hardware.gpu.product, gpus, hardware.live)
        if key not in self._tried:
            self._tried[key] = attempt(
                self.asked, self.facts, self.architecture, row, hardware, gpus,
                history=self._history, config=self.config,
            )  # fmt: skip
        return self._tried[key]

    def forced(self, row: MethodRow, hardware: Hardware, gpus: int) -> Trial:
        """An attempt with another GPU count than the user's, for advice; parallelism is then free."""
        free = replace(self.asked, gpu_count=gpus, tensor=None, pipeline=None)
        return attempt(
            free,
            self.facts,
            self.architecture,
            row,
            hardware,
            gpus,
            history=self._history,
            config=self.config,
        )

    def rows(self) -> tuple[MethodRow, ...]:
        return tuple(row for row in method_table() if asked_for(row, self.asked, self.facts))

    def best(self, hardware: Iterable[Hardware]) -> Trial | None:
        """The best that fits: kinds of GPU in order and, of one kind, the fewest GPUs. Where the user named
        no product, one GPU of any kind comes before two of another. Engines without continuous batching are
        looked at only where no other fits."""
        kinds = tuple(hardware)
        groups = [[(kind, n) for n in counts(self.asked, kind)] for kind in kinds]
        if not self.asked.products:
            groups = [sorted((step for group in groups for step in group), key=lambda step: step[1])]
        for steps in groups:
            for batching in (True, False):
                rows = [row for row in self.rows() if engine_table()[row.engine].batching is batching]
                for kind, gpus in steps:
                    fitting = [t for t in (self.attempt(row, kind, gpus) for row in rows) if t.fits]
                    if fitting:
                        return min(fitting, key=lambda t: rank(t, self.facts))
        return None

    def nearest(self, hardware: Iterable[Hardware]) -> Trial | None:
        """Where nothing fits, the attempt to explain: it lacks only memory, with all that may be had."""
        tried = [
            self.attempt(row, kind, counts(self.asked, kind)[-1]) for kind in hardware for row in self.rows()
        ]
        short = [t for t in tried if t.reason == FailureClass.DOES_NOT_FIT and t.account is not None]
        if short:
            return min(short, key=lambda t: (not t.longest, rank(t, self.facts)[:2], -(t.longest or 0)))
        return min(
            tried,
            key=lambda t: (
                t.reason != FailureClass.UNSUPPORTED_GPU,
                wrong_checkpoint(t.row, self.facts) != "",
            ),
            default=None,
        )

    def alternatives(self, chosen: Trial | None) -> tuple[Alternative, ...]:
        """Everything else on the chosen (or first) kind of GPU, best first, then what was tried elsewhere."""
        if chosen is not None:
            for row in method_table():
                self.attempt(row, chosen.hardware, chosen.gpus)
        others = [t for t in self._tried.values() if t is not chosen]
        others.sort(key=lambda t: (not t.fits, t.reason, rank(t, self.facts), t.gpus))
        seen: set[tuple[str, str, str]] = set()
        listed = []
        for trial in others:
            key = (trial.engine, trial.row.method, trial.hardware.gpu.product)
            if key not in seen and not _idle(trial, self.facts):
                seen.add(key)
                listed.append(self._alternative(trial, chosen))
        return tuple(listed[:ALTERNATIVES])

    def _alternative(self, trial: Trial, chosen: Trial | None) -> Alternative:
        reason, message = trial.reason, trial.message
        if trial.fits:
            reason, message = self._passed_over(trial, chosen)
        return Alternative(
            engine=trial.engine,
            method=trial.row.method,
            product=trial.hardware.gpu.product,
            fits=trial.fits,
            reason=reason,
            message=message[:1024],
            decode_tokens_per_second=trial.speed.decode_tokens_per_second if trial.speed else None,
        )

    def _passed_over(self, trial: Trial, chosen: Trial | None) -> tuple[str, str]:
        if chosen is None or not asked_for(trial.row, self.asked, self.facts):
            return NOT_ASKED, "Would fit, but engine or method were set to something else."
        if (trial.hardware.gpu.product, trial.gpus) != (chosen.hardware.gpu.product, chosen.gpus):
            return (
                LESS_PREFERRED,
                f"Would fit on {trial.gpus} x {trial.hardware.gpu.product}, which comes later.",
            )
        if engine_table()[chosen.engine].batching > engine_table()[trial.engine].batching:
            return SLOWER, "Would fit, but the engine does not admit requests into a running batch."
        mine, best = expected_quality(trial, self.facts), expected_quality(chosen, self.facts)
        if mine < best:
            return LOWER_QUALITY, f"Expected quality {mine:.1f} against {best:.1f} of 100."
        return SLOWER, f"Expected to reach {trial.expected_tokens_per_second:.0f} tok/s a stream."


def _idle(trial: Trial, facts: ModelFacts) -> bool:
    """Not worth a line: the engine does not load this format, or the method is not the checkpoint's."""
    wrong_format = facts.format not in engine_table()[trial.engine].formats
    return wrong_format or (is_quantized(facts) and trial.reason == "UnsupportedQuantization")
