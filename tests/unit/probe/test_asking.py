"""How requests are worded, and prompts no one has sent before."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest
from hypothesis import given, strategies as st

from tacho_contract.report import LatencyHistogram
from tacho_engines.run_parts import dialects, metric_names
from tacho_engines.shared.openai import (
    BARE,
    CHAT,
    COMMON,
    COMPLETIONS,
    PLAIN,
    Dialect,
    Limits,
    limits_of,
    model_entry,
)
from tacho_runtime.probe.load import engine_counters, requests
from tacho_runtime.probe.load.requests import RequestFormat, dialect_of, request_body, request_formats
from tacho_runtime.probe.load.timed_client import EngineEndpoint, request_bytes

RECORDED = Path(__file__).parents[2] / "fixtures" / "vllm-0.32"
DIALECTS = dialects()
LLAMA_MODELS = {"data": [{"id": "m", "owned_by": "llamacpp", "meta": {"n_ctx": 1024, "n_vocab": 49152}}]}


def test_what_engines_say_of_themselves() -> None:
    vllm = {"data": [{"id": "m", "owned_by": "vllm", "max_model_len": 2048}]}
    said = dialect_of("custom", model_entry(vllm), DIALECTS)
    assert (said.name, limits_of(model_entry(vllm))) == ("vllm", Limits(max_model_len=2048))
    said = dialect_of("custom", model_entry(LLAMA_MODELS), DIALECTS)
    assert said.name == "llamacpp"
    assert limits_of(model_entry(LLAMA_MODELS)) == Limits(max_model_len=1024, vocabulary=49152)
    assert dialect_of("vllm", {"owned_by": "llama.cpp"}, DIALECTS).name == "llamacpp"
    assert [dialect.name for dialect in DIALECTS.values()] == list(DIALECTS)


def test_of_several_models_the_one_that_is_asked_for_tells_its_limits() -> None:
    """A gateway's first was one for embeddings, to whose context the workload was cut."""
    models = {"data": [{"id": "embed", "max_model_len": 512}, "x", {"id": "m", "max_model_len": 8192}]}
    assert limits_of(model_entry(models, "m")).max_model_len == 8192
    assert limits_of(model_entry(models, "other")).max_model_len == 512


@pytest.mark.parametrize("number", [-1, pytest.param(10**400, id="long"), True, 2.5, "49152"])
def test_numbers_that_no_model_has_are_not_reported(number: object) -> None:
    """Ids were drawn below -1, so from two, and not at all below 10 to the 400th."""
    assert limits_of({"max_model_len": number, "vocabulary": number}) == Limits()


@pytest.mark.parametrize(
    "models", [{}, [], None, {"data": []}, {"data": None}, {"data": ["x"]}, {"data": [{"meta": None}]}]
)
def test_an_engine_that_says_nothing(models: object) -> None:
    for engine, name in (("vllm", "vllm"), ("llamacpp", "llamacpp"), ("custom", "common"), ("", "common")):
        dialect = dialect_of(engine, model_entry(models), DIALECTS)
        assert (dialect.name, limits_of(model_entry(models))) == (name, Limits())


def test_token_ids_are_tried_first_and_text_is_the_way_out() -> None:
    tried = request_formats(DIALECTS["vllm"], vocabulary=0)
    assert [one.token_ids for one in tried[:3]] == [True, True, False]
    assert tried[0].vocabulary > tried[1].vocabulary
    assert [(one.dialect.name, one.path) for one in tried[2:]] == [
        ("vllm", COMPLETIONS),
        ("common", COMPLETIONS),
        ("plain", COMPLETIONS),
        ("common", CHAT),
        ("plain", CHAT),
        ("bare", CHAT),
    ]
    assert len(request_formats(COMMON, vocabulary=100)) == 6


