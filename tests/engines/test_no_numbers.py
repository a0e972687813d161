"""A token for which the model computes NaN, in tacho's server over Transformers on this CPU."""

from __future__ import annotations

import subprocess
import threading
from pathlib import Path
from typing import Any

import pytest

from tests.engines.serving import Served, serving, transformers_command

TOKEN = 17
WITHOUT_NUMBERS = """
import sys, torch, transformers
source, target, token = sys.argv[1:]
model = transformers.AutoModelForCausalLM.from_pretrained(source, dtype="bfloat16")
model.config.tie_word_embeddings = False
model.lm_head.weight = torch.nn.Parameter(model.get_input_embeddings().weight.data.clone())
model.get_input_embeddings().weight.data[int(token)] = float("nan")
model.save_pretrained(target)
transformers.AutoTokenizer.from_pretrained(source).save_pretrained(target)
"""
GOOD = {"model": "m", "prompt": "The capital of France is", "max_tokens": 3, "temperature": 0}


def text(served: Served, **changes: Any) -> tuple[int, str]:
    """The status, and the text or the message."""
    answer = served.post("/v1/completions", {**GOOD, **changes})
    found = answer.json()
    return answer.status_code, found["choices"][0]["text"] if answer.is_success else found["error"]["message"]


@pytest.mark.nightly
@pytest.mark.timeout(900)
def test_a_request_without_numbers_ends_no_other_and_gives_it_no_wrong_text(
    engines_python: Path, safetensors_model: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "model"
    subprocess.run(
        [engines_python, "-c", WITHOUT_NUMBERS, safetensors_model, folder, str(TOKEN)],
        check=True,
        capture_output=True,
    )
    with serving(transformers_command(engines_python, folder), tmp_path / "log") as served:
        status, right = text(served)
        assert status == 200
        whole = text(served, max_tokens=20)
        beside: list[tuple[int, str]] = []
        long = threading.Thread(target=lambda: beside.append(text(served, max_tokens=20)))
        long.start()
        for temperature in (1, 0):
            status, message = text(served, prompt=[5, TOKEN, 9], temperature=temperature)
            assert status == 500
            assert "NaN" in message
        long.join()
        assert beside[0] == whole or beside[0][0] == 500
        assert text(served) == (200, right)
        assert served.get("/health").status_code == 200
