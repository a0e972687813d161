"""The mock engine as a process: what it answers, and its failures."""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
import sys
import urllib.error
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection

import pytest

from tests.unit.probe.engines import ask, gauge, mock_engine


def test_the_law_changes_while_it_runs() -> None:
    with mock_engine(ttft_base_ms=1, itl_base_ms=60_000, itl_per_seq_ms=0) as port:
        assert json.loads(ask(port, "/_law")[1])["itl_base_ms"] == 60_000
        status, text = ask(port, "/_law", {"itl_base_ms": 1.0, "max_num_seqs": 3})
        assert (status, json.loads(text)["max_num_seqs"]) == (200, 3)
        body = {"model": "mock", "prompt": [1000] * 4, "max_tokens": 5}
        status, text = ask(port, "/v1/completions", body)
        assert json.loads(text)["usage"]["completion_tokens"] == 5
        for nonsense in ({"no_such": 1}, {"itl_base_ms": "fast"}, {"kv_policy": "swap"}, b"{"):
            assert ask(port, "/_law", nonsense)[0] == 400


def test_gauges_show_what_runs_and_waits() -> None:
    body = {"model": "mock", "prompt": [1000] * 100, "max_tokens": 400}
    with mock_engine(itl_base_ms=20, max_num_seqs=2, kv_tokens=10_000) as port, ThreadPoolExecutor(3) as pool:
        answers = [pool.submit(ask, port, "/v1/completions", body) for _ in range(3)]
        while gauge(port, "vllm:num_requests_waiting") < 1:
            pass
        assert gauge(port, "vllm:num_requests_running") == 2
        assert 0.02 <= gauge(port, "vllm:kv_cache_usage_perc") < 0.1
        ask(port, "/_law", {"itl_base_ms": 0.0, "itl_per_seq_ms": 0.0})
        assert all(answer.result()[0] == 200 for answer in answers)
        assert gauge(port, "vllm:generation_tokens_total") == 1200


@pytest.mark.parametrize(
    ("mode", "said"),
    [
        ("crash", "told to crash"),
        ("oom", "CUDA out of memory"),
        ("kv-cache", "estimated maximum model length is 4096"),
    ],
)
def test_failures_at_start(mode: str, said: str) -> None:
    command = [sys.executable, "-m", "tools.mock.engine", "--port", "0", "--fail", mode]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 1
    assert said in ended.stderr


def test_a_crash_after_some_requests() -> None:
    body = {"model": "mock", "prompt": "hello", "max_tokens": 1}
    with mock_engine(fail="crash-after:2", ttft_base_ms=1) as port:
        assert [ask(port, "/v1/completions", body)[0] for _ in range(2)] == [200, 200]
        with pytest.raises((urllib.error.URLError, ConnectionError)):
            ask(port, "/v1/completions", body)


def test_a_key_is_wanted_where_one_is_set() -> None:
    with mock_engine(api_key="secret") as port:
        assert ask(port, "/v1/models")[0] == 401
        assert ask(port, "/health")[0] == 200


