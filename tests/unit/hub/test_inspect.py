# ruff: noqa: E501 - tables, a row each
from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tacho_contract import codec
from tacho_contract.failure import Failure, FailureClass
from tacho_contract.inspection import InspectConfig, InspectResult
from tacho_contract.model import ModelFacts
from tacho_runtime.headers import safetensors
from tacho_runtime.hub import remote
from tacho_runtime.hub.inspect.inspect import inspect
from tests.cluster.certs import Authority
from tests.fakes import ggufs
from tests.fakes.checkpoints import facts_for, write_checkpoint
from tests.unit.hub.conftest import RunningHub


def facts_of(config: InspectConfig, token: str = "") -> ModelFacts:
    result = inspect(config, token)
    assert result.facts is not None, result.failure
    return result.facts


def failure_of(config: InspectConfig, token: str = "") -> Failure:
    result = inspect(config, token)
    assert result.failure is not None
    assert result.failure.next_step
    return result.failure


@pytest.fixture
def published(hub: RunningHub) -> InspectConfig:
    write_checkpoint(hub.root / "acme/llama", "small", shard_bytes=60_000)
    (hub.root / "acme/llama/README.md").write_text("about")
    return InspectConfig(uri="hf://acme/llama", endpoint=hub.url, engine="vllm")


# --- what is found ---


def test_hub_safetensors(hub: RunningHub) -> None:
    write_checkpoint(hub.root / "acme/llama", "llama-3.1-8b-w4a16")
    facts = facts_of(InspectConfig(uri="hf://acme/llama", endpoint=hub.url, engine="vllm"))
    known = facts_for("llama-3.1-8b-w4a16")
    assert (facts.architecture, facts.tensors, facts.quantization) == (
        known.architecture, known.tensors, known.quantization,
    )  # fmt: skip
    assert facts.files.commit == facts.files.digest
    assert len(facts.files.commit) == 40
    assert facts.files.total_bytes > known.files.total_bytes
    # A few kB of a model of 5.7 GB: eight bytes of each shard, then exactly its header.
    assert sum(hub.fake.bytes_sent.values()) < 300_000
    ranges = [e["range"] for e in hub.asked("GET", "/model-00001")]
    assert ranges[0] == "bytes=0-7"
    assert str(ranges[1]).startswith("bytes=8-")


def test_same_facts_from_hub_claim_and_folder(hub: RunningHub, published: InspectConfig) -> None:
    from_hub = facts_of(published)
    from_claim = facts_of(
        InspectConfig(uri="pvc://models/llama", claim_dir=str(hub.root / "acme"), engine="vllm")
    )
    from_folder = facts_of(InspectConfig(uri=f"file://{hub.root}/acme/llama", engine="vllm"))
    for other in (from_claim, from_folder):
        assert other.files.commit == ""
        assert other.files.files_digest == from_hub.files.files_digest
        assert (other.tensors, other.files.globs, other.files.total_bytes) == (
            from_hub.tensors, from_hub.files.globs, from_hub.files.total_bytes,
        )  # fmt: skip
    assert from_claim.files.digest == from_folder.files.digest != from_hub.files.digest


def test_digest_sees_headers_and_configuration(tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path / "m", "small")
    config = InspectConfig(uri=f"file://{folder}")
    before = facts_of(config)
    text = (folder / "config.json").read_text()
    (folder / "config.json").write_text(text.replace('"hidden_size": 64', '"hidden_size": 65'))
    after = facts_of(config)
    assert after.files.files_digest == before.files.files_digest
    assert after.files.digest != before.files.digest


def test_gguf_file_on_a_claim(tmp_path: Path) -> None:
    ggufs.llama(tmp_path / "sub/m.gguf")
    for uri in ("pvc://c/sub/m.gguf", "pvc://c/sub", "pvc://c/sub/"):
        facts = facts_of(InspectConfig(uri=uri, claim_dir=str(tmp_path), engine="llamacpp"))
        assert (facts.files.model_file, facts.files.file_count, facts.format) == ("m.gguf", 1, "gguf")
        assert facts.quantization.scheme == "Q4_K_M"


def test_gguf_shards_add_up(tmp_path: Path) -> None:
    ggufs.llama(tmp_path / "m-00001-of-00002.gguf")
    ggufs.write(
        tmp_path / "m-00002-of-00002.gguf", {"split.no": 1}, [("blk.2.attn_q.weight", (256, 256), 12)]
    )
    one = facts_of(InspectConfig(uri=f"file://{tmp_path}", engine="llamacpp"))
    assert one.files.model_file == "m-00001-of-00002.gguf"
    assert sum(c.tensors for c in one.tensors) == 2 + 2 * 9 + 1 + 1