@pytest.mark.parametrize(
    ("dialect", "present", "absent"),
    [
        (DIALECTS["vllm"], {"ignore_eos", "min_tokens", "cache_salt", "temperature"}, {"cache_prompt"}),
        (
            DIALECTS["llamacpp"],
            {"ignore_eos", "cache_prompt", "timings_per_token"},
            {"cache_salt", "min_tokens"},
        ),
        (COMMON, {"ignore_eos", "min_tokens"}, {"cache_salt", "cache_prompt"}),
        (PLAIN, {"temperature", "stream_options"}, {"ignore_eos", "min_tokens", "cache_salt"}),
        (BARE, {"stream"}, {"temperature", "stream_options", "ignore_eos"}),
    ],
    ids=lambda value: value.name if isinstance(value, Dialect) else "",
)
def test_fields_of_each_dialect(dialect: Dialect, present: set[str], absent: set[str]) -> None:
    for path, key in ((COMPLETIONS, "prompt"), (CHAT, "messages")):
        wording = RequestFormat(dialect=dialect, path=path, token_ids=False)
        asked = request_body(wording, served_name="m", prompt="hi", output_tokens=7, salt="s")
        assert asked["max_tokens"] == 7
        assert asked["stream"] is True
        assert present | {key, "model"} <= asked.keys()
        assert not absent & asked.keys()
        uncounted = request_body(
            wording, served_name="m", prompt="hi", output_tokens=7, salt="s", counted=False
        )
        assert not {"timings_per_token"} & uncounted.keys()
        assert not uncounted.get("stream_options", {}).get("continuous_usage_stats")


@given(st.integers(1, 3000), st.integers(2, 200_000), st.integers())
def test_token_ids_lie_inside_the_vocabulary(count: int, vocabulary: int, seed: int) -> None:
    ids = requests.random_ids(count, vocabulary, Random(seed))
    assert len(ids) == count
    assert all(0 <= token < vocabulary for token in ids)


def test_prompts_differ() -> None:
    rng = Random(1)
    assert len({tuple(requests.random_ids(32, 32_000, rng)) for _ in range(200)}) == 200
    assert len({requests.random_text(32, rng) for _ in range(200)}) == 200


def test_no_two_prompts_begin_alike() -> None:
    rng = Random(3)
    many = [requests.random_text(32, rng) for _ in range(20_000)]
    beginnings = {" ".join(text.split()[: requests.CHANCE_TOKENS + 1]) for text in many}
    assert len(beginnings) == len(many)
    for words in range(1, requests.NONCE_WORDS + 1):
        short = [requests.random_text(words, rng) for _ in range(2000)]
        assert len(set(short)) == len(short)
        assert {len(text.split()) for text in short} == {words}


@given(st.floats(0, 40), st.floats(0.5, 3), st.integers(50, 5000))
def test_calibrated_text_has_the_wanted_length(overhead: float, per_word: float, wanted: int) -> None:
    samples = [(words, round(overhead + per_word * words)) for words in (16, 64, 16, 64)]
    words = requests.calibrate(samples).word_count_for(wanted)
    assert overhead + per_word * words == pytest.approx(wanted, rel=0.05, abs=3)


def test_senseless_samples_calibrate_nothing() -> None:
    for samples in ([], [(16, 20)], [(16, 20), (64, 10)]):
        assert not requests.calibrate(samples).calibrated


def test_vllms_counters_as_recorded() -> None:
    read = engine_counters.parse_counters((RECORDED / "metrics.txt").read_text(), metric_names())
    assert read.generated_tokens == 38.0
    assert (read.cached_prompt_tokens, read.kv_cache_tokens, read.kv_cache_usage) == (0.0, 46_592, 0.0)
    assert (read.running, read.waiting, read.preemptions) == (0.0, 0.0, 0.0)
    assert read.ttft_seconds_count
    assert read.ttft_seconds_sum
    assert read.by_step


@pytest.mark.parametrize("count", ["+Inf", "1e300", "NaN", "-1"])
def test_a_bucket_without_a_possible_count_makes_its_histogram_unknown(count: str) -> None:
    name = "vllm:time_to_first_token_seconds_bucket"
    whole = f'{name}{{le="1"}} 5\n{name}{{le="+Inf"}} 5\n'
    read = engine_counters.parse_counters(whole, metric_names())
    assert read.ttft is not None
    read = engine_counters.parse_counters(whole.replace('"} 5', f'"}} {count}', 1), metric_names())
    assert read.ttft is None


