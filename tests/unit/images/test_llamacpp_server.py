"""The launcher with a real model: flags that the parameters alone cannot prove, and how it ends."""

from __future__ import annotations

import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import httpx
import pytest

from tacho_contract import codec
from tacho_contract.failure import Failure
from tacho_contract.launch import ENV_ENGINE_FAILURE
from tacho_engines.base import Exit
from tacho_engines.registry import runtime_adapter
from tools.cluster.ports import free_port
from tools.engines import gguf_model

FAILURE = re.compile(r"llama-server: error \[(\w+)\]: (.*)$")
"""Searched, not matched: a thread of llama.cpp may have written any part of its own line before."""


class Running(NamedTuple):
    process: subprocess.Popen[bytes]
    client: httpx.Client
    log: Path


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "tacho_llamacpp", *arguments]


@contextmanager
def server(log: Path, *arguments: str, key: str = "") -> Iterator[Running]:
    port = free_port()
    environment = {"LLAMA_API_KEY": key} if key else {}
    with log.open("wb") as stderr:
        process = subprocess.Popen(
            command("--model", str(gguf_model()), "--port", str(port), *arguments),
            stdout=subprocess.PIPE,
            stderr=stderr,
            env=environment,
        )
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", headers=headers, timeout=60) as client:
        try:
            wait_until_healthy(process, client, log)
            yield Running(process, client, log)
        finally:
            process.kill()
            process.communicate()


def wait_until_healthy(process: subprocess.Popen[bytes], client: httpx.Client, log: Path) -> None:
    for _ in range(600):
        assert process.poll() is None, log.read_text()
        try:
            if client.get("/health").status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.1)
    pytest.fail(f"not healthy after 60 s: {log.read_text()}")


