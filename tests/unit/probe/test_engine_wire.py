"""The mock engine's documents have the shapes a real vLLM's have, as recorded."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.unit.probe.engines import ask, mock_engine

RECORDED = Path(__file__).parents[2] / "fixtures" / "vllm-0.32"
INDEX: dict[str, dict[str, Any]] = json.loads((RECORDED / "index.json").read_text())


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with mock_engine(
        served_name="smollm2",
        max_model_len=2048,
        ttft_base_ms=1,
        itl_base_ms=1,
        itl_per_seq_ms=0,
        eos_after=6,
    ) as port:
        yield port


def shape(value: Any) -> Any:
    """Keys and kinds of values; numbers of any size, strings of any text, and items of a list are alike."""
    if isinstance(value, dict):
        return {key: shape(item) for key, item in value.items()}
    if isinstance(value, list):
        return [shape(value[0])] if value else []
    if isinstance(value, bool) or value is None:
        return value
    return type(value).__name__


def documents(name: str, text: str) -> list[Any]:
    if not name.endswith(".sse"):
        return [json.loads(text)]
    events = [event.removeprefix("data: ") for event in text.split("\n\n") if event]
    return [event if event == "[DONE]" else json.loads(event) for event in events]


@pytest.mark.parametrize(
    "name", [name for name in INDEX if name != "metrics.txt" and "token_ids" not in name]
)
def test_a_document_has_the_recorded_shape(port: int, name: str) -> None:
    """Of streams every event; a stop may come after any number of tokens, so there the ends are compared."""
    asked = INDEX[name]
    body = asked["body"].encode() if isinstance(asked["body"], str) else asked["body"]
    status, text = ask(port, asked["path"], body)
    assert status == asked["status"]
    got, wanted = documents(name, text), documents(name, (RECORDED / name).read_text())
    if "stop" in name and name.endswith(".sse"):
        got, wanted = [*got[:2], *got[-2:]], [*wanted[:2], *wanted[-2:]]
    assert [shape(document) for document in got] == [shape(document) for document in wanted]
    assert [_fixed(document) for document in got] == [_fixed(document) for document in wanted]


def _fixed(document: Any) -> Any:
    """What does not depend on the model's words: kinds, reasons, counts of the completion."""
    if isinstance(document, str):
        return document
    choices = [choice.get("finish_reason") for choice in document.get("choices", [])]
    code = document.get("error", {}).get("code")
    return document.get("object"), choices, code, document.get("error", {}).get("type")


def test_metrics_have_the_recorded_names_and_labels(port: int) -> None:
    recorded, ours = _samples((RECORDED / "metrics.txt").read_text()), _samples(ask(port, "/metrics")[1])
    for name, labels in ours.items():
        assert name in recorded, f"vLLM has no {name}"
        assert labels <= recorded[name], f"{name}: vLLM has no labels {labels - recorded[name]}"
    read_by_others = {
        "vllm:num_requests_running", "vllm:num_requests_waiting", "vllm:kv_cache_usage_perc",
        "vllm:generation_tokens_total", "vllm:prompt_tokens_total", "vllm:prompt_tokens_by_source_total",
        "vllm:prefix_cache_hits_total", "vllm:num_preemptions_total", "vllm:request_success_total",
        "vllm:time_to_first_token_seconds_sum", "vllm:inter_token_latency_seconds_count",
        "vllm:cache_config_info",
    }  # fmt: skip
    assert read_by_others <= ours.keys()


@pytest.mark.parametrize("name", ["time_to_first_token_seconds", "request_time_per_output_token_seconds"])
def test_histogram_buckets_are_vllms(port: int, name: str) -> None:
    def bounds(text: str) -> list[str]:
        return re.findall(rf'{name}_bucket\{{.*?le="([^"]+)"', text)

    assert bounds(ask(port, "/metrics")[1]) == bounds((RECORDED / "metrics.txt").read_text())


def _samples(text: str) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for line in text.splitlines():
        match = re.match(r"^(vllm:\w+)\{(.*)\} ", line)
        if match:
            found.setdefault(match[1], set()).update(re.findall(r'(\w+)="', match[2]))
    return found
