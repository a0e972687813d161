"""The written figures are those that the planner gives now."""

from __future__ import annotations

import pytest

from benchmarks.planner import run
from benchmarks.planner.models import facts
from benchmarks.planner.peers import StartCase, gpustack, hf_mem, kaito
from tacho_contract.units import GIB


def test_the_files_have_not_drifted(capsys):
    assert run.main(["--check"]) == 0, capsys.readouterr().out


def test_drift_would_be_seen():
    text = run.PAGE.read_text(encoding="utf-8")
    found = run.results()
    assert run.page(text.replace("| tacho |", "| tacho? |"), found) == text
    with pytest.raises(ValueError, match="no markers"):
        run.page("nothing", found)


def asked(model: str, gpus: int, gib: float, length: int) -> StartCase:
    found = facts(model)
    assert found.architecture is not None
    size = int(gib * GIB)
    return StartCase(
        facts=found, architecture=found.architecture, gpus=gpus, gpu_bytes=size, gpu_label_bytes=size,
        max_model_len=length,
    )  # fmt: skip


def test_the_others_formulas_by_hand():
    """Llama-3.1-8B: 14.957 GiB, 128 KiB a token; 8192 tokens are 1 GiB."""
    one = asked("llama-3.1-8b", 1, 24, 8192)
    assert hf_mem(one).text == "16.0 GiB"
    assert gpustack(one).text == "19.9 GiB"
    assert kaito(one).text == "1 GPU"  # 15.26 / ((20.16 - 3.3) / 1.05 = 16.06)
    assert kaito(asked("llama-3.1-8b", 1, 24, 16384)).text == "2 GPUs"
    assert kaito(asked("llama-3.1-8b", 1, 12, 131072)).text == "error"
    assert hf_mem(asked("llama-3.1-8b-awq", 1, 24, 8192)).fits is None
    deepseek = asked("deepseek-v3", 8, 140, 1)
    assert hf_mem(deepseek).fits is True
