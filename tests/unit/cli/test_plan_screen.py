"""The table of a plan, compared with files; ``TACHO_UPDATE_GOLDEN=1`` writes them anew for review."""

from __future__ import annotations

import os
import re
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, strategies as st

from tacho_cli.plan.answer import memory_rows, merged, show_plan, show_refusal
from tacho_contract.failure import Failure
from tacho_operator.api.status.plan import Alternative
from tacho_operator.core.planner.types import ModelPlan, PlanFailure, Prediction
from tools.harness.resources import FILES, plan

GOLDEN = Path(__file__).parent / "golden"
GIB = 2**30

ALTERNATIVES = (
    Alternative(
        engine="vllm",
        method="none",
        product="NVIDIA-L4",
        fits=False,
        reason="DoesNotFit",
        message="weights 14.96 GiB and 16 requests of 8192 tokens need 31.2 GiB of 19.8 GiB",
    ),
    Alternative(
        engine="vllm",
        method="bnb-nf4",
        product="NVIDIA-L4",
        fits=True,
        reason="LowerQuality",
        message="four bits a weight, [quantized] while loading",
        decode_tokens_per_second=41.6,
        expected_decode_tokens_per_second=29.1,
    ),
)
GPU_PLAN: ModelPlan = plan(
    engine="vllm",
    engine_version="0.32.0",
    quantization_method="fp8",
    gpu_product="NVIDIA-L4",
    gpu_count=2,
    gpu_memory_bytes=22 * GIB,
    tensor_parallel=2,
    max_model_len=8192,
    concurrency=16,
    files=replace(FILES, file_count=4, total_bytes=16 * GIB),
    message="fp8 on vllm: 4.2 GiB of weights on each of 2 NVIDIA-L4.",
    alternatives=ALTERNATIVES,
    predicted=Prediction(
        weights_bytes=4 * GIB,
        kv_cache_bytes=12 * GIB,
        kv_cache_tokens=196_608,
        max_concurrency=24.0,
        activation_bytes=GIB,
        graph_bytes=GIB // 2,
        total_bytes=18 * GIB,
        budget_bytes=20 * GIB,
        decode_tokens_per_second=52.4,
        expected_decode_tokens_per_second=33.4,
        expected_output_tokens_per_second=410.0,
        expected_capacity_tokens_per_second=1020.0,
        expected_capacity_concurrency=48,
        decode_within_percent=7,
        output_within_percent=100,
    ),
)
FAILURE = PlanFailure(
    failure=Failure(
        failure_class="DoesNotFit",
        message="It needs 31.2 GiB; NVIDIA-L4 has 19.8 GiB.",
        next_step="Set quantization.method to bnb-nf4, or take 2 GPUs.",
    ),
    gpu_count=1,
    gpu_memory_bytes=22 * GIB,
    max_model_len=8192,
    predicted=Prediction(
        weights_bytes=15 * GIB,
        kv_cache_bytes=4 * GIB,
        kv_cache_tokens=32_768,
        max_concurrency=4.0,
        activation_bytes=GIB,
        graph_bytes=0,
        total_bytes=20 * GIB,
        budget_bytes=20 * GIB,
    ),
    alternatives=ALTERNATIVES,
)


def assert_golden(name: str, text: str) -> None:
    path = GOLDEN / f"{name}.txt"
    if os.environ.get("TACHO_UPDATE_GOLDEN") == "1":
        path.write_text(text)
    assert path.exists(), f"{path.name} is missing: run with TACHO_UPDATE_GOLDEN=1 and review it"
    assert text == path.read_text(), f"{path.name} differs: review, then run with TACHO_UPDATE_GOLDEN=1"


