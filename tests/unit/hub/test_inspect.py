# ruff: noqa: E501 - tables, a row each
"""Inspection of hubs, claims and folders: what is found, and what stands in the way."""

from __future__ import annotations

import contextlib
import json
import os
import socket
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tacho_contract import codec
from tacho_contract.failure import FailedError, FailureClass
from tacho_contract.model import InspectConfig
from tacho_contract.uri import FileUri, HubUri, parse_uri
from tacho_engines.run_parts import loadable_files
from tacho_runtime.headers.json_values import JSON_LIMIT_BYTES
from tacho_runtime.headers.source import FolderSource
from tacho_runtime.hub import gather
from tacho_runtime.hub.select import select
from tests.unit.hub.conftest import RunningHub
from tests.unit.hub.inspecting import facts_of, failure_of
from tools.mock import ggufs
from tools.mock.checkpoints import Tensor, facts_for, write_checkpoint, write_safetensors


def test_hub_safetensors(hub: RunningHub) -> None:
    write_checkpoint(hub.root / "acme/llama", "llama-3.1-8b-w4a16")
    facts = facts_of(InspectConfig(uri=HubUri("acme/llama"), endpoint=hub.url, engine="vllm"))
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
        InspectConfig(uri=parse_uri("pvc://models/llama"), claim_dir=str(hub.root / "acme"), engine="vllm")
    )
    from_folder = facts_of(InspectConfig(uri=FileUri(f"{hub.root}/acme/llama"), engine="vllm"))
    for other in (from_claim, from_folder):
        assert other.files.commit == ""
        assert other.files.files_digest == from_hub.files.files_digest
        assert (other.tensors, other.files.globs, other.files.total_bytes) == (
            from_hub.tensors, from_hub.files.globs, from_hub.files.total_bytes,
        )  # fmt: skip
    assert from_claim.files.digest == from_folder.files.digest != from_hub.files.digest


def test_digest_sees_headers_and_configuration(tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path / "m", "small")
    config = InspectConfig(uri=FileUri(str(folder)))
    before = facts_of(config)
    text = (folder / "config.json").read_text()
    (folder / "config.json").write_text(text.replace('"hidden_size": 64', '"hidden_size": 65'))
    after = facts_of(config)
    assert after.files.files_digest == before.files.files_digest
    assert after.files.digest != before.files.digest


def test_gguf_file_on_a_claim(tmp_path: Path) -> None:
    ggufs.llama(tmp_path / "sub/m.gguf")
    for uri in ("pvc://c/sub/m.gguf", "pvc://c/sub", "pvc://c/sub/"):
        facts = facts_of(InspectConfig(uri=parse_uri(uri), claim_dir=str(tmp_path), engine="llamacpp"))
        assert (facts.files.model_file, facts.files.file_count, facts.format) == ("m.gguf", 1, "gguf")
        assert facts.quantization.scheme == "Q4_K_M"


def test_gguf_shards_add_up(tmp_path: Path) -> None:
    ggufs.llama(tmp_path / "m-00001-of-00002.gguf")
    ggufs.write(
        tmp_path / "m-00002-of-00002.gguf", {"split.no": 1}, [("blk.2.attn_q.weight", (256, 256), 12)]
    )
    one = facts_of(InspectConfig(uri=FileUri(str(tmp_path)), engine="llamacpp"))
    assert one.files.model_file == "m-00001-of-00002.gguf"
    assert sum(c.tensors for c in one.tensors) == 2 + 2 * 9 + 1 + 1
    source = FolderSource(tmp_path, name="m")
    selection = select(source.files(), (), loadable_files("llamacpp"))
    first, second = gather._ggufs(source, selection, {})
    assert (bool(first.metadata), second.metadata) == (True, {}), "kept of one, of 100 MB of headers"


def test_custom_engine_is_listed_and_not_parsed(tmp_path: Path) -> None:
    (tmp_path / "weights.bin").write_bytes(b"x" * 100)
    (tmp_path / "broken.gguf").write_bytes(b"no gguf")
    facts = facts_of(InspectConfig(uri=FileUri(str(tmp_path)), parse=False, engine="custom"))
    assert (facts.format, facts.files.total_bytes, facts.architecture, facts.tensors) == (
        "custom",
        107,
        None,
        (),
    )