def test_custom_engine_is_listed_and_not_parsed(tmp_path: Path) -> None:
    (tmp_path / "weights.bin").write_bytes(b"x" * 100)
    (tmp_path / "broken.gguf").write_bytes(b"no gguf")
    facts = facts_of(InspectConfig(uri=f"file://{tmp_path}", parse=False, engine="custom"))
    assert (facts.format, facts.files.total_bytes, facts.architecture, facts.tensors) == (
        "custom",
        107,
        None,
        (),
    )


def test_quantization_in_a_file_of_its_own(tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path / "m", "small")
    (folder / "quantize_config.json").write_text('{"bits": 4, "group_size": 128, "sym": true}')
    assert facts_of(InspectConfig(uri=f"file://{folder}")).quantization.method == "gptq"
    quantization = {"quantization": {"quant_algo": "FP8", "kv_cache_quant_algo": "FP8"}}
    (folder / "hf_quant_config.json").write_text(json.dumps(quantization))
    assert facts_of(InspectConfig(uri=f"file://{folder}")).quantization.method == "modelopt"


def test_pickle_weights_are_sized_and_never_opened(tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path / "m", "small")
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(b"cos\nsystem\n(S'touch /tmp/pwned'\ntR.")
    facts = facts_of(InspectConfig(uri=f"file://{folder}"))
    assert facts.format == "pytorch"
    assert any("pickle" in line for line in facts.unknown)
    assert facts.architecture is not None
    assert facts.architecture.layers == 2


# --- what stands in the way ---


