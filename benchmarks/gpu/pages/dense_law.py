"""Loops of dense models with vLLM 0.32 on H200s, and the law of their speed fitted to them."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from statistics import fmean
from typing import Any

from benchmarks.gpu.pages.h200_graphs import CAPTURED, MOST_TOKENS
from benchmarks.gpu.pages.loops import levels, row_of
from benchmarks.gpu.pages.recorded import RAW
from benchmarks.planner.speed import SPEED, WEIGHTS, least_squares, loop_of, predicted
from benchmarks.planner.speed_rows import STORED, Row
from tacho_engines.profile import KernelTiming, StepLaw
from tacho_engines.vllm.speed import HELD_ON, IN_TURN
from tacho_operator.core.planner.expected_speed import ON_HOST_WITHIN, on_host, timing

FOLDER = RAW / "vllm-0.32-dense"
SERVERS = {
    "llama-3.2-1b-none": ("Llama-3.2-1B", "16 bits"),
    "qwen2.5-1.5b-none": ("Qwen2.5-1.5B", "16 bits"),
    "qwen2.5-3b-none": ("Qwen2.5-3B", "16 bits"),
    "qwen2.5-7b-none": ("Qwen2.5-7B", "16 bits"),
    "qwen3-8b-none": ("Qwen3-8B", "16 bits"),
    "qwen2.5-32b-none": ("Qwen2.5-32B", "16 bits"),
    "qwen2.5-3b-fp8": ("Qwen2.5-3B", "FP8"),
    "qwen2.5-7b-fp8": ("Qwen2.5-7B", "FP8"),
    "qwen2.5-3b-gptq-stored": ("Qwen2.5-3B", "GPTQ"),
    "qwen2.5-7b-gptq-stored": ("Qwen2.5-7B", "GPTQ"),
    "llama-3.1-8b-awq-stored": ("Llama-3.1-8B", "AWQ"),
    "qwen2.5-32b-awq-stored": ("Qwen2.5-32B", "AWQ"),
}
"""The servers of this host, by the files' names."""
SHORT = {
    "llama-3.1-8b-w4a16-stored": ("Llama-3.1-8B", "W4A16"),
    "llama-3.1-8b-bnb-nf4": ("Llama-3.1-8B", "NF4"),
    "qwen2.5-3b-bnb-nf4": ("Qwen2.5-3B", "NF4"),
}
"""Those that had a short loop alone."""


def served(name: str) -> tuple[str, str]:
    """The model of a file and the method of its plan. A quantized checkpoint is named after its form."""
    name = name.removesuffix(CAPTURED)
    if name.endswith("-stored"):
        model = name.removesuffix("-stored")
        return model, STORED[model.rpartition("-")[2]]
    found = re.fullmatch(r"(.+?)-(none|fp8|bnb-nf4)", name)
    assert found, name
    return found[1], found[2]