def test_quantization_in_a_file_of_its_own(tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path / "m", "small-gptq")
    config = json.loads((folder / "config.json").read_text())
    quantized = config.pop("quantization_config")
    (folder / "config.json").write_text(json.dumps(config))
    uri = FileUri(str(folder))
    assert facts_of(InspectConfig(uri=uri)).quantization.method == ""
    (folder / "quantize_config.json").write_text(json.dumps(quantized))
    found = facts_of(InspectConfig(uri=uri)).quantization
    assert (found.method, found.file) == ("gptq", "quantize_config.json")
    assert facts_of(InspectConfig(uri=uri, files=("config.json", "*.safetensors"))).quantization == found
    quantization = {"producer": {"name": "modelopt"}, "quantization": {"quant_algo": "FP8"}}
    (folder / "hf_quant_config.json").write_text(json.dumps(quantization))
    assert facts_of(InspectConfig(uri=uri)).quantization.method == "modelopt"
    (folder / "quantize_config.json").write_text("[]")
    (folder / "hf_quant_config.json").unlink()
    assert "quantize_config.json is not a JSON object" in failure_of(InspectConfig(uri=uri)).message


def test_python_files_belong_to_a_model_whose_code_the_user_trusts(tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path / "m", "small")
    (folder / "modeling_x.py").write_text("import os")
    config = InspectConfig(uri=FileUri(str(folder)), engine="vllm")
    without, trusted = facts_of(config), facts_of(replace(config, trust_remote_code=True))
    assert trusted.files.file_count == without.files.file_count + 1


def test_pickle_weights_are_sized_and_never_opened(tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path / "m", "small")
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(b"cos\nsystem\n(S'touch /tmp/pwned'\ntR.")
    facts = facts_of(InspectConfig(uri=FileUri(str(folder))))
    assert facts.format == "pytorch"
    assert any("pickle" in line for line in facts.unknown)
    assert facts.architecture is not None
    assert facts.architecture.layers == 2


def test_absent_claim_path_names_what_is_there(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    failure = failure_of(InspectConfig(uri=parse_uri("pvc://c/absent"), claim_dir=str(tmp_path)))
    assert failure.failure_class == FailureClass.MODEL_NOT_FOUND
    assert "other" in failure.message


@pytest.mark.parametrize(("closed", "how"), [("claim", "found"), ("claim/m", "listed")])
def test_a_folder_that_may_not_be_read_is_neither_empty_nor_absent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, closed: str, how: str
) -> None:
    write_checkpoint(tmp_path / "claim/m", "small")
    (tmp_path / closed).chmod(0)
    tmp_path.chmod(0o755)
    monkeypatch.chdir(tmp_path)  # the folders above it are root's own
    user = os.geteuid()
    if user == 0:
        os.seteuid(65532)
    try:
        failure = failure_of(InspectConfig(uri=parse_uri("pvc://c/m"), claim_dir="claim", engine="vllm"))
    finally:
        os.seteuid(user)
        (tmp_path / closed).chmod(0o700)
    assert failure.failure_class == FailureClass.MODEL_INVALID
    assert failure.message == f"pvc://c/m cannot be {how}: Permission denied."
    assert "chmod -R a+rX" in failure.next_step


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
def test_uris_that_lead_nowhere_are_no_configuration(uri: str) -> None:
    with pytest.raises(codec.DocumentError, match=r"InspectConfig\.uri: .*"):
        codec.from_dict(InspectConfig, {"uri": uri})


def test_link_out_of_the_claim(tmp_path: Path) -> None:
    claim = tmp_path / "claim"
    claim.mkdir()
    ggufs.llama(tmp_path / "secret.gguf")
    (claim / "m.gguf").symlink_to(tmp_path / "secret.gguf")
    failure = failure_of(InspectConfig(uri=parse_uri("pvc://c"), claim_dir=str(claim), engine="llamacpp"))
    assert "outside" in failure.message


def test_empty_folder(tmp_path: Path) -> None:
    assert failure_of(InspectConfig(uri=FileUri(str(tmp_path)))).failure_class == FailureClass.MODEL_NOT_FOUND


def test_truncated_gguf_names_the_file(tmp_path: Path) -> None:
    path = ggufs.llama(tmp_path / "m.gguf")
    os.truncate(path, path.stat().st_size - 1000)
    failure = failure_of(InspectConfig(uri=FileUri(str(tmp_path)), engine="llamacpp"))
    assert failure.failure_class == FailureClass.MODEL_INVALID
    assert failure.message.startswith("m.gguf: ")
    assert "cut short" in failure.message