@pytest.fixture(autouse=True)
def plain(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    monkeypatch.setenv("COLUMNS", "100")


def shown(capsys: pytest.CaptureFixture[str]) -> str:
    return "".join(f"{line.rstrip()}\n" for line in capsys.readouterr().out.splitlines())


def test_a_plan_for_gpus(capsys: pytest.CaptureFixture[str]) -> None:
    show_plan("llama", GPU_PLAN, "from the GPU catalog")
    assert_golden("gpu-plan", shown(capsys))


def test_what_is_expected_is_told_apart_from_the_bound(capsys: pytest.CaptureFixture[str]) -> None:
    other = replace(ALTERNATIVES[0], fits=True, expected_decode_tokens_per_second=12.3)
    show_plan("llama", replace(GPU_PLAN, alternatives=(other,)), "from the GPU catalog")
    lines = shown(capsys).splitlines()
    assert "one stream    33 tok/s expected, within 7 %; 52 at best" in lines
    assert "capacity      1020 tok/s expected, with 48 streams, a factor of 2 up or down" in lines
    assert "yes      12  " in next(line for line in lines if line.startswith("vllm "))


def test_a_service_level_that_no_stream_keeps_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    none = replace(
        GPU_PLAN.predicted, expected_capacity_tokens_per_second=0.0, expected_capacity_concurrency=0
    )
    show_plan("llama", replace(GPU_PLAN, predicted=none), "from the GPU catalog")
    assert "capacity      not even one stream within the service level" in shown(capsys).splitlines()


def test_a_plan_without_an_expected_speed_tells_none(capsys: pytest.CaptureFixture[str]) -> None:
    unknown = replace(GPU_PLAN.predicted, expected_decode_tokens_per_second=None)
    show_plan("llama", replace(GPU_PLAN, predicted=unknown, alternatives=()), "from the GPU catalog")
    assert "tok/s" not in shown(capsys)


def test_why_there_is_no_plan(capsys: pytest.CaptureFixture[str]) -> None:
    show_refusal("llama", FAILURE, "from the GPU catalog")
    assert_golden("does-not-fit", shown(capsys))


def test_a_plan_that_predicts_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    show_plan("own", plan(engine="custom", engine_version="", predicted=Prediction()), "for this machine")
    assert_golden("custom-plan", shown(capsys))


def test_a_terminal_gets_colours_unless_it_does_not_want_them(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    show_plan("llama", GPU_PLAN, "from the GPU catalog")
    assert "\x1b[34m" in capsys.readouterr().out
    monkeypatch.setenv("NO_COLOR", "1")
    show_plan("llama", GPU_PLAN, "from the GPU catalog")
    assert re.search(r"\x1b\[[\d;]*[349]\d", capsys.readouterr().out) is None


@pytest.mark.parametrize("terminal", ["", "1"])
def test_a_terminal_without_a_size_hides_nothing(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, terminal: str
) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    if terminal:
        monkeypatch.setenv("FORCE_COLOR", terminal)
    monkeypatch.setenv("COLUMNS", "120")
    show_plan("llama", GPU_PLAN, "from the GPU catalog")
    whole = capsys.readouterr().out.split()
    monkeypatch.setenv("COLUMNS", "0")
    show_plan("llama", GPU_PLAN, "from the GPU catalog")
    assert capsys.readouterr().out.split() == whole


def test_methods_that_the_same_words_rule_out_share_a_row() -> None:
    def ruled_out(method: str, engine: str = "vllm") -> Alternative:
        message = f"{method} needs a checkpoint that was quantized beforehand"
        return replace(
            ALTERNATIVES[0], engine=engine, method=method, reason="UnsupportedQuantization", message=message
        )

    rows = merged([*ALTERNATIVES, ruled_out("awq"), ruled_out("gptq"), ruled_out("gptq", "transformers")])
    assert [(row.engine, row.method) for row in rows] == [
        ("vllm", "none"),
        ("vllm", "bnb-nf4"),
        ("vllm", "awq, gptq"),
        ("transformers", "gptq"),
    ]
    assert rows[2].message == "needs a checkpoint that was quantized beforehand"
    assert rows[3].message == "gptq needs a checkpoint that was quantized beforehand"


SIZES = st.one_of(st.none(), st.integers(0, 2**45))


@given(SIZES, SIZES, SIZES, SIZES, st.integers(0, 2**47), SIZES)
def test_the_parts_add_up(
    weights: int | None,
    cache: int | None,
    activations: int | None,
    graphs: int | None,
    unnamed: int,
    spare: int | None,
) -> None:
    total = sum(size or 0 for size in (weights, cache, activations, graphs)) + unnamed
    whole = total + (spare or 0)
    rows = memory_rows(
        Prediction(
            weights_bytes=weights,
            kv_cache_bytes=cache,
            activation_bytes=activations,
            graph_bytes=graphs,
            total_bytes=total,
        ),
        whole,
    )
    assert sum(size for _, size in rows) == whole
    assert all(size >= 0 for _, size in rows)


def test_a_wide_table_has_a_row_for_each_alternative(capsys: pytest.CaptureFixture[str]) -> None:
    ruled_out = [
        Alternative(engine="vllm", method=method, fits=False, reason="UnsupportedQuantization", message="no")
        for method in ("awq", "gptq")
    ]
    for wide, methods in ((False, ["awq,", "gptq"]), (True, ["awq", "gptq"])):
        show_plan("mistral", replace(GPU_PLAN, alternatives=tuple(ruled_out)), "from a test", wide=wide)
        rows = capsys.readouterr().out.split("Alternatives")[1]
        assert re.findall(r"(?:awq|gptq),?", rows) == methods
        assert rows.count("UnsupportedQuantization") == (2 if wide else 1)