@pytest.mark.parametrize(("shown", "share"), [("0.25", 0.25), ("1", 1.0), ("45", None), ("1.5", None)])
def test_a_use_of_the_cache_above_all_of_it_is_unknown(shown: str, share: float | None) -> None:
    """An engine that counts in percent had 4,500 %."""
    read = engine_counters.parse_counters(f"vllm:kv_cache_usage_perc {shown}\n", metric_names())
    assert read.kv_cache_usage == share


def test_counters_are_summed_over_engines_and_unknown_when_absent() -> None:
    text = (
        'vllm:generation_tokens_total{engine="0"} 5\nvllm:generation_tokens_total{engine="1"} 7.0\n# x\nbad'
    )
    assert engine_counters.parse_counters(text, metric_names()) == engine_counters.EngineCounters(
        generated_tokens=12.0, by_step=True
    )
    llama = "llamacpp:tokens_predicted_total 9\nllamacpp:prompt_tokens_cached_total 3\n"
    llama += "llamacpp:n_decode_total 11\n"
    assert engine_counters.parse_counters(llama, metric_names()) == engine_counters.EngineCounters(
        generated_tokens=9.0, cached_prompt_tokens=3.0, steps=11.0
    )
    sglang = "sglang:generation_tokens_total 4\nsglang:num_running_reqs 2\n"
    assert engine_counters.parse_counters(sglang, metric_names()) == engine_counters.EngineCounters(
        generated_tokens=4.0, running=2.0
    )
    own = "tacho_server_generation_tokens_total 4\ntacho_server_time_to_first_token_seconds_sum 2.5\n"
    assert engine_counters.parse_counters(own, metric_names()) == engine_counters.EngineCounters(
        generated_tokens=4.0, ttft_seconds_sum=2.5, by_step=True
    )
    ranks = 'vllm:kv_cache_usage_perc{engine="0"} 0.5\nvllm:kv_cache_usage_perc{engine="1"} 0.7\n'
    assert engine_counters.parse_counters(ranks, metric_names()).kv_cache_usage == 0.7
    blocks = 'vllm:cache_config_info{block_size="16",num_gpu_blocks="100",kv_cache_size_tokens="None"} 1.0'
    assert engine_counters.parse_counters(blocks, metric_names()).kv_cache_tokens == 1600


def test_a_request_on_the_wire() -> None:
    endpoint = EngineEndpoint.of("http://127.0.0.1:8000/engine/", "secret")
    raw = request_bytes(endpoint, "POST", "/v1/completions", {"a": 1})
    head, _, sent = raw.partition(b"\r\n\r\n")
    assert head.startswith(b"POST /engine/v1/completions HTTP/1.1\r\nHost: 127.0.0.1:8000\r\n")
    assert b"Authorization: Bearer secret" in head
    assert b"Content-Length: 7" in head
    assert sent == b'{"a":1}'


def test_an_ipv6_address_is_in_brackets_in_the_host() -> None:
    """Servers refuse ``::1:8000``, of which the port is not known."""
    raw = request_bytes(EngineEndpoint.of("http://[::1]:8000"), "GET", "/v1/models", None)
    assert b"\r\nHost: [::1]:8000\r\n" in raw


@pytest.mark.parametrize(
    ("url", "port", "encrypted"),
    [("http://h", 80, False), ("https://h", 443, True), ("https://h:8443/v", 8443, True)],
)
def test_the_scheme_says_the_port_and_whether_it_is_encrypted(url: str, port: int, encrypted: bool) -> None:
    endpoint = EngineEndpoint.of(url)
    assert (endpoint.host, endpoint.port, endpoint.trust() is not None) == ("h", port, encrypted)


@pytest.mark.parametrize("url", ["ftp://x:1", "127.0.0.1:8000", "http://", "https://", "file:///etc/passwd"])
def test_other_addresses_are_refused(url: str) -> None:
    with pytest.raises(ValueError, match="http://"):
        EngineEndpoint.of(url)