EIGHT, FP8 = ("llama-3.1-8b", "none"), ("llama-3.1-8b", "fp8")
AWQ, GPTQ = ("llama-3.1-8b-awq", "awq"), ("llama-3.1-8b-gptq", "gptq")
THIS = "this one"
HOSTS: dict[str, dict[str, tuple[str, str]]] = {
    "[the first](vllm-0.32.md)": {
        "vllm-0.32/goals/8b-bf16": EIGHT,
        "vllm-0.32/speed/llama-3.1-8b-fp8": FP8,
        "vllm-0.32/speed/llama-3.1-8b-awq-stored": AWQ,
        "vllm-0.32/speed/llama-3.1-8b-gptq-stored": GPTQ,
    },
    "[with experts](vllm-0.32-experts.md)": {
        "vllm-0.32-experts/llama-3.1-8b-gptq-stored": GPTQ,
    },
    "[of four](vllm-0.32-four.md)": {
        "vllm-0.32-four/goals/8b-bf16": EIGHT,
        "vllm-0.32-four/goals/8b-fp8": FP8,
    },
    "[with other experts](vllm-0.32-unseen.md)": {"vllm-0.32-unseen/goals/8b-fp8": FP8},
    "[with graphs](vllm-0.32-graphs.md)": {
        "vllm-0.32-graphs/llama-3.1-8b": EIGHT,
        "vllm-0.32-graphs/llama-3.1-8b-fp8": FP8,
        "vllm-0.32-graphs/qwen2.5-3b": ("qwen2.5-3b", "none"),
    },
    "[of FP8](vllm-0.32-fp8.md)": {
        "vllm-0.32-fp8/llama-3.1-8b-16-bits": EIGHT,
        "vllm-0.32-fp8/llama-3.1-8b-per-tensor": FP8,
        "vllm-0.32-fp8/llama-3.1-8b-per-channel": FP8,
        "vllm-0.32-fp8/llama-3.1-8b-per-tensor-small-weights": FP8,
    },
    THIS: {f"vllm-0.32-dense/{name}": served(name) for name in SERVERS},
}
"""Files of loops with one front end, by the host of H200s that ran them: the model and the method of each."""
H100 = "the H100s"
H100_RAW = RAW.parent / "h100/vllm-0.32"
ON_H100 = {
    **{f"0.32/llama-3.1-8b-{name}": of for name, of in (("none", EIGHT), ("fp8", FP8), ("awq-stored", AWQ))},
    "again/llama-3.1-8b-fp8": FP8,
}
"""Judged alone: nothing is fitted to H100s."""
MANY_FRONT_ENDS = {
    "vllm-0.32-four/goals/0.6b": ("qwen3-0.6b", "none"),
    "vllm-0.32-graphs/qwen2.5-3b-4-front-ends": ("qwen2.5-3b", "none"),
}
"""Loops of four front ends: in no fit."""
START = {
    "prompt_step_microseconds": 20_000.0,
    "launch_microseconds": IN_TURN,
    "server_tokens_per_second": 10_000.0,
}
"""Where a fit begins. A limit of a server is seen from below: a high one limits no loop."""
A_STEP, A_LAYER, NO_LIMIT = (
    {"launch_microseconds": 0.0},
    {"prompt_step_microseconds": 0.0},
    {"server_tokens_per_second": math.inf},
)
VARIANTS: dict[str, dict[str, float]] = {
    "a step with a prompt, and a server": A_STEP,
    "a step with a prompt alone": A_STEP | NO_LIMIT,
    "each layer of a step with a prompt, and a server": A_LAYER,
    "a server alone": A_LAYER | {"launch_microseconds": IN_TURN},
    "none": A_LAYER | NO_LIMIT | {"launch_microseconds": IN_TURN},
}
"""What is held fast while the others are fitted."""


@dataclass(frozen=True)
class Loop:
    """One measured loop."""

    host: str
    row: Row
    steady: bool
    level: dict[str, Any]
    captured: bool = False
    """Whether CUDA graphs were captured for steps of up to ``MOST_TOKENS``."""

    @property
    def several(self) -> bool:
        return self.row.streams > 1

    @property
    def group(self) -> tuple[str, str, str, bool]:
        """Loops that say much the same: together they have one vote."""
        return self.host, self.row.model, self.row.cell["method"], self.several

    def off(self, constants: dict[str, float] | None = None) -> float:
        """By which share more is expected, as a logarithm. ``constants``: of 0.32; None: the plan's."""
        law, kernel = self._timing(self.row)
        return math.log(predicted(self.row, law, replace(kernel, **(constants or {}))) / self.row.measured)

    def off_before(self) -> float:
        """The same by the law of 0.26."""
        early = replace(self.row, cell={**self.row.cell, "version": "0.26.0"})
        return math.log(predicted(early, *self._timing(early)) / self.row.measured)

    def kernel(self) -> KernelTiming:
        """The constants of the plan, and its bands."""
        law, kernel = self._timing(self.row)
        return on_host(kernel, loop_of(self.row, law, kernel).gap(1))

    def _timing(self, row: Row) -> tuple[StepLaw, KernelTiming]:
        law, kernel, _ = timing(SPEED, row.step.placement)
        return law, replace(kernel, graph_tokens=MOST_TOKENS) if self.captured else kernel

    def holds(self, error: float) -> bool:
        """Whether the band of a plan holds so large an error, a logarithm."""
        kernel = self.kernel()
        return abs(error) <= math.log(1 + (kernel.output_within if self.several else kernel.decode_within))


