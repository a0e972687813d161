"""How near the expected speed is to what was measured, and what the constants of ``vllm/speed.py`` are.

    python -m benchmarks.planner.speed [--check]

Writes the tables of lab/planner.md and prints the constants that all rows give. Every row is judged
held back: the constants of 16 bits are fitted without any row of its model, whatever the checkpoint; those of
a quantization's kernel then too, on other models of the same kernel (AWQ, GPTQ and W4A16 run on Machete, FP8
and W8A8 on the GPU's units of 8 bits).
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from statistics import median
from typing import Any

from benchmarks.planner.speed_rows import Row, rows
from tacho_contract.launch import ServiceLevel
from tacho_engines.profile import KernelTiming, SplitTiming, StepLaw
from tacho_engines.registry import engine_profile
from tacho_operator.core.planner.expected_speed import UNTIMED_WITHIN, Loop, timing
from tools.pages import ROOT, between_markers, settle, table

PAGE = ROOT / "benchmarks/lab/planner.md"
SPEED = engine_profile("vllm").speed
assert SPEED.law is not None
LAW: StepLaw = SPEED.law
PLAIN = "none"
FITTED = (
    *("unpacking", "batch_unpacking", "layer_microseconds", "batch_layer_microseconds"),
    *("launch_microseconds", "arithmetic"),
)
"""Constants of a kernel."""
STEPS = ("launch_microseconds",)
"""Those of weights in 16 bits, with the arithmetic rate."""
WEIGHTS = {"one stream": 3.0, "load": 1.0, "prompt": 0.5, "edge": 0.0}
"""Of a row in the fit. Edges follow from loads."""
ODD = "phi-2"
"""The one model whose heads have an odd size: without it nothing is known of them."""
ONE_SLOTS = 1024
GOALS = {"one stream": (3, 8), "load": (8, 20), "edge": (10, 25)}
"""Percent: median and worst."""
H100, AGAIN, UNTIMED = "on an H100", "on other H200 hosts", "untimed"
EXPERTS, EXPERTS_8, EXPERTS_4 = "experts", "experts in 8 bits", "experts in 4 bits"
SPLIT = "over several GPUs"
TIMED = (PLAIN, "8 bits", "awq", "bnb-nf4", EXPERTS, EXPERTS_8, EXPERTS_4, SPLIT)
TITLES = {
    "one stream": "One stream",
    "load": "Planned concurrency",
    "edge": "Service level (a TPOT that 95 % keep)",
}


def kind_of(row: Row) -> str:
    """Rows of one kind of kernel learn from each other."""
    _, kernel, timed = timing(SPEED, row.step.placement)
    if not timed or kernel.decode_within >= UNTIMED_WITHIN:
        return UNTIMED
    if row.step.placement.tensor > 1:
        return SPLIT
    if kernel.experts:
        return {PLAIN: EXPERTS, "fp8": EXPERTS_8}.get(kernel.methods[0], EXPERTS_4)
    return "8 bits" if "fp8" in kernel.methods or "W8A8-int" in kernel.schemes else kernel.methods[0]


def loop_of(row: Row, law: StepLaw, kernel: KernelTiming) -> Loop:
    return Loop(step=row.step, law=law, kernel=kernel, ceiling=LAW.front_end_tokens_per_second)


def level_of(row: Row) -> ServiceLevel:
    return ServiceLevel(tpot_milliseconds=row.tpot_milliseconds)


def predicted(row: Row, law: StepLaw, kernel: KernelTiming) -> float:
    """What the law says of the row."""
    loop = loop_of(row, law, kernel)
    if row.figure == "one stream":
        return 1 / loop.gap(1)
    if row.figure == "prompt":
        return row.input_tokens / row.step.prompt_seconds(law, kernel)
    if row.figure == "load":
        return loop.tokens_per_second(row.streams)
    return loop.tokens_per_second(max(1, loop.capacity(ONE_SLOTS, level_of(row))))


def least_squares(start: dict[str, float], loss: Callable[[dict[str, float]], float]) -> dict[str, float]:
    """Positive values that make ``loss`` least, one after another in ever smaller factors."""
    best, least, step = dict(start), loss(start), 0.1
    while step > 5e-4:
        found = False
        for name in best:
            for factor in (1 + step, 1 / (1 + step)):
                tried = {**best, name: best[name] * factor}
                if (now := loss(tried)) < least - 1e-12:
                    best, least, found = tried, now, True
        step = step if found else step / 2
    return best


def _loss(judged: Sequence[Row], law: StepLaw, kernel: KernelTiming) -> float:
    return sum(
        WEIGHTS[row.figure] * math.log(predicted(row, law, kernel) / row.measured) ** 2 for row in judged
    )


def _law(values: dict[str, float]) -> StepLaw:
    first = replace(LAW.kernels[0], **{name: values[name] for name in ("arithmetic", *STEPS)})
    return replace(
        LAW,
        traffic=values["traffic"],
        layer_microseconds=values["layer_microseconds"],
        attention_nanoseconds=values["attention_nanoseconds"],
        odd_head=values.get("odd_head", 1.0),
        kernels=(first, *LAW.kernels[1:]),
    )


def _fits(row: Row) -> bool:
    """Whether its figure is the device's, an H200: a client's cores bound the loads of the 0.6B, its prompts
    are shorter than what a step costs anyway. Of experts in 8 bits only an H100 had loads."""
    if "host" in row.cell or ("gpu" in row.cell and kind_of(row) != EXPERTS_8):
        return False
    return WEIGHTS[row.figure] > 0 and (row.figure == "one stream" or row.model != "qwen3-0.6b")


@cache
def fitted_law(without: str = "") -> StepLaw:
    """The law of 16 bits, fitted on every model but ``without``."""
    judged = [row for row in rows() if kind_of(row) == PLAIN and row.model != without and _fits(row)]
    start = {
        "traffic": LAW.traffic,
        "arithmetic": LAW.kernels[0].arithmetic,
        "layer_microseconds": LAW.layer_microseconds,
        "attention_nanoseconds": LAW.attention_nanoseconds,
        **{name: getattr(LAW.kernels[0], name) for name in STEPS},
    }
    if without != ODD:
        start["odd_head"] = LAW.odd_head

    def loss(values: dict[str, float]) -> float:
        law = _law(values)
        return _loss(judged, law, law.kernels[0])

    return _law(least_squares(start, loss))


class FittedKernels:
    """Constants of all kernels of one kind: what they have alike in the table is one constant, fitted once. A
    share of the arithmetic rate like that of 16 bits is that one."""

    def __init__(self, judged: Sequence[Row], law: StepLaw) -> None:
        self._law = law
        starts = {timing(SPEED, row.step.placement)[1] for row in judged}
        found = {
            self._name(start, name): getattr(start, name) for start in starts for name in self._own(start)
        }
        self._values = least_squares(found, lambda values: self._loss(judged, values))

    def _own(self, start: KernelTiming) -> list[str]:
        return [name for name in FITTED if getattr(start, name) not in (0.0, getattr(LAW.kernels[0], name))]

    def _name(self, start: KernelTiming, name: str) -> str:
        """Of a constant. Where one stream's and a batch's are alike they are one."""
        return f"{name.removeprefix('batch_')} {getattr(start, name)}"

    def _kernel(self, start: KernelTiming, values: dict[str, float]) -> KernelTiming:
        own = {name: values[self._name(start, name)] for name in self._own(start)}
        plain = self._law.kernels[0]
        alike = {
            name: getattr(plain, name)
            for name in FITTED
            if getattr(start, name) == getattr(LAW.kernels[0], name)
        }
        return replace(start, **alike, **own)

    def _loss(self, judged: Sequence[Row], values: dict[str, float]) -> float:
        return sum(
            _loss((row,), self._law, self._kernel(timing(SPEED, row.step.placement)[1], values))
            for row in judged
        )

    def kernel(self, start: KernelTiming) -> KernelTiming:
        return self._kernel(start, self._values)


@cache
def fitted_split(without: str = "") -> SplitTiming:
    """Constants of several GPUs, fitted on every model but ``without``, with the law of one."""
    judged = [row for row in rows() if kind_of(row) == SPLIT and row.model != without and _fits(row)]
    start = LAW.split
    assert start is not None
    names = ("layer_microseconds", "batch_layer_microseconds", "launch_microseconds")

    def loss(values: dict[str, float]) -> float:
        law = replace(LAW, split=replace(start, **values))
        return sum(_loss((row,), law, _split_kernel(row, law)) for row in judged)

    return replace(start, **least_squares({name: getattr(start, name) for name in names}, loss))


def _split_kernel(row: Row, law: StepLaw) -> KernelTiming:
    return timing(replace(SPEED, law=law), row.step.placement)[1]


@cache
def _held_back(model: str, kind: str) -> tuple[StepLaw, FittedKernels | None]:
    """Law and kernels for a model, fitted without any row of it."""
    law = fitted_law(model)
    others = [row for row in rows() if kind_of(row) == kind and row.model != model and _fits(row)]
    return law, FittedKernels(others, law) if kind != PLAIN else None


@dataclass(frozen=True)
class Judged:
    """A row and what is said of it held back."""

    row: Row
    kind: str
    prediction: float
    loop: Loop

    @property
    def error(self) -> float:
        return self.prediction / self.row.measured - 1

    @property
    def held(self) -> bool:
        """Whether the band that a plan shows holds."""
        _, kernel, timed = timing(SPEED, self.row.step.placement)
        known = kernel.decode_within if self.row.figure == "one stream" else kernel.output_within
        within = known if timed else UNTIMED_WITHIN
        if self.row.figure == "edge":
            within = self.loop.capacity_within(ONE_SLOTS, level_of(self.row), within)
        return 1 / (1 + within) <= self.row.measured / self.prediction <= 1 + within


@cache
def judged() -> tuple[Judged, ...]:
    """Every row but prompts."""
    found = []
    for row in rows():
        if row.figure != "prompt" and (row.figure == "one stream" or row.model != "qwen3-0.6b"):
            kind = kind_of(row)
            if kind == UNTIMED:
                law, kernel, _ = timing(replace(SPEED, law=fitted_law(row.model)), row.step.placement)
            elif kind == SPLIT:
                law = replace(fitted_law(row.model), split=fitted_split(row.model))
                kernel = _split_kernel(row, law)
            else:
                law, kernels = _held_back(row.model, kind)
                kernel = (
                    law.kernels[0]
                    if kernels is None
                    else kernels.kernel(timing(SPEED, row.step.placement)[1])
                )
            group = H100 if "gpu" in row.cell and kind not in (UNTIMED, EXPERTS_8) else kind
            group = AGAIN if "host" in row.cell else group
            found.append(Judged(row, group, predicted(row, law, kernel), loop_of(row, law, kernel)))
    return tuple(found)


def summary(found: Iterable[Judged]) -> dict[str, Any] | None:
    """Errors in percent, and the share of rows within the band."""
    rows_of = tuple(found)
    if not rows_of:
        return None
    worst = max(rows_of, key=lambda item: abs(item.error))
    return {
        "rows": len(rows_of),
        "median": 100 * median(abs(item.error) for item in rows_of),
        "worst": 100 * worst.error,
        "worstRow": worst.row.name,
        "held": sum(item.held for item in rows_of),
    }


def _cell(found: dict[str, Any] | None) -> str:
    if found is None:
        return "none"
    return (
        f"{found['median']:.1f} %, {found['worst']:+.1f} % ({found['worstRow']}; {found['rows']} rows, "
        f"{found['held']} in the band)"
    )


def summary_table() -> str:
    """By figure, as benchmarks/lab/planner.md shows it."""
    head = (
        *("Figure", "Goal", "All timed", "16 bits", "8 bits", "4 bits on Machete", "NF4"),
        *("Experts in 16 bits", "Experts in 8 bits", "Experts in 4 bits", "Over several GPUs"),
        *("On an H100", "Experts on other H200 hosts", "Not timed"),
    )
    lines = []
    for figure, title in TITLES.items():
        of = [item for item in judged() if item.row.figure == figure]
        groups = (TIMED, *((kind,) for kind in (*TIMED, H100, AGAIN, UNTIMED)))
        cells = [_cell(summary(item for item in of if item.kind in group)) for group in groups]
        middle, worst = GOALS[figure]
        lines.append((title, f"{middle}, {worst} %", *cells))
    return table(head, lines)


def row_table() -> str:
    """Every row."""
    lines = (
        (
            *(item.row.name, f"{item.row.cell['model']}, {item.row.cell['method']}", item.row.kind),
            *(item.row.streams, f"{item.row.measured:.0f}", f"{item.prediction:.0f}"),
            f"{100 * item.error:+.1f} %",
        )
        for item in judged()
    )
    return table(("Row", "Model, method", "Kind", "Streams", "Measured", "Held back", "Error"), lines)


def page(text: str) -> str:
    """``text`` with the tables between their markers written anew. Raises ValueError where there are none."""
    parts = {"speed": summary_table(), "speed-rows": row_table()}
    return between_markers(text, "python -m benchmarks.planner.speed", parts)


@cache
def _all(kind: str) -> FittedKernels:
    """Fitted on every row."""
    return FittedKernels([row for row in rows() if kind_of(row) == kind and _fits(row)], fitted_law())


def constants() -> tuple[StepLaw, tuple[KernelTiming, ...]]:
    """What all rows give."""
    law = replace(fitted_law(), split=fitted_split())
    kernels = [law.kernels[0]]
    for start in LAW.kernels[1:]:
        kinds = {kind_of(row) for row in rows() if timing(SPEED, row.step.placement)[1:] == (start, True)}
        kinds -= {UNTIMED}
        kernels.extend(_all(kind).kernel(start) for kind in kinds)
        kernels.extend([start] if not kinds else [])
    return law, tuple(kernels)


def main(arguments: Sequence[str]) -> int:
    code = settle({PAGE: page(PAGE.read_text(encoding="utf-8"))}, arguments)
    if "--check" in arguments:
        return code
    print(row_table(), summary_table(), sep="\n\n")
    law, kernels = constants()
    print(
        f"\n{law.layer_microseconds:.1f} us a layer, {law.attention_nanoseconds:.1f} ns a stream, layer and"
    )
    print(f"head, x {law.odd_head:.2f}")
    print(f"traffic {law.traffic:.3f}")
    for kernel in kernels:
        print(f"{kernel.ran}: {', '.join(f'{name}={getattr(kernel, name):.4g}' for name in FITTED)}")
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
