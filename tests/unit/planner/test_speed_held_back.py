"""The law of speed held back by model: as near to what was measured as is published."""

from __future__ import annotations

import dataclasses

import pytest

from benchmarks.planner import speed as held_back
from benchmarks.planner.speed_rows import ROOT, cells, rows
from tacho_engines.registry import engine_profile

SPEED = engine_profile("vllm").speed
assert SPEED.law is not None
LAW = SPEED.law
NEAR = {"one stream": 0.09, "load": 0.2, "edge": 0.14}
"""Of 16 and 8 bits held back, as benchmarks/lab/planner.md says; Phi-2's odd heads are further off."""
NEAR_SHORT_EDGE = 0.25
"""Edges between levels of short loops, which are four times apart."""
FAR = {
    "awq": {"one stream": 0.071, "load": 0.18, "edge": 0.1},
    "bnb-nf4": {"one stream": 0.06, "load": 0.19, "edge": 0.39},
    "experts": {"one stream": 0.14, "load": 0.29, "edge": 0.36},
    "experts in 8 bits": {"one stream": 0.25, "load": 0.27, "edge": 0.6},
    "experts in 4 bits": {"one stream": 0.061, "load": 0.24, "edge": 0.33},
}
"""Of methods of 4 bits, and of models with experts."""


def of(figure: str, *kinds: str) -> list[held_back.Judged]:
    return [item for item in held_back.judged() if item.row.figure == figure and item.kind in kinds]


@pytest.mark.parametrize("figure", NEAR)
def test_16_and_8_bits_held_back_are_as_near_as_the_goal(figure):
    found = held_back.summary(of(figure, "none", "8 bits"))
    assert found is not None
    assert found["median"] <= held_back.GOALS[figure][0]
    short = {"edge": NEAR_SHORT_EDGE}.get(figure, NEAR[figure])
    far = [
        item
        for item in of(figure, "none", "8 bits")
        if abs(item.error) > (short if item.row.kind == "loop" else NEAR[figure])
    ]
    assert {item.row.model for item in far} <= {"phi-2"}
    assert len(far) <= 2


@pytest.mark.parametrize(
    ("kind", "figure"), [(kind, figure) for kind, errors in FAR.items() for figure in errors]
)
def test_4_bits_and_experts_held_back_are_as_near_as_is_published(kind, figure):
    found = of(figure, kind)
    assert found
    assert max(abs(item.error) for item in found) <= FAR[kind][figure]


SLOW_HOST = "h100/speed/qwen2.5-3b-none"
"""Where launching kernels takes longest: on another host it gave 77 and 85 % of these loads."""


@pytest.mark.parametrize("figure", NEAR)
def test_an_h100_to_which_nothing_was_fitted_is_as_near_as_the_goal(figure):
    """With an 8B and a 32B, but for NF4, which is timed on an H200 alone."""
    large = [
        item
        for item in of(figure, held_back.H100)
        if item.row.model in {"llama-3.1-8b", "qwen2.5-32b"} and item.row.cell["method"] != "bnb-nf4"
    ]
    assert {item.row.cell["method"] for item in large} >= {"fp8", "awq"}
    found = held_back.summary(large)
    assert found is not None
    middle, worst = held_back.GOALS[figure]
    assert found["median"] <= middle
    assert abs(found["worst"]) <= worst
    assert found["held"] == found["rows"]


@pytest.mark.parametrize("kind", [kind for kind in held_back.TIMED if kind != held_back.SPLIT])
def test_launching_a_step_with_a_prompt_earns_its_constant(kind):
    """Without it, small models under load are expected a fifth too fast."""
    law, kernels = held_back.constants()
    small = [
        item.row
        for item in of("load", kind)
        if item.row.model in {"qwen2.5-1.5b", "qwen2.5-3b", "olmoe", "granite-moe"} and item.row.streams == 64
    ]
    assert small
    for row in small:
        kernel = kernels[LAW.kernels.index(held_back.timing(SPEED, row.step.placement)[1])]
        without = dataclasses.replace(kernel, launch_microseconds=0.0)
        assert held_back.predicted(row, law, without) > 1.18 * row.measured


