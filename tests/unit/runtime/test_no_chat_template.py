"""A GGUF model without a chat template, in llama.cpp itself: what is answered, and what was said before."""

from __future__ import annotations

import json
import urllib.request
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tacho_contract.model import InspectConfig, ModelFacts
from tacho_contract.uri import FileUri
from tacho_operator.api.types import LLMDeployment
from tacho_operator.core.planner.plan import plan_model
from tacho_operator.core.planner.types import ModelPlan
from tacho_runtime.hub.inspect import inspect
from tests.launching import changed
from tests.unit.runtime.running import Running, running
from tests.unit.runtime.test_real_engine import llamacpp_config
from tools.engines import gguf_model
from tools.harness.resources import CONFIG

KEY, OTHER = b"tokenizer.chat_template", b"tokenizer.that_template"


@pytest.fixture(scope="module")
def mute_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """SmolLM2-135M-Instruct whose header has the template under a name that nobody looks for."""
    content = gguf_model().read_bytes()
    assert content.count(KEY) == 1
    path = tmp_path_factory.mktemp("model") / "mute.gguf"
    path.write_bytes(content.replace(KEY, OTHER))
    return path


PUBLISHED = replace(CONFIG, engine_images={"llamacpp": "registry.example/tacho-llamacpp"})


def facts(path: Path) -> ModelFacts:
    found = inspect(InspectConfig(uri=FileUri(str(path)), engine="llamacpp")).facts
    assert found is not None
    return found


def planned(path: Path, *arguments: str) -> ModelPlan:
    spec = {
        "model": {"uri": "pvc://models/m"},
        "engine": {"name": "llamacpp", "extraArgs": list(arguments)},
        "gpu": {"count": 0},
        "context": {"maxModelLen": 512, "concurrency": 2},
    }
    found = LLMDeployment.read({"metadata": {"name": "smol"}, "spec": spec})
    plan = plan_model(found.spec, facts(path), nodes=(), history=(), config=PUBLISHED)
    assert isinstance(plan, ModelPlan)
    return plan


def asked(runtime: Running, path: str, body: dict[str, Any]) -> dict[str, Any]:
    url = f"http://127.0.0.1:{runtime.config.engine_port}{path}"
    headers = {"Content-Type": "application/json"}
    body = {"model": "demo", "temperature": 0, "max_tokens": 8, **body}
    with urllib.request.urlopen(urllib.request.Request(url, json.dumps(body).encode(), headers)) as answer:
        found: dict[str, Any] = json.load(answer)
        return found


def test_the_plan_says_what_becomes_of_chats(mute_model: Path) -> None:
    plan = planned(mute_model)
    (warning,) = plan.warnings
    assert "no chat template" in warning
    assert "ChatML" in warning
    assert warning in plan.message
    assert plan.arguments[-2:] == ("--chat-template", "chatml")
    assert planned(mute_model, "--chat-template", "llama2").warnings == ()
    assert planned(gguf_model()).warnings == ()


MESSAGES = [{"role": "user", "content": "Name the capital of France in one word."}]
CHATML = "<|im_start|>user\nName the capital of France in one word.<|im_end|>\n<|im_start|>assistant\n"


@pytest.mark.parametrize("as_planned", [True, False], ids=["as planned", "left to llama.cpp"])
def test_llamacpp_answers_chats_as_chatml_and_completions_as_ever(
    tmp_path: Path, mute_model: Path, as_planned: bool
) -> None:
    """The plan says aloud what llama.cpp does in silence: both format the same prompt."""
    plan = planned(mute_model)
    config = changed(
        llamacpp_config(tmp_path, model_path=str(mute_model)),
        files=("mute.gguf",),
        extra_args=plan.arguments if as_planned else (),
    )
    with running(config, tmp_path) as runtime:
        runtime.until_ready()
        assert asked(runtime, "/apply-template", {"messages": MESSAGES})["prompt"] == CHATML
        chat = asked(runtime, "/v1/chat/completions", {"messages": MESSAGES})
        assert "Paris" in chat["choices"][0]["message"]["content"], "this model knows ChatML"
        plain = asked(runtime, "/v1/completions", {"prompt": "The capital of France is"})
        assert "Paris" in plain["choices"][0]["text"]
        assert runtime.stop() == 0
