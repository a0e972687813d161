"""How requests are worded, and prompts no one has sent before."""

from __future__ import annotations

from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import given, strategies as st

from tacho_runtime.probe import counters, dialects, prompts
from tacho_runtime.probe.client import Endpoint, request_bytes

RECORDED = Path(__file__).parents[2] / "fixtures" / "vllm-0.32"
LLAMA_MODELS = {"data": [{"id": "m", "owned_by": "llamacpp", "meta": {"n_ctx": 1024, "n_vocab": 49152}}]}


def test_what_engines_say_of_themselves() -> None:
    vllm = {"data": [{"id": "m", "owned_by": "vllm", "max_model_len": 2048}]}
    assert dialects.flavour_of("custom", vllm) == "vllm"
    assert dialects.limits_of(vllm) == (2048, 0)
    assert dialects.flavour_of("custom", LLAMA_MODELS) == "llamacpp"
    assert dialects.limits_of(LLAMA_MODELS) == (1024, 49152)


@pytest.mark.parametrize(
    "models", [{}, {"data": []}, {"data": None}, {"data": ["x"]}, {"data": [{"meta": None}]}]
)
def test_an_engine_that_says_nothing(models: dict[str, Any]) -> None:
    assert dialects.limits_of(models) == (0, 0)
    assert dialects.flavour_of("vllm", models) == "vllm"
    assert dialects.flavour_of("custom", models) == "common"


def test_token_ids_are_tried_first_and_text_is_the_way_out() -> None:
    tried = dialects.candidates("vllm", token_prompts=None, vocabulary=0)
    assert [dialect.token_ids for dialect in tried[:3]] == [True, True, False]
    assert tried[0].vocabulary > tried[1].vocabulary
    assert tried[-1].flavour == "bare"
    assert all(one.token_ids for one in dialects.candidates("vllm", token_prompts=True, vocabulary=100))
    assert not any(one.token_ids for one in dialects.candidates("vllm", token_prompts=False, vocabulary=100))


@pytest.mark.parametrize(
    ("flavour", "present", "absent"),
    [
        ("vllm", {"ignore_eos", "min_tokens", "cache_salt", "temperature"}, {"cache_prompt"}),
        ("llamacpp", {"ignore_eos", "cache_prompt", "timings_per_token"}, {"cache_salt", "min_tokens"}),
        ("common", {"ignore_eos", "min_tokens"}, {"cache_salt", "cache_prompt"}),
        ("plain", {"temperature", "stream_options"}, {"ignore_eos", "min_tokens", "cache_salt"}),
        ("bare", {"stream"}, {"temperature", "stream_options", "ignore_eos"}),
    ],
)
def test_fields_of_each_flavour(flavour: str, present: set[str], absent: set[str]) -> None:
    for path, key in ((dialects.COMPLETIONS, "prompt"), (dialects.CHAT, "messages")):
        dialect = dialects.Dialect(flavour=flavour, path=path, token_ids=False)
        body = dialects.body(dialect, served_name="m", prompt="hi", output_tokens=7, salt="s")
        assert body["max_tokens"] == 7
        assert body["stream"] is True
        assert present | {key, "model"} <= body.keys()
        assert not absent & body.keys()


@given(st.integers(1, 3000), st.integers(2, 200_000), st.integers())
def test_token_ids_lie_inside_the_vocabulary(count: int, vocabulary: int, seed: int) -> None:
    ids = prompts.random_ids(count, vocabulary, Random(seed))
    assert len(ids) == count
    assert all(0 <= token < vocabulary for token in ids)


def test_prompts_differ() -> None:
    rng = Random(1)
    assert len({tuple(prompts.random_ids(32, 32_000, rng)) for _ in range(200)}) == 200
    assert len({prompts.random_text(32, rng) for _ in range(200)}) == 200


@given(st.floats(0, 40), st.floats(0.5, 3), st.integers(50, 5000))
def test_calibrated_text_has_the_wanted_length(overhead: float, per_word: float, wanted: int) -> None:
    samples = [(words, round(overhead + per_word * words)) for words in (16, 64, 16, 64)]
    words = prompts.calibrate(samples).words_for(wanted)
    assert overhead + per_word * words == pytest.approx(wanted, rel=0.05, abs=3)


def test_senseless_samples_calibrate_nothing() -> None:
    for samples in ([], [(16, 20)], [(16, 20), (64, 10)]):
        assert not prompts.calibrate(samples).calibrated


def test_vllms_counters_as_recorded() -> None:
    read = counters.parse((RECORDED / "metrics.txt").read_text())
    assert read == counters.Counters(generated_tokens=38.0, cached_prompt_tokens=0.0, kv_cache_tokens=46_592)


def test_counters_are_summed_over_engines_and_unknown_when_absent() -> None:
    text = (
        'vllm:generation_tokens_total{engine="0"} 5\nvllm:generation_tokens_total{engine="1"} 7.0\n# x\nbad'
    )
    assert counters.parse(text) == counters.Counters(generated_tokens=12.0)
    llama = "llamacpp:tokens_predicted_total 9\nllamacpp:prompt_tokens_cached_total 3\n"
    assert counters.parse(llama) == counters.Counters(generated_tokens=9.0, cached_prompt_tokens=3.0)
    blocks = 'vllm:cache_config_info{block_size="16",num_gpu_blocks="100",kv_cache_size_tokens="None"} 1.0'
    assert counters.parse(blocks).kv_cache_tokens == 1600


def test_a_request_on_the_wire() -> None:
    endpoint = Endpoint.of("http://127.0.0.1:8000/engine/", "secret")
    raw = request_bytes(endpoint, "POST", "/v1/completions", {"a": 1})
    head, _, body = raw.partition(b"\r\n\r\n")
    assert head.startswith(b"POST /engine/v1/completions HTTP/1.1\r\nHost: 127.0.0.1:8000\r\n")
    assert b"Authorization: Bearer secret" in head
    assert b"Content-Length: 7" in head
    assert body == b'{"a":1}'


@pytest.mark.parametrize("url", ["https://x:1", "127.0.0.1:8000", "http://", "file:///etc/passwd"])
def test_other_addresses_are_refused(url: str) -> None:
    with pytest.raises(ValueError, match="http://"):
        Endpoint.of(url)