def test_splitting_a_layer_earns_its_constants():
    """Without them, one stream over several GPUs is expected 6 to 16 % too fast, and loads 21 to 72 %."""
    law = dataclasses.replace(LAW, split=None)
    rows = [item.row for item in of("one stream", held_back.SPLIT)]
    rows += [item.row for item in of("load", held_back.SPLIT)]
    found: dict[bool, list[float]] = {True: [], False: []}
    for row in rows:
        kernel = held_back.timing(dataclasses.replace(SPEED, law=law), row.step.placement)[1]
        found[row.streams == 1].append(held_back.predicted(row, law, kernel) / row.measured - 1)
    assert 0.05 < min(found[True]) < max(found[True]) < 0.165
    assert 0.18 < min(found[False]) < max(found[False]) < 0.725


@pytest.mark.parametrize("kind", [*held_back.TIMED, held_back.H100, held_back.AGAIN])
@pytest.mark.parametrize("figure", NEAR)
def test_the_band_holds_in_nine_of_ten_of_each_kind(figure, kind):
    """A plan shows the band of its own kind, so others do not make up for it."""
    found = held_back.summary(item for item in of(figure, kind) if not item.row.name.startswith(SLOW_HOST))
    if found is not None:
        assert found["held"] >= 0.9 * found["rows"]


def test_hosts_of_one_gpu_differ_by_as_much_as_is_published():
    """benchmarks/lab/planner.md says the widest: one stream of a Qwen3-30B-A3B, a Phi-mini at 16 streams."""
    found: dict[tuple[str, int], list[float]] = {}
    for item in [*of("one stream", "experts", held_back.AGAIN), *of("load", "experts", held_back.AGAIN)]:
        found.setdefault((item.row.cell["model"], item.row.streams), []).append(item.row.measured)
    apart = {place: round(100 * (max(rates) / min(rates) - 1)) for place, rates in found.items()}
    assert {place: percent for place, percent in apart.items() if percent > 8} == {
        ("qwen3-30b-a3b", 16): 11,
        ("qwen3-30b-a3b", 64): 13,
        ("qwen3-30b-a3b", 256): 18,
        ("phi-mini-moe-as-qwen3", 16): 19,
    }


def test_the_constants_are_what_all_rows_give():
    law, kernels = held_back.constants()
    for name in ("traffic", "layer_microseconds", "attention_nanoseconds", "odd_head"):
        assert getattr(LAW, name) == pytest.approx(getattr(law, name), rel=0.01)
    assert LAW.split is not None
    for name in ("layer_microseconds", "batch_layer_microseconds", "launch_microseconds"):
        assert getattr(LAW.split, name) == pytest.approx(getattr(law.split, name), rel=0.01)
    for found, constant in zip(kernels, LAW.kernels, strict=True):
        for name in held_back.FITTED:
            assert getattr(constant, name) == pytest.approx(getattr(found, name), rel=0.01)