@pytest.mark.parametrize("tensors", [[], [("lm_head.weight", "BF16", (0, 8), 0)]])
def test_safetensors_without_weights_are_refused_by_name(tmp_path: Path, tensors: list[Any]) -> None:
    folder = write_checkpoint(tmp_path / "m", "small")
    write_safetensors(folder / "model.safetensors", tensors)
    failure = failure_of(InspectConfig(uri=FileUri(str(folder))))
    assert failure.failure_class == FailureClass.MODEL_INVALID
    assert failure.message.startswith("model.safetensors holds no weights")


def test_a_gguf_vocabulary_without_weights_is_refused_by_name(tmp_path: Path) -> None:
    ggufs.write(tmp_path / "vocab.gguf", {"general.architecture": "llama"}, [])
    failure = failure_of(InspectConfig(uri=FileUri(str(tmp_path)), engine="llamacpp"))
    assert failure.failure_class == FailureClass.MODEL_INVALID
    assert failure.message.startswith("vocab.gguf holds no weights")


@pytest.mark.parametrize(
    "index",
    ["[]", "{}", '{"weight_map": {}}', '{"weight_map": 3}', '{"weight_map": {"a": 3}}', "{", '{"weight_map": {"a": NaN}}',
     '{"weight_map": {"a": "../../etc/passwd.safetensors"}}', '{"weight_map": {"a": "model.safetensors.index.json"}}',
     '{"weight_map": {"a": "/etc/x.safetensors"}}', '{"a":' * 50_000],
)  # fmt: skip
def test_garbage_index(tmp_path: Path, index: str) -> None:
    folder = write_checkpoint(tmp_path / "m", "small")
    (folder / "model.safetensors.index.json").write_text(index)
    assert failure_of(InspectConfig(uri=FileUri(str(folder)))).failure_class == FailureClass.MODEL_INVALID


@pytest.mark.parametrize("config", ["", "[]", "null", "{'a': 1}", '{"a": infinity}', "[" * 200_000])
def test_garbage_configuration(tmp_path: Path, config: str) -> None:
    folder = write_checkpoint(tmp_path / "m", "small")
    (folder / "config.json").write_text(config)
    failure = failure_of(InspectConfig(uri=FileUri(str(folder))))
    assert failure.failure_class == FailureClass.MODEL_INVALID
    assert "config.json" in failure.message


@pytest.mark.parametrize(
    "name", ["tokenizer.json", "config.json", "model.safetensors", "generation_config.json"]
)
@pytest.mark.parametrize("kind", ["pipe", "socket", "device"])
def test_what_is_no_file_is_refused_before_an_engine_waits_for_it(
    tmp_path: Path, name: str, kind: str
) -> None:
    folder = write_checkpoint(tmp_path / "m", "small")
    (folder / name).unlink(missing_ok=True)
    if kind == "pipe":
        os.mkfifo(folder / name)
    elif kind == "device":
        (folder / name).symlink_to("/dev/zero")
    else:
        with socket.socket(socket.AF_UNIX) as server, contextlib.chdir(folder):
            server.bind(name)
    failure = failure_of(InspectConfig(uri=FileUri(str(folder)), engine="vllm"))
    assert failure.failure_class == FailureClass.MODEL_INVALID
    assert f"{name} is a pipe, socket or device" in failure.message


def test_a_disk_that_breaks_is_no_matter_of_rights(tmp_path: Path) -> None:
    (tmp_path / "config.json").symlink_to("/proc/self/mem")  # of which the beginning cannot be read
    with pytest.raises(FailedError, match=r"config\.json cannot be read: Input/output error") as refused:
        FolderSource(tmp_path, name="m").read("config.json", 0, 10)
    assert "storage" in refused.value.failure.next_step


def test_a_socket_that_no_engine_reads_is_no_obstacle(tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path / "m", "small")
    expected = facts_of(InspectConfig(uri=FileUri(str(folder))))
    os.mkfifo(folder / "download.lock")
    assert facts_of(InspectConfig(uri=FileUri(str(folder)))) == expected


def test_numbers_that_only_pythons_json_has_are_absent(tmp_path: Path) -> None:
    """Transformers writes and reads them: ``time_step_limit`` of Mamba-2 ends at Infinity."""
    folder = write_checkpoint(tmp_path / "m", "small")
    expected = facts_of(InspectConfig(uri=FileUri(str(folder))))
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"time_step_limit": [0.0, float("inf")]}))
    (folder / "tokenizer_config.json").write_text('{"model_max_length": NaN, "chat_template": "x"}')
    assert "Infinity" in (folder / "config.json").read_text()
    found = facts_of(InspectConfig(uri=FileUri(str(folder))))
    assert found.architecture == expected.architecture is not None
    assert found.chat_template is True