@pytest.fixture(scope="module")
def tuned(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """One server with every setting away from its default, for the tests that only ask."""
    arguments = shlex.split("""
        --alias smol --ctx-size 3072 --parallel 3 --threads 1 --threads-batch 2 --threads-http 3
        --batch-size 256 --ubatch-size 128 --flash-attn on --cache-type-k q8_0 --cache-type-v q5_0
        --metrics --mlock --fit off --no-warmup --cache-ram 0 --no-cache-prompt --verbosity 4
        --chat-template chatml --reasoning-format none
        --n-predict 33 --seed 7 --temp 0.1 --top-k 3 --top-p 0.5 --min-p 0.25
    """)
    with server(tmp_path_factory.mktemp("tuned") / "log", *arguments, key="secret") as running:
        yield running


@pytest.mark.parametrize(
    "line",
    [
        r"n_threads = 1 \(n_threads_batch = 2\)",
        r"using 3 threads for HTTP server",
        r"load_mode = mmap\+mlock",
        r"n_ctx_seq +=? *1024",
        r"n_batch +=? *256",
        r"n_ubatch +=? *128",
        r"flash_attn +=? *enabled",
        r"K \(q8_0\)",
        r"V \(q5_0\)",
        r"n_slots = 3",
    ],
)
def test_llama_cpp_reports_the_setting(tuned: Running, line: str) -> None:
    assert re.search(line, tuned.log.read_text())


def test_llama_cpp_left_out_what_was_switched_off(tuned: Running) -> None:
    log = tuned.log.read_text()
    assert "fitting params" not in log
    assert "prompt cache is enabled" not in log
    assert "warming up" not in log


def test_the_context_is_shared_by_the_slots(tuned: Running) -> None:
    assert [slot["n_ctx"] for slot in tuned.client.get("/slots").json()] == [1024] * 3
    properties = tuned.client.get("/props").json()
    assert (properties["total_slots"], properties["default_generation_settings"]["n_ctx"]) == (3, 1024)
    assert "message.role" in properties["chat_template"]


def test_requests_inherit_the_sampling_defaults(tuned: Running) -> None:
    answer = tuned.client.post("/completion", json={"prompt": "Once"}).json()
    settings = answer["generation_settings"]
    assert (settings["seed"], settings["top_k"], settings["top_p"], settings["min_p"]) == (7, 3, 0.5, 0.25)
    assert settings["temperature"] == pytest.approx(0.1)
    assert settings["reasoning_format"] == "none"
    assert answer["tokens_predicted"] <= 33


def test_the_alias_is_the_models_name_and_the_key_is_wanted(tuned: Running) -> None:
    assert [model["id"] for model in tuned.client.get("/v1/models").json()["data"]] == ["smol"]
    refused = tuned.client.get("/v1/models", headers={"Authorization": "Bearer wrong"})
    assert (refused.status_code, refused.json()["error"]["type"]) == (401, "authentication_error")
    text = tuned.client.get("/metrics").text
    assert "llamacpp:tokens_predicted_total" in text
    assert "llamacpp:n_decode_total" in text, "by which an engine that hangs is seen"


def test_token_ids_give_an_exact_prompt_and_the_cache_stays_cold(tuned: Running) -> None:
    body = {"prompt": list(range(100, 164)), "max_tokens": 5, "ignore_eos": True}
    for _ in range(2):
        usage = tuned.client.post("/v1/completions", json=body).json()["usage"]
        assert (usage["prompt_tokens"], usage["completion_tokens"]) == (64, 5)
        assert usage["prompt_tokens_details"]["cached_tokens"] == 0


def test_sigterm_in_the_middle_of_an_answer_ends_it_with_0(tmp_path: Path) -> None:
    with server(
        tmp_path / "log", "--slots", "--load-mode", "none", "--kv-unified", "--parallel", "2"
    ) as running:
        body = {"prompt": "Once", "max_tokens": 4000, "ignore_eos": True, "stream": True}
        with running.client.stream("POST", "/v1/completions", json=body) as answer:
            next(answer.iter_lines())
            running.process.send_signal(signal.SIGTERM)
            assert running.process.wait(timeout=20) == 0
    # llama.cpp's own threads may get another word in before the process is gone.
    assert "llama-server: stopped on request" in running.log.read_text()
    assert "kv_unified = 'true'" in running.log.read_text()  # its logging thread may be behind at the start


def failure(tmp_path: Path, *arguments: str) -> tuple[int, str, str]:
    """Exit code, class and output of a start that fails: its last words and the document say the same, though
    llama.cpp's own threads may get another word in before the process is gone."""
    environment = {**os.environ, ENV_ENGINE_FAILURE: str(tmp_path / "failure.json")}
    done = subprocess.run(
        command(*arguments), capture_output=True, text=True, timeout=60, check=False, env=environment
    )
    told = [found for line in done.stderr.splitlines() if (found := FAILURE.search(line))]
    assert len(told) == 1, done.stderr
    (found,) = told
    left_behind = codec.loads(Failure, (tmp_path / "failure.json").read_text())
    assert left_behind.failure_class == found[1]
    assert found[2].startswith(f"{left_behind.message}: {left_behind.next_step}")
    return done.returncode, found[1], done.stderr


def test_a_taken_port_and_a_missing_model_are_named_by_llama_cpp(tmp_path: Path) -> None:
    """The runtime checks both before; what changes in between is told by llama.cpp's own lines."""
    with socket.socket() as owner:
        owner.bind(("127.0.0.1", 0))
        owner.listen()
        port = str(owner.getsockname()[1])
        taken = failure(tmp_path, "--model", str(gguf_model()), "--port", port)
    missing = failure(tmp_path, "--model", str(tmp_path / "none"), "--port", str(free_port()))
    llamacpp = runtime_adapter("llamacpp")
    named = [llamacpp.classify(Exit(code=code), text.splitlines()) for code, _, text in (taken, missing)]
    assert [one.failure_class for one in named] == ["PortInUse", "ModelNotFound"]


def test_a_build_for_cpus_refuses_layers_for_gpus(tmp_path: Path) -> None:
    port = str(free_port())
    code, kind, text = failure(
        tmp_path, "--model", str(gguf_model()), "--port", port, "--n-gpu-layers", "999"
    )
    assert (code, kind) == (1, "EngineNotSupported")
    assert "computes on the CPU only" in text


def test_a_truncated_model_is_named_by_llama_cpp(tmp_path: Path) -> None:
    cut = tmp_path / "cut.gguf"
    with gguf_model().open("rb") as whole:
        cut.write_bytes(whole.read(50_000_000))
    code, kind, text = failure(tmp_path, "--model", str(cut), "--port", str(free_port()))
    assert (code, kind) == (1, "EngineCrashed")
    assert "is not within the file bounds, model is corrupted or incomplete" in text


def test_wrong_arguments_exit_with_2(tmp_path: Path) -> None:
    assert failure(tmp_path, "--model", "x", "--lora", "y")[:2] == (2, "InvalidConfig")