def test_a_counter_that_is_no_number_is_unknown() -> None:
    text = "vllm:num_preemptions_total NaN\nvllm:generation_tokens_total +Inf\n"
    assert engine_counters.parse_counters(text, metric_names()) == engine_counters.EngineCounters()


@pytest.mark.parametrize("value", ["NaN", "-1", "1e300", "none"])
def test_a_sum_without_one_of_its_ranks_is_unknown(value: str) -> None:
    names = ("vllm:generation_tokens_total", "vllm:num_requests_running", "vllm:kv_cache_usage_perc")
    names += ("vllm:time_to_first_token_seconds_sum",)
    lines = [
        f'{name}{{engine="{rank}"}} {figure}' for name in names for rank, figure in enumerate((1, value))
    ]
    lines += [
        f'vllm:time_to_first_token_seconds_bucket{{engine="{rank}",le="{edge}"}} {figure}'
        for edge in ("0.1", "+Inf")
        for rank, figure in enumerate((1, value))
    ]
    whole = 'vllm:num_requests_waiting{engine="0"} 3\nvllm:num_requests_waiting{engine="1"} 4\n'
    found = engine_counters.parse_counters(whole + "\n".join(lines), metric_names())
    assert found == engine_counters.EngineCounters(waiting=7, by_step=found.by_step)


def test_the_value_of_an_exemplar_is_no_count() -> None:
    """500 tokens with the exemplar of a trace were 0.3, and a histogram had its latencies as counts."""
    page = """vllm:generation_tokens_total{model="a}",x="\\"}"} 500 # {trace="x"} 0.3 1520879607.789
vllm:num_requests_running 3 1520879607
vllm:time_to_first_token_seconds_bucket{le="0.1"} 5 # {trace="x"} 0.09
vllm:time_to_first_token_seconds_bucket{le="+Inf"} 9 # {trace="y"} 7.5
"""
    found = engine_counters.parse_counters(page, metric_names())
    assert (found.generated_tokens, found.running) == (500, 3)
    assert found.ttft == LatencyHistogram(edges_seconds=(0.1,), counts=(5,), total=9)


@pytest.mark.parametrize(
    "other",
    [
        'vllm:num_requests_running{engine="0",rank="1"} 2',
        'vllm:num_requests_running{rank="1",engine="0"} 2',
        'vllm:num_requests_running{ engine="0", rank="1", } 2',
        'vllm:num_requests_running{engine="1" 2',
        'vllm:num_requests_running{engine="' + "1" * engine_counters.LINE_LIMIT + '"} 2',
    ],
    ids=["twice", "other order", "spaced", "broken", "long"],
)
def test_a_sum_is_unknown_where_a_line_of_it_is_none(other: str) -> None:
    page = f'vllm:num_requests_running{{engine="0",rank="1"}} 2\nvllm:num_requests_waiting 1\n{other}\n'
    found = engine_counters.parse_counters(page, metric_names())
    assert (found.running, found.waiting) == (None, 1)


def test_a_name_of_a_model_makes_no_summary() -> None:
    page = (
        'vllm:num_requests_running{engine="0"} 2\nvllm:num_requests_running{name="quantile=",engine="1"} 2\n'
    )
    assert engine_counters.parse_counters(page, metric_names()).running == 4


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    "line",
    [
        "vllm:cache_config_info{" + "a" * 200_000 + "} 1",
        'vllm:cache_config_info{num_gpu_blocks="' + "9" * 5000 + '",block_size="16"} 1',
        'vllm:cache_config_info{num_gpu_blocks="\u00b2",block_size="16"} 1',
        "vllm:num_requests_running 1e300",
        'vllm:num_requests_running{e="1"} 9e15\nvllm:num_requests_running{e="2"} 9e15',
        "vllm:generation_tokens_total NaN\nvllm:num_requests_running -Inf",
    ],
    ids=["word", "digits", "no digit", "high", "high sum", "no number"],
)
def test_what_no_engine_counts_is_unknown(line: str) -> None:
    """20,000 characters took 13 s; other lines ended the measurement, or made a report that no one reads."""
    found = engine_counters.parse_counters(line, metric_names())
    assert (found.running, found.generated_tokens, found.kv_cache_tokens) == (None, None, None)