def loops_of(
    host: str, folder: Path, files: dict[str, tuple[str, str]], gpu: str = HELD_ON[0]
) -> Iterator[Loop]:
    """Loops of files with one server each."""
    for file, (model, method) in files.items():
        cell = {"model": model, "method": method, "version": "0.32.0", "args": [], "maxModelLen": 4096}
        for level in levels(folder / f"{file}.json"):
            found = row_of(file, cell | {"gpu": gpu}, level)
            yield Loop(host, found, level["steady"], level, file.endswith(CAPTURED))


@cache
def loops() -> tuple[Loop, ...]:
    return tuple(loop for host, files in HOSTS.items() for loop in loops_of(host, RAW, files))


def steady() -> list[Loop]:
    return [loop for loop in loops() if loop.steady]


def fitted(judged: Sequence[Loop], start: dict[str, float] = START, **fixed: float) -> dict[str, float]:
    """Constants of 0.32 by least squares from ``start``, but for those that are ``fixed``.

    Each group has the same weight, and one stream of three times it.
    """
    groups: dict[tuple[str, str, str, bool], list[Loop]] = {}
    for loop in judged:
        groups.setdefault(loop.group, []).append(loop)

    def loss(values: dict[str, float]) -> float:
        return sum(
            WEIGHTS[found[0].row.figure] * fmean(loop.off(fixed | values) ** 2 for loop in found)
            for found in groups.values()
        )

    return fixed | least_squares({name: start[name] for name in start if name not in fixed}, loss)


def held_out(by: Callable[[Loop], str]) -> dict[str, list[tuple[Loop, float]]]:
    """The steady loops of each host or model, and their errors by a law that is fitted to all others."""
    found: dict[str, list[tuple[Loop, float]]] = {}
    for name in dict.fromkeys(map(by, steady())):
        law = fitted([loop for loop in steady() if by(loop) != name], **A_STEP)
        found[name] = [(loop, loop.off(law)) for loop in steady() if by(loop) == name]
    return found


@cache
def by_host() -> dict[str, list[tuple[Loop, float]]]:
    return held_out(lambda loop: loop.host)


@cache
def by_model() -> dict[str, list[tuple[Loop, float]]]:
    return held_out(lambda loop: loop.row.model)


def percent(error: float) -> float:
    return 100 * (math.exp(error) - 1)


def sizes(errors: Iterable[float]) -> list[float]:
    """Errors without their signs, in percent, ascending."""
    return sorted(abs(percent(error)) for error in errors)


def several(groups: dict[str, list[tuple[Loop, float]]]) -> list[float]:
    """Sizes of the held-out errors of several streams."""
    return sizes(error for found in groups.values() for loop, error in found if loop.several)


def waits_for_host(loop: Loop) -> bool:
    """Whether the GPU computes a step of one stream sooner than a slow host."""
    return loop.kernel().output_within == ON_HOST_WITHIN


def plain_eight() -> list[Loop]:
    """Steady loops of several streams of the 8B in 16 bits."""
    return [
        loop
        for loop in steady()
        if loop.several and (loop.row.cell["model"], loop.row.cell["method"]) == EIGHT
    ]


def on_h100() -> tuple[list[Loop], list[Loop]]:
    """Of the steady loops on H100s: one stream, and several."""
    found = [loop for loop in loops_of(H100, H100_RAW, ON_H100, HELD_ON[1]) if loop.steady]
    return [loop for loop in found if not loop.several], [loop for loop in found if loop.several]


def unsteady() -> list[Loop]:
    """Loops that are no truth: their streams are not their rate x their latency."""
    return [loop for loop in loops() if not loop.steady and loop.several]


def beyond(found: Iterable[Loop], percents: float) -> int:
    """How many are expected too high or too low by more than a factor of 1 + ``percents`` / 100."""
    return sum(abs(loop.off()) > math.log(1 + percents / 100) for loop in found)


def timed_well() -> list[Loop]:
    """All loops of several streams of models that do not wait for a host."""
    return [loop for loop in loops() if loop.several and not waits_for_host(loop)]