def test_the_design_page_has_these_constants_and_bands():
    plain, fp8, w8a8, machete, nf4, *_ = LAW.kernels
    newer = next(kernel for kernel in LAW.kernels if kernel.prompt_step_microseconds)
    experts, marlin, in_fp8, in_mxfp4, *newer_experts = (
        kernel for kernel in LAW.kernels if kernel.experts and not kernel.partial_groups
    )
    bands = [
        f"{kernel.decode_within:.0%} and {kernel.output_within:.0%}".replace("%", "", 1).replace("%", " %")
        for kernel in (plain, fp8, machete, nf4)
    ]
    rows = [
        f"| Experts in {weights} | {old.layer_microseconds:.1f} us | {old.batch_layer_microseconds:.1f} us | "
        f"{old.launch_microseconds:,.0f} us | {new.launch_microseconds:,.0f} us | "
        f"{100 * old.decode_within:.0f}, {100 * new.decode_within:.0f} % | "
        f"{100 * old.output_within:.0f}, {100 * new.output_within:.0f} % |"
        for weights, old, new in zip(
            ("16 bits (Triton)", "FP8 (Triton)", "4 bits (Marlin)"),
            (experts, in_fp8, marlin),
            newer_experts,
            strict=True,
        )
    ]
    page = " ".join((ROOT / "docs/design/planner.md").read_text(encoding="utf-8").split())
    split = LAW.split
    assert split is not None
    for told in (
        f"each layer takes {split.layer_microseconds} us longer for one stream and "
        f"{split.batch_layer_microseconds} for several, and `h` is {split.launch_microseconds:.0f} us.",
        f"the bands are {100 * split.decode_within:.0f} and {100 * split.output_within:.0f} %",
        f"| `m` | {LAW.traffic:.3f} |",
        f"| `l` | {LAW.layer_microseconds:.1f} us |",
        f"| `b` | one stream: FP8 {fp8.layer_microseconds:.1f} us, "
        f"W8A8 {w8a8.layer_microseconds:.1f}, Machete "
        f"{machete.layer_microseconds:.1f}, NF4 {nf4.layer_microseconds:.1f}; several: FP8 and W8A8 "
        f"{fp8.batch_layer_microseconds:.1f}, Machete {machete.batch_layer_microseconds:.1f}, NF4 "
        f"{nf4.batch_layer_microseconds:.1f} |",
        f"| `h` | {plain.launch_microseconds:.0f} us, NF4 {nf4.launch_microseconds:.0f}; "
        f"with vLLM {newer.version} none |",
        f"| `H` | with vLLM {newer.version} {newer.prompt_step_microseconds / 1e3:.2f} ms |",
        f"| `o` | {plain.overlap:.0f}, NF4 {nf4.overlap:.0f} |",
        f"| `a` | {LAW.attention_nanoseconds:.1f} ns, {LAW.odd_head:.2f} times that for heads",
        f"| `c` | {LAW.prompt_attention:.1f} |",
        f"| `f` | {plain.arithmetic:.3f}, Machete and NF4 too; FP8 and W8A8 {fp8.arithmetic:.2f} |",
        f"| `u` | one stream: Machete {machete.unpacking:.0f}, NF4 {nf4.unpacking:.0f}; several: NF4 "
        f"{nf4.batch_unpacking:,.0f} |",
        f"several: {bands[0]} in 16 bits, {bands[1]} in 8, {bands[2]} on Machete, {bands[3]} in NF4.",
        *rows,
        f"| Experts in MXFP4 | {in_mxfp4.layer_microseconds:.1f} us | as in 16 bits | "
        f"{in_mxfp4.launch_microseconds:,.0f} us | {in_mxfp4.launch_microseconds:,.0f} us |"
        " a factor of two | a factor of two |",
    ):
        assert told in page
    assert nf4.arithmetic == machete.arithmetic == plain.arithmetic
    assert {plain.launch_microseconds} == {kernel.launch_microseconds for kernel in (fp8, w8a8, machete)}
    for name in ("batch_layer_microseconds", "arithmetic", "output_within"):
        assert getattr(w8a8, name) == getattr(fp8, name)


def test_what_is_held_back_was_not_fitted_on():
    """A law that never saw a model differs from the one that did."""
    for model in ("llama-3.1-8b", "phi-2", "llama-2-7b", "qwen3-0.6b"):
        assert held_back.fitted_law(model) != held_back.fitted_law()
    assert held_back.fitted_law("phi-2").odd_head == 1.0


def test_each_configuration_names_the_file_it_was_read_from():
    assert all((ROOT / cell["source"].split()[0]).exists() for cell in cells().values())
    names = [(row.name, row.figure) for row in rows()]
    assert len(set(names)) == len(names)


def test_loads_of_experts_that_all_tokens_share_judge_nothing():
    """Of made-up weights in FP8 and MXFP4 one stream alone is a row, unless the engine draws experts."""
    loads = [row for row in rows() if row.figure != "one stream" and row.step.placement.architecture.experts]
    assert {row.cell["method"] for row in loads} == {"none", "gptq", "fp8"}
    assert all("/experts-spread/" in row.name for row in loads if row.cell["method"] == "fp8")
    assert not any(row.model.startswith("gpt-oss") for row in loads)


def test_one_stream_of_experts_in_mxfp4_is_near_what_it_was_fitted_to():
    """On an H200, and on an H100, to which nothing was fitted."""
    found = [
        item for item in of("one stream", held_back.UNTIMED) if item.row.step.placement.architecture.experts
    ]
    assert {item.row.cell["method"] for item in found} == {"none"}
    assert len(found) >= 4
    assert max(abs(item.error) for item in found) <= 0.17


def test_drawn_experts_are_as_fast_as_made_up_routers_where_these_spread_tokens():
    """In 16 bits, at each level that is steady in both. In FP8 several streams are slower by a quarter."""
    rates = {(row.name, row.streams): row.measured for row in rows() if row.figure in {"load", "one stream"}}

    def shares(model):
        again = (
            (key, rate) for key, rate in rates.items() if key[0].startswith(f"h100/experts-spread/{model}")
        )
        return {
            key[1]: rate / first
            for key, rate in again
            if (first := rates.get((key[0].replace("-spread", ""), key[1])))
        }

    plain = shares("phi-mini-moe-as-qwen3-none")
    assert set(plain) >= {1, 4, 16, 256}
    assert all(0.94 <= share <= 1.06 for share in plain.values())