def test_it_ends_on_sigterm_and_answers_only_after_its_startup() -> None:
    command = [sys.executable, "-m", "tools.mock.engine", "--port", "0", "--startup-seconds", "0.2"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("listening on ")
        process.terminate()
        assert process.wait(timeout=20) == 0


def test_foreign_traffic_comes_when_asked_and_shows_in_the_counters() -> None:
    with mock_engine(ttft_base_ms=0, itl_base_ms=1, itl_per_seq_ms=0) as port:
        assert ask(port, "/_foreign", {"streams": 3})[0] == 400
        assert ask(port, "/_foreign", {"streams": 3, "seconds": 3600})[0] == 200
        while gauge(port, "vllm:generation_tokens_total") < 3:
            pass
        assert gauge(port, "vllm:num_requests_running") == 3


def test_counters_of_an_engine_that_counts_when_a_request_ends() -> None:
    body = {"model": "mock", "prompt": [1000] * 100, "max_tokens": 50}
    slow = {"ttft_base_ms": 1, "itl_base_ms": 60_000, "itl_per_seq_ms": 0}
    with mock_engine(counters="request", **slow) as port, ThreadPoolExecutor(1) as pool:
        answer = pool.submit(ask, port, "/v1/completions", body)
        while gauge(port, "llamacpp:prompt_tokens_total") < 100:
            pass
        assert gauge(port, "llamacpp:requests_processing") == 1
        assert gauge(port, "llamacpp:tokens_predicted_total") == 0
        ask(port, "/_law", {"itl_base_ms": 0.0})
        ask(port, "/_crash", {})
        answer.exception()


def test_processes_that_share_a_port_count_together() -> None:
    body = {"model": "mock", "prompt": [1000] * 8, "max_tokens": 10}
    with mock_engine(processes=3, ttft_base_ms=1, itl_base_ms=1) as port:
        for _ in range(20):
            assert ask(port, "/v1/completions", body)[0] == 200
        while gauge(port, "vllm:generation_tokens_total") < 200:  # an answer may come before it is counted
            pass
        assert gauge(port, "vllm:generation_tokens_total") == 200
        ranks = {line for line in ask(port, "/metrics")[1].splitlines() if "generation_tokens_total{" in line}
        assert len(ranks) == 3


def test_a_body_may_come_in_chunks() -> None:
    """As the API server's proxy and kubectl send it."""
    body = json.dumps({"model": "mock", "prompt": [1000], "max_tokens": 3}).encode()
    with mock_engine(ttft_base_ms=1) as port, contextlib.closing(HTTPConnection("127.0.0.1", port)) as client:
        for _ in range(2):
            client.request("POST", "/v1/completions", iter([body[:7], body[7:]]), encode_chunked=True)
            answer = client.getresponse()
            assert (answer.status, json.loads(answer.read())["usage"]["completion_tokens"]) == (200, 3)
        with socket.create_connection(("127.0.0.1", port)) as raw:
            raw.sendall(b"POST /v1/completions HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nno length\r\n")
            assert raw.recv(1000).startswith(b"HTTP/1.1 400")


def test_a_connection_serves_one_request_after_the_other() -> None:
    with mock_engine(ttft_base_ms=1) as port, contextlib.closing(HTTPConnection("127.0.0.1", port)) as client:
        for stream in (True, False, True):
            body = {"model": "mock", "prompt": [1000], "max_tokens": 3, "stream": stream}
            client.request("POST", "/v1/completions", json.dumps(body))
            answer = client.getresponse()
            assert answer.status == 200
            assert answer.read().count(b" three") == 1


def test_a_client_that_hangs_up_gives_its_place_back() -> None:
    body = {"model": "mock", "prompt": [1000], "max_tokens": 3000, "stream": True}
    with mock_engine(itl_base_ms=60_000) as port:
        client = HTTPConnection("127.0.0.1", port)
        client.request("POST", "/v1/completions", json.dumps(body))
        while gauge(port, "vllm:num_requests_running") < 1:
            pass
        client.close()
        while gauge(port, "vllm:num_requests_running") > 0:
            pass


def test_an_engine_that_cannot_keep_its_law_still_answers_and_lets_clients_go() -> None:
    body = {"model": "mock", "prompt": [1000], "max_tokens": 10**7, "stream": True}
    with mock_engine(itl_base_ms=0.0, itl_per_seq_ms=0.0, max_model_len=10**8, kv_tokens=10**9) as port:
        clients = [HTTPConnection("127.0.0.1", port) for _ in range(8)]
        for client in clients:
            client.request("POST", "/v1/completions", json.dumps(body))
        while gauge(port, "vllm:num_requests_running") < 8:
            pass
        for client in clients:
            client.close()
        while gauge(port, "vllm:num_requests_running") > 0:
            pass