def test_absent_claim_path_names_what_is_there(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    failure = failure_of(InspectConfig(uri="pvc://c/absent", claim_dir=str(tmp_path)))
    assert failure.failure_class == FailureClass.MODEL_NOT_FOUND
    assert "other" in failure.message


@pytest.mark.parametrize(
    "uri",
    [
        "hf://",
        "hf://a/b/c",
        "hf://../x",
        "pvc://c/../../etc",
        "s3://x/y",
        "/etc/passwd",
        "file://etc",
        "",
        "pvc:///x",
    ],
)
def test_uris_that_lead_nowhere(uri: str, tmp_path: Path) -> None:
    failure = failure_of(InspectConfig(uri=uri, claim_dir=str(tmp_path)))
    assert failure.failure_class == FailureClass.MODEL_NOT_FOUND
    assert "hf://" in failure.next_step


def test_link_out_of_the_claim(tmp_path: Path) -> None:
    claim = tmp_path / "claim"
    claim.mkdir()
    ggufs.llama(tmp_path / "secret.gguf")
    (claim / "m.gguf").symlink_to(tmp_path / "secret.gguf")
    failure = failure_of(InspectConfig(uri="pvc://c", claim_dir=str(claim), engine="llamacpp"))
    assert "outside" in failure.message


def test_empty_folder(tmp_path: Path) -> None:
    assert failure_of(InspectConfig(uri=f"file://{tmp_path}")).failure_class == FailureClass.MODEL_NOT_FOUND


def test_truncated_gguf_names_the_file(tmp_path: Path) -> None:
    path = ggufs.llama(tmp_path / "m.gguf")
    os.truncate(path, path.stat().st_size - 1000)
    failure = failure_of(InspectConfig(uri=f"file://{tmp_path}", engine="llamacpp"))
    assert failure.failure_class == FailureClass.MODEL_INVALID
    assert failure.message.startswith("m.gguf: ")
    assert "cut short" in failure.message


@pytest.mark.parametrize(
    "index",
    ["[]", "{}", '{"weight_map": {}}', '{"weight_map": 3}', '{"weight_map": {"a": 3}}', "{", '{"weight_map": {"a": NaN}}',
     '{"weight_map": {"a": "../../etc/passwd.safetensors"}}', '{"weight_map": {"a": "model.safetensors.index.json"}}',
     '{"weight_map": {"a": "/etc/x.safetensors"}}', '{"a":' * 50_000],
)  # fmt: skip
def test_garbage_index(tmp_path: Path, index: str) -> None:
    folder = write_checkpoint(tmp_path / "m", "small")
    (folder / "model.safetensors.index.json").write_text(index)
    assert failure_of(InspectConfig(uri=f"file://{folder}")).failure_class == FailureClass.MODEL_INVALID


@pytest.mark.parametrize("config", ["", "[]", "null", "{'a': 1}", '{"a": Infinity}', "[" * 200_000])
def test_garbage_configuration(tmp_path: Path, config: str) -> None:
    folder = write_checkpoint(tmp_path / "m", "small")
    (folder / "config.json").write_text(config)
    failure = failure_of(InspectConfig(uri=f"file://{folder}"))
    assert failure.failure_class == FailureClass.MODEL_INVALID
    assert "config.json" in failure.message


def test_huge_configuration_is_not_read(tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path / "m", "small")
    os.truncate(folder / "config.json", 1 << 40)
    assert "no real one" in failure_of(InspectConfig(uri=f"file://{folder}")).message


# --- hubs that refuse, fail and lie ---


@pytest.mark.parametrize(
    ("mode", "token", "expected"),
    [
        ("private", "", FailureClass.AUTH_REQUIRED),
        ("private", "wrong", FailureClass.MODEL_NOT_FOUND),  # hubs do not tell a stranger that it exists
        ("gated", "", FailureClass.AUTH_REQUIRED),
        ("gated", "wrong", FailureClass.AUTH_REQUIRED),
    ],
)
def test_token(hub: RunningHub, published: InspectConfig, mode: str, token: str, expected: str) -> None:
    hub.fake.tokens, hub.fake.mode = {"acme/llama": "right-token"}, mode
    failure = failure_of(published, token)
    assert failure.failure_class == expected
    assert "tokenSecretRef" in failure.next_step
    assert not failure.retryable
    assert facts_of(published, "right-token").files.commit


@pytest.mark.parametrize(
    ("uri", "revision", "word"),
    [("hf://acme/absent", "main", "acme/absent"), ("hf://acme/llama", "v9", "v9")],
)
def test_absent(hub: RunningHub, published: InspectConfig, uri: str, revision: str, word: str) -> None:
    failure = failure_of(InspectConfig(uri=uri, revision=revision, endpoint=hub.url))
    assert failure.failure_class == FailureClass.MODEL_NOT_FOUND
    assert word in failure.message


@pytest.mark.parametrize("code", [429, 500, 502, 503, 504])
def test_failing_hub_is_retryable(hub: RunningHub, published: InspectConfig, code: int) -> None:
    hub.fake.faults.fail_always = code
    failure = failure_of(published)
    assert failure.failure_class == FailureClass.HUB_UNREACHABLE
    assert failure.retryable
    assert "limiting" in failure.message if code == 429 else str(code) in failure.message
    assert len(hub.asked("GET", "/api/models")) == 3


def test_hub_that_recovers(hub: RunningHub, published: InspectConfig) -> None:
    hub.fake.faults.fail = [429, 503]
    assert facts_of(published).files.commit


@pytest.mark.parametrize("code", [401, 403])
def test_refusing_hub(hub: RunningHub, published: InspectConfig, code: int) -> None:
    hub.fake.faults.fail_always = code
    assert failure_of(published).failure_class == FailureClass.AUTH_REQUIRED


def test_nobody_there(monkeypatch: pytest.MonkeyPatch) -> None:
    failure = failure_of(InspectConfig(uri="hf://a/b", endpoint="http://127.0.0.1:9"))
    assert (failure.failure_class, failure.retryable) == (FailureClass.HUB_UNREACHABLE, True)


def test_hub_that_does_not_answer(
    hub: RunningHub, published: InspectConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote, "REQUEST_TIMEOUT_SECONDS", 0.2)
    hub.fake.faults.stall_seconds = 2
    failure = failure_of(published)
    assert (failure.failure_class, failure.retryable) == (FailureClass.HUB_UNREACHABLE, True)


def test_garbage_from_the_api(hub: RunningHub, published: InspectConfig) -> None:
    hub.fake.faults.garbage = True
    failure = failure_of(published)
    assert failure.failure_class == FailureClass.HUB_UNREACHABLE
    assert not failure.retryable


def test_redirect_to_storage_does_not_get_the_token(hub: RunningHub, published: InspectConfig) -> None:
    hub.fake.tokens, hub.fake.mode = {"acme/llama": "right"}, "private"
    hub.fake.faults.redirect_to = hub.url.replace("127.0.0.1", "localhost")
    assert facts_of(published, "right").tensors == facts_for("small").tensors
    elsewhere = hub.asked("GET", "/_elsewhere")
    assert elsewhere
    assert not any(entry["authorized"] for entry in elsewhere)


@pytest.mark.parametrize("target", ["file:///etc/passwd", "ftp://127.0.0.1/x", "gopher://127.0.0.1", "/loop"])
def test_redirects_that_are_not_followed(hub: RunningHub, published: InspectConfig, target: str) -> None:
    hub.fake.faults.redirect_to = target
    assert failure_of(published).failure_class in (FailureClass.HUB_UNREACHABLE, FailureClass.MODEL_NOT_FOUND)


@pytest.mark.parametrize("path", ["../../escape", "/etc/passwd", "a//b", "a\0b", "", "x" * 2000])
def test_listing_with_impossible_paths(hub: RunningHub, published: InspectConfig, path: str) -> None:
    original = hub.fake._commit

    def lying(repository: str, revision: str) -> Any:
        commit, files = original(repository, revision)
        files[0].path = path
        return commit, files

    hub.fake._commit = lying  # type: ignore[method-assign]
    assert failure_of(published).failure_class == FailureClass.MODEL_INVALID


def test_server_that_ignores_ranges(hub: RunningHub, published: InspectConfig) -> None:
    hub.fake.faults.no_ranges = True
    assert facts_of(published).tensors == facts_for("small").tensors


def test_more_tensors_than_any_model_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_checkpoint(tmp_path / "m", "small", shard_bytes=10_000)
    monkeypatch.setattr(safetensors, "TENSOR_LIMIT", 10)
    assert "any real model" in failure_of(InspectConfig(uri=f"file://{folder}")).message


# --- the process ---


def run(config: InspectConfig | str, tmp_path: Path, **environment: str) -> tuple[int, InspectResult, str]:
    log = tmp_path / "termination-log"
    log.write_text("")
    text = config if isinstance(config, str) else codec.dumps(config)
    done = subprocess.run(
        [sys.executable, "-m", "tacho_runtime.hub.inspect", "--print"],
        env={**os.environ, "TACHO_INSPECT_CONFIG": text, "TACHO_TERMINATION_LOG": str(log), **environment},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stdout.strip() == log.read_text()
    assert len(log.read_text()) <= 4096
    return done.returncode, codec.unpack(InspectResult, log.read_text()), done.stderr


def test_process_with_facts(hub: RunningHub, published: InspectConfig, tmp_path: Path) -> None:
    hub.fake.tokens = {"acme/llama": "hf_secret_value"}
    code, result, errors = run(published, tmp_path, HF_TOKEN="hf_secret_value")
    assert (code, errors) == (0, "")
    assert result.facts == facts_of(published, "hf_secret_value")


def test_process_with_failure(hub: RunningHub, published: InspectConfig, tmp_path: Path) -> None:
    hub.fake.tokens = {"acme/llama": "right"}
    code, result, errors = run(published, tmp_path, HF_TOKEN="hf_wrong_value")
    assert code == 1
    assert result.failure is not None
    assert result.failure.failure_class in errors
    assert "hf_wrong_value" not in errors + codec.dumps(result)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"uri": 5}'])
def test_process_with_a_broken_configuration(text: str, tmp_path: Path) -> None:
    code, result, _ = run(text, tmp_path)
    assert code == 1
    assert result.failure is not None
    assert result.failure.failure_class == FailureClass.INVALID_CONFIG


def test_process_ends_at_its_deadline(hub: RunningHub, published: InspectConfig, tmp_path: Path) -> None:
    hub.fake.faults.stall_seconds = 30
    began = time.monotonic()
    config = InspectConfig(uri=published.uri, endpoint=published.endpoint, timeout_seconds=2)
    code, result, _ = run(config, tmp_path)
    assert (code, time.monotonic() - began < 20) == (1, True)
    assert result.failure is not None
    assert result.failure.failure_class == FailureClass.HUB_UNREACHABLE
    assert "2 s" in result.failure.message


@pytest.mark.parametrize("name", ["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"])
def test_process_trusts_a_given_ca(
    tls_hub: RunningHub, authority: Authority, tmp_path: Path, name: str
) -> None:
    write_checkpoint(tls_hub.root / "acme/llama", "small")
    config = InspectConfig(uri="hf://acme/llama", endpoint=tls_hub.url)
    others = dict.fromkeys(("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"), "")
    bundle = str(authority.pair.certificate)
    assert run(config, tmp_path, **others | {name: bundle})[0] == 0
    code, result, _ = run(config, tmp_path, **others)
    assert code == 1
    assert result.failure is not None
    assert (result.failure.failure_class, result.failure.retryable) == (FailureClass.HUB_UNREACHABLE, False)
    assert "caBundleConfigMapRef" in result.failure.next_step


def test_process_goes_through_a_proxy(hub: RunningHub, published: InspectConfig, tmp_path: Path) -> None:
    """The fake hub, asked for a whole URL of another host, answers as a proxy to that host would."""
    config = InspectConfig(uri=published.uri, endpoint="http://hub.example")
    code, result, _ = run(config, tmp_path, HTTP_PROXY=hub.url, NO_PROXY="", no_proxy="")
    assert code == 0, result.failure
    assert {entry["host"] for entry in hub.fake.log} == {"hub.example"}
