"""What was measured, as metrics: one series a figure of each resource, of its current measurement alone.

A figure that something other than the engine moved has no series, as a stale one has none:
``…_measured_provisional`` says that there is one. Labels are the resource's name, and of the cost its
currency and basis: as many series as resources, however often something is measured.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from sys import intern
from typing import NamedTuple

from prometheus_client import CollectorRegistry

from tacho_operator.api.types import LLMDeploymentStatus, Measurement, Summary
from tacho_operator.core.measurement.records import clean, current
from tacho_operator.shell.series import Gauges, Sample, now
from tacho_operator.shell.workqueue import Key

PREFIX = "tacho_llmdeployment_measured_"
LABELS = ("namespace", "name")
COST_LABELS = (*LABELS, "currency", "basis")
MILLISECOND, PERCENT, ONE = 1e-3, 1e-2, 1.0


@dataclass(frozen=True, slots=True)
class Figure:
    """One gauge."""

    name: str
    what: str
    factor: float
    """From the unit of status to the base unit of the name."""
    read: Callable[[Measurement], str | int | None]


FIGURES = (
    Figure(
        "output_tokens_per_second",
        "Output tokens per second of one replica of the active revision, as measured.",
        ONE,
        lambda item: item.capacity.output_tokens_per_second if item.capacity else None,
    ),
    Figure(
        "ci_ratio",
        "Half the 95 % interval of the measured output tokens per second, as a part of them.",
        PERCENT,
        lambda item: item.capacity.ci_percent if item.capacity else None,
    ),
    Figure(
        "requests_per_second",
        "Requests per second of one replica, as measured.",
        ONE,
        lambda item: item.capacity.requests_per_second if item.capacity else None,
    ),
    Figure(
        "concurrency",
        "Requests at the same time at which the output tokens per second were measured.",
        ONE,
        lambda item: item.capacity.concurrency if item.capacity else None,
    ),
    Figure(
        "ttft_seconds",
        "Median time to first token, as requests arrive where that was tried, else at that concurrency.",
        MILLISECOND,
        lambda item: item.latency.ttft_milliseconds_p50 if item.latency else None,
    ),
    Figure(
        "tpot_seconds",
        "Median time per further token, of the same requests.",
        MILLISECOND,
        lambda item: item.latency.tpot_milliseconds_p50 if item.latency else None,
    ),
    Figure(
        "decode_tokens_per_second",
        "Output tokens per second of a single request, as measured.",
        ONE,
        lambda item: item.single_stream.decode_tokens_per_second if item.single_stream else None,
    ),
    Figure(
        "prefill_tokens_per_second",
        "Prompt tokens per second of a single request, as measured.",
        ONE,
        lambda item: item.single_stream.prefill_tokens_per_second if item.single_stream else None,
    ),
    Figure(
        "decode_efficiency_ratio",
        "Part of the GPU's memory bandwidth that a single request uses.",
        PERCENT,
        lambda item: item.roofline.decode_efficiency_percent if item.roofline else None,
    ),
    Figure(
        "perplexity",
        "Perplexity of a fixed text, as the model was loaded.",
        ONE,
        lambda item: item.quality.perplexity if item.quality else None,
    ),
)


class Known(NamedTuple):
    """What is shown of one resource."""

    provisional: bool
    figures: tuple[float | None, ...]
    """As FIGURES has them; None: no series."""
    cost: tuple[str, str, float] | None
    """Currency, basis, and the cost itself."""


class Measured:
    """All gauges, on the registry passed in."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._known: dict[Key, Known] = {}
        for index, figure in enumerate(FIGURES):
            Gauges(registry, PREFIX + figure.name, figure.what, LABELS, partial(self._figures, index))
        Gauges(
            registry,
            f"{PREFIX}provisional",
            "1 while something other than the engine moved the current figures, 0 while nothing did.",
            LABELS,
            lambda: ((key, float(item.provisional)) for key, item in now(self._known)),
        )
        Gauges(
            registry,
            "tacho_llmdeployment_cost_per_million_output_tokens",
            "Cost of a million output tokens, at the measured throughput that the basis names.",
            COST_LABELS,
            lambda: (((*key, *item.cost[:2]), item.cost[2]) for key, item in now(self._known) if item.cost),
        )

    def _figures(self, index: int) -> Iterator[Sample]:
        for key, item in now(self._known):
            if (value := item.figures[index]) is not None:
                yield key, value

    def observe(self, key: Key, status: LLMDeploymentStatus) -> None:
        """Series of one resource from its status."""
        entry = current(status.measurements)
        if entry is None:
            self.forget(key)
        elif not clean(entry):
            self._known[key] = Known(True, (None,) * len(FIGURES), None)
        else:
            read = (figure.read(entry) for figure in FIGURES)
            figures = tuple(
                None if value is None else float(value) * figure.factor
                for figure, value in zip(FIGURES, read, strict=True)
            )
            self._known[key] = Known(False, figures, _cost(status.summary))

    def forget(self, key: Key) -> None:
        """The resource is gone: so are its series."""
        self._known.pop(key, None)


def _cost(found: Summary | None) -> tuple[str, str, float] | None:
    if found is None or not found.cost_per_million_output_tokens:
        return None
    cost = float(found.cost_per_million_output_tokens)
    return (intern(found.cost_currency or ""), intern(found.cost_basis or ""), cost)