@pytest.mark.parametrize(
    "raw",
    ["NaN", "Infinity", "1e999", '"fp8"', '{"quant_method": "gptq", "bits": NaN}', '{"quant_method": "fp8", "a": [{"b": -Infinity}]}'],
)  # fmt: skip
@pytest.mark.parametrize("key", ["quantization_config", "compression_config"])
def test_a_quantization_that_no_engine_reads_is_not_none(tmp_path: Path, key: str, raw: str) -> None:
    """The plan would be that of a model of 16 bits, or of a usual width."""
    folder = write_checkpoint(tmp_path / "m", "small")
    text = (folder / "config.json").read_text().rstrip()
    (folder / "config.json").write_text(f'{text[:-1]}, "{key}": {raw}}}')
    failure = failure_of(InspectConfig(uri=FileUri(str(folder))))
    assert failure.failure_class == FailureClass.MODEL_INVALID
    assert "quantization_config" in failure.message
    (folder / "config.json").write_text(f'{text[:-1]}, "{key}": null}}')
    assert facts_of(InspectConfig(uri=FileUri(str(folder)))).quantization.method == ""


def test_figures_that_no_document_can_hold_have_a_class(tmp_path: Path) -> None:
    """Each is within its bounds, and their product has 80 bits."""
    folder = write_checkpoint(tmp_path / "m", "small")
    config = json.loads((folder / "config.json").read_text())
    config |= {"max_position_embeddings": 2**39, "rope_scaling": {"rope_type": "linear", "factor": 2.0**39}}
    (folder / "config.json").write_text(json.dumps(config))
    failure = failure_of(InspectConfig(uri=FileUri(str(folder)), engine="vllm"))
    assert failure.failure_class == FailureClass.MODEL_INVALID
    assert "architecture.maxPositions: a number of more than 63 bits" in failure.message


def test_a_configuration_above_tachos_limit_is_not_read(tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path / "m", "small")
    os.truncate(folder / "config.json", 1 << 40)
    failure = failure_of(InspectConfig(uri=FileUri(str(folder))))
    assert failure.message == "config.json has 1.1 TB; tacho reads at most 40.0 MB of it."
    assert "Download" not in failure.next_step


def test_an_index_larger_than_any_limit_and_a_tokenizer_of_very_many_tokens(tmp_path: Path) -> None:
    """Files that are scanned. An index of 41 MB was "damaged"."""
    folder = write_checkpoint(tmp_path / "m", "small", shard_bytes=60_000)
    expected = facts_of(InspectConfig(uri=FileUri(str(folder))))
    index = folder / "model.safetensors.index.json"
    index.write_text(index.read_text().replace("{", "{" + " " * JSON_LIMIT_BYTES, 1))
    tokens = {str(n): {"content": f"<|{n}|>", "special": True} for n in range(1000)}
    text = json.dumps(
        {"added_tokens_decoder": tokens, "chat_template": "x", "model_max_length": 10**30}, indent=40_000
    )
    (folder / "tokenizer_config.json").write_text(text)
    found = facts_of(InspectConfig(uri=FileUri(str(folder))))
    assert min(index.stat().st_size, len(text)) > JSON_LIMIT_BYTES
    assert (found.tensors, found.chat_template, expected.chat_template) == (expected.tensors, True, False)


def test_more_tensors_than_were_ever_published(tmp_path: Path) -> None:
    """400,000 of them, in two files."""
    weight_map, folder = {}, tmp_path / "m"
    folder.mkdir()
    for number in (0, 1):
        name = f"model-{number + 1:05}-of-00002.safetensors"
        rows: list[Tensor] = [
            (f"layers.{number}.mlp.experts.{n}.weight", "U8", (2,), 2) for n in range(200_000)
        ]
        write_safetensors(folder / name, rows)
        weight_map |= {row[0]: name for row in rows}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    (folder / "config.json").write_text('{"num_hidden_layers": 2}')
    (experts,) = facts_of(InspectConfig(uri=FileUri(str(folder)))).tensors
    assert (experts.kind, experts.tensors, experts.stored_bytes) == ("expert", 400_000, 800_000)
