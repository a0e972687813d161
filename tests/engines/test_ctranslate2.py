"""CTranslate2, converted and loaded on this CPU, and answering: streamed and not, cold and from the cache."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import yaml

from benchmarks.planner.placements import host, placement
from tacho_cli.inputs.model import inspect_model
from tacho_engines.base import Context, EngineStartup
from tacho_engines.registry import planner_adapter, runtime_adapter
from tacho_operator.api.types import LLMDeployment
from tests.engines.answers import assert_answers
from tests.engines.given import difference, scores
from tests.engines.planned import run_to_status
from tests.engines.serving import ROOT, Served, assert_abandoned_ends, damaged, failed_start, serving
from tests.figures import throughput
from tools.cluster.ports import free_port

LENGTH, BATCH = 512, 2
MEAN_DIFFERENCE_NATS = 0.4
"""Int8 weights, embeddings and activations against bf16, in a model of 135 million weights: seen 0.206 (1.35
at most). The bound is a little less than twice that; a scale that is wrong makes it several nats."""
pytestmark = pytest.mark.timeout(600)


def command(python: Path, model: Path, *words: str) -> list[str | Path]:
    sized = ["--max-model-len", str(LENGTH), "--max-batch", str(BATCH)]
    return [python, "-m", "tacho_ctranslate2", "--model", model, "--served-model-name", "m", *sized, *words]


PICKLE_WITH_CODE = b"cos\nsystem\n(S'touch %s'\ntR."
"""Weights as pickle that make a file where something opens them."""
INT8 = ("--quantization", "int8_float32")
VARIABLES = dict(runtime_adapter("ctranslate2").environment(None))  # type: ignore[arg-type]  # it is the same for every start


def figures(served: Served) -> EngineStartup:
    """What the runtime adapter reads in the log."""
    found = EngineStartup()
    for line in served.lines():
        found = runtime_adapter("ctranslate2").read(found, line)
    return found


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def served(
    engines_python: Path, safetensors_model: Path, cache: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Served]:
    """Converted on this start."""
    log = tmp_path_factory.mktemp("log") / "cold.log"
    words = command(engines_python, safetensors_model, *INT8, "--cache-dir", str(cache))
    with serving(words, log, environment=VARIABLES) as running:
        yield running


@pytest.fixture(scope="module")
def converted(served: Served, cache: Path) -> Path:
    """The model that it made."""
    assert any("converting to int8_float32" in line for line in served.lines())
    (folder,) = (path.parent for path in cache.glob("ctranslate2/*/model.bin"))
    return folder


def test_it_answers_chat_and_completions_streamed_and_not(served: Served) -> None:
    assert_answers(served, tokens=8)


def test_given_tokens_have_the_log_probabilities_of_the_model(
    served: Served, transformers_bf16: Served
) -> None:
    apart = difference(scores(served), scores(transformers_bf16))
    print(f"int8 against bf16: {apart.mean:.3f} nats a token on average, {apart.most:.3f} at most")
    assert 0.001 < apart.mean < MEAN_DIFFERENCE_NATS


def test_what_it_generates_it_scores_alike(served: Served) -> None:
    """The first token is computed alike; later ones step by step with a cache or all at once, where
    activations are rounded to int8 at other places (seen: 0.3 nats at most)."""
    body = {"prompt": "The capital of France is", "max_tokens": 6, "temperature": 0, "logprobs": 0}
    made = served.post("/v1/completions", body).json()["choices"][0]
    text = body["prompt"] + made["text"]
    again = served.post("/v1/completions", {**body, "prompt": text, "max_tokens": 0, "echo": True}).json()
    scored = again["choices"][0]["logprobs"]["token_logprobs"][-6:]
    found = made["logprobs"]["token_logprobs"]
    assert found[0] == pytest.approx(scored[0], abs=0.02)
    assert found == pytest.approx(scored, abs=0.6)


def test_settings_of_one_request(served: Served) -> None:
    def said(**more: object) -> dict[str, Any]:
        body = {"prompt": "Once upon a time", "max_tokens": 16, "temperature": 0, **more}
        answer: dict[str, Any] = served.post("/v1/completions", body).json()
        return answer["choices"][0]

    text = said()["text"]
    assert text == said(temperature=1.0, top_k=1)["text"]
    # A word that comes: which ones do depends on how the CPU multiplies.
    ended = said(stop=text.split()[2])
    assert ended["finish_reason"] == "stop"
    assert text.startswith(ended["text"])
    assert served.post("/v1/completions", {"prompt": "x", "seed": 1}).status_code == 400
    assert served.post("/v1/completions", {"prompt": [1] * LENGTH, "max_tokens": 1}).status_code == 400
    assert_abandoned_ends(served, LENGTH - 8)


def test_memory_is_what_was_planned(served: Served, safetensors_model: Path) -> None:
    """After a prompt of the whole length, and log-probabilities from each worker: the weights within a
    hundredth, the process within its account.
    """
    served.post("/v1/completions", {"prompt": [1] * (LENGTH - 8), "max_tokens": 8, "ignore_eos": True})
    likely = {"prompt": [1] * 8, "max_tokens": 300, "ignore_eos": True, "logprobs": 1}
    with ThreadPoolExecutor(BATCH) as pool:
        answers = list(pool.map(lambda _: served.post("/v1/completions", likely), range(BATCH)))
    assert [answer.status_code for answer in answers] == [200] * BATCH
    spec = {"model": {"uri": f"file://{safetensors_model}"}, "engine": {"name": "ctranslate2"}}
    document = {
        "apiVersion": "tacho.dev/v1alpha1",
        "kind": "LLMDeployment",
        "metadata": {"name": "m"},
        "spec": spec,
    }
    facts = inspect_model(LLMDeployment.model_validate(document), {})
    asked = placement("ctranslate2", facts, "ct2-int8", host(2**34), count=0)
    account = planner_adapter("ctranslate2").account(asked, Context(LENGTH, BATCH))
    assert account is not None
    assert figures(served).weights_bytes == pytest.approx(account.weights_bytes, rel=0.01)
    peak = served.resident_bytes("VmHWM")
    print(f"{served.resident_bytes()} bytes resident, {peak} at most, {account.total_bytes} planned")
    assert 0.5 * account.total_bytes < peak < account.total_bytes


def test_a_second_start_takes_the_converted_model(
    converted: Path, engines_python: Path, safetensors_model: Path, tmp_path: Path
) -> None:
    words = command(engines_python, safetensors_model, *INT8, "--cache-dir", str(converted.parents[1]))
    begin = time.monotonic()
    with serving(words, tmp_path / "warm.log", environment=VARIABLES) as warm:
        print(f"warm start after {time.monotonic() - begin:.1f} s")
        said = "\n".join(warm.lines())
        assert "found converted in the cache" in said
        assert "converting" not in said


def test_a_converted_model_is_served_as_it_is_and_says_that_it_cannot_chat(
    converted: Path, engines_python: Path, safetensors_model: Path, tmp_path: Path
) -> None:
    model = tmp_path / "model"
    model.mkdir()
    for path in (*converted.iterdir(), safetensors_model / "tokenizer.json"):
        (model / path.name).symlink_to(path)
    with serving(command(engines_python, model), tmp_path / "log", environment=VARIABLES) as running:
        body = {"prompt": "The capital of France is", "max_tokens": 2, "temperature": 0}
        assert "Paris" in running.post("/v1/completions", body).json()["choices"][0]["text"]
        refused = running.post("/v1/chat/completions", {"messages": [{"role": "user", "content": "x"}]})
        assert refused.status_code == 400
        assert "chat template" in refused.json()["error"]["message"]
        assert any("no chat template" in words for words in figures(running).fallbacks)


@pytest.mark.parametrize(
    ("break_it", "failure_class"),
    [
        ("no tokenizer", "ModelInvalid"),
        pytest.param("truncated", "ModelInvalid", marks=pytest.mark.nightly),
        pytest.param("unknown architecture", "EngineNotSupported", marks=pytest.mark.nightly),
        pytest.param("pickled", "ModelInvalid", marks=pytest.mark.nightly),
    ],
)
def test_why_it_does_not_start(
    break_it: str, failure_class: str, engines_python: Path, safetensors_model: Path, tmp_path: Path
) -> None:
    model, code = tmp_path / "model", PICKLE_WITH_CODE % bytes(tmp_path / "ran")
    damaged(safetensors_model, model, break_it, pickle=code, architecture="granite")
    started = command(engines_python, model, *INT8, "--port", str(free_port()))
    exit_code, found = failed_start("ctranslate2", started, tmp_path)
    assert (exit_code, found.failure_class) == (1, failure_class), found
    assert not list(tmp_path.glob("tacho-ctranslate2-*")), "nothing is left behind"
    assert (break_it == "pickled") == ("pickled weights could run code" in found.next_step)
    assert not (tmp_path / "ran").exists(), "code of the model ran"


def test_tacho_run_serves_and_measures_it(
    engines_python: Path, safetensors_model: Path, tmp_path: Path
) -> None:
    """The same manifest a cluster takes, on this machine, by the engines' own interpreter."""
    manifest = yaml.safe_load((ROOT / "examples" / "ctranslate2-int8-cpu.yaml").read_text())
    manifest["spec"]["probe"] = {"budgetSeconds": 15, "timeoutSeconds": 60}
    status = run_to_status(manifest, engines_python, safetensors_model, tmp_path)
    assert status["plan"]["quantizationMethod"] == "ct2-int8"
    print(f"{throughput(status)} output tokens per second")
