"""An engine that loads its weights unquantized, and without a word: noticed before it serves, and told."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.engines.planned import planned
from tests.engines.serving import ROOT
from tests.unit.runtime.running import running
from tools.harness.pod_states import container_state
from tools.harness.world import World
from tools.mock.checkpoints import write_checkpoint_of

pytestmark = pytest.mark.timeout(900)  # a quarter of a minute on two idle cores

SHAPE = {"hidden_size": 1152, "intermediate_size": 3072, "num_hidden_layers": 20}
HEADS = {"num_attention_heads": 18, "num_key_value_heads": 6}
STORED_BYTES = 679_554_432
"""Of SmolLM2 at this size. The linear layers make up 566 million of them, and a quarter of that in NF4."""
OWN_START = """
import os, sys
words = sys.argv[1:]
at = words.index("--quantization")
del words[at : at + 2]
os.execv(sys.executable, [sys.executable, "-m", "tacho_transformers", *words])
"""
"""What starts the server in an image of somebody's own: not every switch comes through."""


@pytest.fixture
def larger(safetensors_model: Path, tmp_path: Path) -> Path:
    """A claim with a model that is large enough for its weights to be told from what a load takes beside
    them: SmolLM2's tokenizer, its configuration at another size, and holes for weights."""
    config: dict[str, Any] = json.loads((safetensors_model / "config.json").read_text())
    folder = write_checkpoint_of(tmp_path / "claim" / "smollm2-bf16", config | SHAPE | HEADS)
    for file in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "generation_config.json"):
        shutil.copy(safetensors_model / file, folder / file)
    return folder.parent


def test_weights_that_were_not_quantized_end_the_start(
    larger: Path, engines_python: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT / "runtime"))
    setup, plan = planned(
        "transformers-nf4-cpu.yaml", tmp_path, claim=larger, python=engines_python, changes={}
    )
    predicted = plan.predicted.weights_bytes
    assert predicted < 0.4 * STORED_BYTES
    entrypoint = (str(engines_python), "-c", OWN_START)
    with running(
        dataclasses.replace(setup.runtime, entrypoint=entrypoint), tmp_path, patience_seconds=600
    ) as started:
        code = started.ended()
        log = started.log()
    told = started.failure()
    assert (code, told.failure_class) == (1, "QuantizationNotApplied"), log[-3000:]
    assert "quantization none" in log, "the engine's own word for it"
    assert int(told.details["predictedBytes"]) == predicted
    assert int(told.details["loadedBytes"]) == pytest.approx(STORED_BYTES, rel=0.001)
    assert "bnb-nf4 should leave" in told.message
    assert "spec.engine.image" in told.next_step
    ready = in_the_status(Path(setup.runtime.paths.termination_log).read_text())
    print(ready["message"])
    assert (ready["status"], ready["reason"]) == ("False", "QuantizationNotApplied")
    assert told.message in ready["message"]
    assert "spec.engine.image" in ready["message"]


def in_the_status(termination_message: str) -> dict[str, Any]:
    """Ready, where a pod's first engine container ended with this."""
    world = World()
    world.come_up()
    (pod,) = world.pods("server")
    ended = {"exitCode": 1, "message": termination_message}
    container_state(pod, restartCount=1, state={"waiting": {}}, lastState={"terminated": ended})
    world.reports.pop(pod["metadata"]["uid"], None)
    world.reconcile(1)
    assert world.brief("Stalled") == ("True", "QuantizationNotApplied")
    return world.condition("Ready")
