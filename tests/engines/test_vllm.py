"""vLLM's CPU build, started by ``tacho run``, answering, and measured: SmolLM2 in bfloat16."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tacho_cli.run.setup import LocalSetup
from tacho_contract.launch import RuntimeConfig
from tacho_engines.vllm.host import BLOCK_TOKENS
from tacho_engines.vllm.run import METRICS
from tacho_operator.core.planner.types import ModelPlan
from tacho_runtime.probe.load.engine_counters import parse_counters
from tacho_runtime.supervisor.endpoints import make_load
from tests.engines.answers import assert_answers
from tests.engines.given import GIVEN, difference, quality, scores
from tests.engines.planned import changed, planned, run_by_tacho
from tests.engines.serving import Served
from tests.figures import decode_rate
from tests.unit.runtime.running import Running

LENGTH, BATCH = 512, 2
MEAN_DIFFERENCE_NATS = 0.07
"""Both round to bfloat16, whose numbers from 16 to 32, as logits are, lie 0.125 apart, but sum up in another
order: seen 0.034 (0.17 at most). The bound is twice that; the gentlest quantization, to int8, costs 0.15."""
pytestmark = pytest.mark.timeout(900)  # half a minute on two idle cores, five where others compute


CHANGES = {
    "context": {"maxModelLen": LENGTH, "concurrency": BATCH},
    "workload": {"inputTokens": 16, "outputTokens": 4},
    "probe": {"budgetSeconds": 5, "timeoutSeconds": 300},
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("vllm")


@pytest.fixture(scope="module")
def made(folder: Path, engines_python: Path, claim: Path) -> tuple[LocalSetup, ModelPlan]:
    return planned(
        "vllm-cpu.yaml",
        folder,
        claim=claim,
        python=engines_python,
        changes=CHANGES,
    )


@pytest.fixture(scope="module")
def runtime(
    folder: Path, made: tuple[LocalSetup, ModelPlan], claim: Path, engines_python: Path
) -> Iterator[Running]:
    """Ready: the engine was measured."""
    setup, _ = made
    manifest = changed("vllm-cpu.yaml", CHANGES)
    with run_by_tacho(manifest, setup.runtime, folder, claim=claim, python=engines_python) as started:
        yield started


@pytest.fixture(scope="module")
def served(runtime: Running, folder: Path) -> Served:
    config: RuntimeConfig = runtime.config
    url = f"http://127.0.0.1:{config.engine_port}"
    return Served(url=url, model=config.served_name, process=runtime.process, log=folder / "log")


def test_it_answers_chat_and_completions_streamed_and_not(served: Served) -> None:
    assert_answers(served, tokens=4)


def test_given_tokens_have_the_log_probabilities_that_transformers_computes(
    served: Served, transformers_bf16: Served
) -> None:
    """The same token ids, the same weights in the same type, two engines."""
    tokens = served.post("/tokenize", {"prompt": GIVEN, "add_special_tokens": False}).json()["tokens"]
    assert len(tokens) > 30
    apart = difference(scores(served, tokens), scores(transformers_bf16, tokens))
    print(f"vLLM against Transformers: {apart.mean:.4f} nats a token on average, {apart.most:.4f} at most")
    assert apart.mean < MEAN_DIFFERENCE_NATS


def test_the_fixed_text_has_the_figure_of_transformers_own_arithmetic(
    served: Served, quality_reference: tuple[int, float]
) -> None:
    (tokens, mean), found = quality_reference, quality(served)
    print(f"vLLM: {found}; reference: {mean:.4f} nats over {tokens} tokens")
    assert found.message == ""
    assert found.tokens == tokens
    assert found.negative_log_likelihood == pytest.approx(mean, rel=0.01)


def test_the_report_says_what_was_measured_and_how_it_runs(runtime: Running) -> None:
    report = runtime.report()
    assert (report["phase"], report["engineVersion"]) == ("Serving", "0.32.0")
    assert "eager mode: nothing is compiled, no CUDA graphs" in report["fallbacks"]
    measured = report["measurement"]
    if measured["state"] == "Failed":
        assert "Contended" in measured["flags"], measured
        print("inconclusive: other processes used the machine")
    else:
        assert measured["state"] in ("Complete", "Partial"), measured
        print(f"{decode_rate(measured)} output tokens per second of a single stream")


def test_latencies_are_counted_where_targets_are(served: Served) -> None:
    """vLLM's own edges have none between 10 and 25 ms."""
    assert served.post("/v1/completions", {"model": served.model, "prompt": "a", "max_tokens": 3}).is_success
    load = make_load(parse_counters(served.get("/metrics").text, (METRICS,)), observed_time="t")
    assert load.ttft
    assert load.tpot
    assert load.ttft.total >= load.tpot.total > 0
    assert 'request_time_per_output_token_seconds_bucket{engine="0",le="0.012"' in served.get("/metrics").text


def test_memory_is_what_was_planned(runtime: Running, made: tuple[LocalSetup, ModelPlan]) -> None:
    """The cache to its last block, and all processes within their account, shared pages counted once."""
    _, plan = made
    memory = runtime.report()["measurement"]["memory"]
    used, predicted = memory["hostUsedBytes"], plan.predicted.total_bytes
    print(f"{used} bytes used, {predicted} planned")
    assert memory["kvCacheTokens"] == LENGTH * BATCH + BLOCK_TOKENS
    assert 0.6 * predicted < used < predicted
    assert used <= memory["hostPeakBytes"] < predicted, "also while it loads"
