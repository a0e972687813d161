"""benchmarks/lab/h200/vllm-0.32-dense.md: dense models with vLLM 0.32, and the law of their speed."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from statistics import median

from benchmarks.gpu.pages.dense_law import (
    A_STEP,
    FOLDER,
    H100,
    MANY_FRONT_ENDS,
    SERVERS,
    SHORT,
    THIS,
    VARIANTS,
    Loop,
    beyond,
    by_host,
    by_model,
    fitted,
    loops,
    loops_of,
    on_h100,
    percent,
    plain_eight,
    served,
    several,
    sizes,
    steady,
    timed_well,
    unsteady,
    waits_for_host,
)
from benchmarks.gpu.pages.h200_graphs import logged
from benchmarks.gpu.pages.loops import levels, pair, rate
from benchmarks.gpu.pages.recorded import RAW, fill, number, row, share
from benchmarks.planner.placements import placement
from tacho_contract.units import GIB
from tacho_engines.base import Context
from tacho_engines.registry import planner_adapter
from tacho_engines.vllm.speed import FRONT_END_TOKENS_PER_SECOND, IN_16, newest
from tacho_operator.core.planner.expected_speed import ON_HOST_WITHIN

EXPERTS = "vllm-0.32-experts"
"""A host with loops of other laws."""


def span(errors: Sequence[float]) -> str:
    """The least and the largest, in whole percent."""
    if not errors:
        return "-"
    return f"{percent(min(errors)):+.0f} to {percent(max(errors)):+.0f} %"


def judged(groups: dict[str, list[tuple[Loop, float]]], title: Callable[[str], str]) -> Iterator[str]:
    for name, found in groups.items():
        of = [(loop, error) for loop, error in found if loop.several]
        yield row(
            title(name),
            str(len(of)),
            span([loop.off_before() for loop, _ in of]),
            span([error for _, error in of]),
        )


def rates() -> Iterator[str]:
    for name, (title, weights) in (SERVERS | SHORT).items():
        for loop in loops_of(THIS, FOLDER, {name: served(name)}):
            level = loop.level
            yield row(
                title,
                weights,
                str(level["streams"]),
                number(loop.row.measured),
                pair(level["ttft_ms"]),
                pair(level["tpot_ms"], 1),
                f"{percent(loop.off_before()):+.0f} %",
                f"{percent(loop.off()):+.0f} %" if name in SERVERS else "-",
                "" if level["steady"] else "not steady",
            )


def weights() -> Iterator[str]:
    for name, (title, form) in (SERVERS | SHORT).items():
        yield row(title, form, *loaded(name, FOLDER))


def loaded(name: str, folder: Path) -> tuple[str, str, str]:
    """Planned GiB of weights, those of a server's log, and the error."""
    model, method = served(name)
    at = placement("vllm", model, method, "NVIDIA-H200", version="0.32.0")
    account = planner_adapter("vllm").account(at, Context(4096, 1))
    assert account is not None
    planned = account.weights_bytes / GIB
    found = float(logged(name, r"Model loading took ([\d.]+) GiB", folder))
    return f"{planned:.2f}", f"{found:.2f}", share(planned, found)


def ablation() -> Iterator[str]:
    """What each constant gains: errors of several streams, of loops that the constants are fitted to."""
    for title, fixed in VARIANTS.items():
        law = fitted(steady(), **fixed)
        found = sizes(loop.off(law) for loop in steady() if loop.several)
        far = sum(each > 20 for each in found)
        yield row(title, f"{median(found):.1f} %", f"{found[-1]:.0f} %", str(far))


def forms() -> Iterator[str]:
    """Median errors of several streams by the weights' method."""
    for method, title in {"none": "16 bits", "fp8": "FP8", "gptq": "GPTQ", "awq": "AWQ"}.items():
        of = [loop for loop in steady() if loop.several and loop.row.cell["method"] == method]
        medians = (median(sizes(errors)) for errors in ((x.off_before() for x in of), (x.off() for x in of)))
        yield row(title, str(len(of)), *(f"{each:.1f} %" for each in medians))


def front_ends() -> Iterator[str]:
    for loop in loops_of("", RAW, MANY_FRONT_ENDS):
        steady = "" if loop.steady else ", not steady"
        yield row(
            loop.row.model.capitalize(),
            str(loop.row.streams),
            number(loop.row.measured) + steady,
            f"{percent(loop.off_before()):+.0f} %",
            f"{percent(loop.off()):+.0f} %",
        )


def fits() -> Iterator[str]:
    yield from judged(by_host(), str)
    of = on_h100()[1]
    yield row(H100, str(len(of)), span([loop.off_before() for loop in of]), span([loop.off() for loop in of]))


def page() -> str:
    constants = fitted(steady(), **A_STEP)
    newer = newest(IN_16)
    for name, value in constants.items():
        assert math.isclose(getattr(newer, name), value, rel_tol=1e-3), (name, value)
    before = sizes(loop.off_before() for loop in steady() if loop.several)
    hosts, models = several(by_host()), several(by_model())
    alone = [loop for loop in steady() if not loop.several]
    eight_before = sizes(loop.off_before() for loop in plain_eight())
    eight = sizes(loop.off() for loop in plain_eight())
    one, many = (sizes(loop.off() for loop in found) for found in on_h100())
    small = next(loop for loop in loops() if "llama-3.2-1b" in loop.row.name and not loop.several)
    times = [(end - first) / (tokens - 1) for _, first, end, tokens, *_ in small.level["raw"]["rows"]]
    return fill(
        "h200_newest_dense",
        rates=rates(),
        ablation=ablation(),
        hosts=fits(),
        models=judged(by_model(), str.capitalize),
        weights=weights(),
        front_ends=front_ends(),
        prompt_step=newer.prompt_step_microseconds / 1e3,
        tokens=number(newer.server_tokens_per_second),
        before=median(before),
        before_worst=before[-1],
        before_far=sum(each > 20 for each in before),
        count=len(before),
        by_host=median(hosts),
        by_host_worst=hosts[-1],
        by_host_far=sum(each > 20 for each in hosts),
        by_model=median(models),
        by_model_worst=models[-1],
        by_model_far=sum(each > 20 for each in models),
        most=number(max(loop.row.measured for loop in steady())),
        eight_before=median(eight_before),
        eight_before_worst=eight_before[-1],
        eight=median(eight),
        eight_worst=eight[-1],
        forms=forms(),
        front_end=number(FRONT_END_TOKENS_PER_SECOND),
        experts=number(rate(levels(f"{EXPERTS}/olmoe-as-qwen3-none.json", 256)[0])),
        split=number(rate(levels(f"{EXPERTS}/llama-3.1-8b-none-tp2.json", 256)[0])),
        olmoe=levels(f"{EXPERTS}/olmoe-as-qwen3-none.json", 1)[0]["tpot_ms"]["p50"],
        host_step=newer.host_step_microseconds / 1e3,
        on_host=100 * ON_HOST_WITHIN,
        alone_count=len(alone),
        alone=median(sizes(loop.off() for loop in alone)),
        alone_far=span([loop.off() for loop in alone if waits_for_host(loop)]),
        alone_near=sizes(loop.off() for loop in alone if not waits_for_host(loop))[-1],
        fastest=min(times),
        slowest=max(times),
        h100_one=one[-1],
        h100=median(many),
        h100_worst=many[-1],
        unsteady=len(unsteady()),
        unsteady_far=beyond(unsteady(), 20),
        all=len(timed_well()),
        outside=beyond(timed_well(), 100 * newer.output_within),
    )
