"""What is no language model by the files beside its weights, and what only code of the repository reads."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from tacho_contract.failure import FailureClass
from tacho_contract.model import InspectConfig
from tacho_contract.uri import FileUri
from tests.unit.hub.inspecting import facts_of, failure_of
from tools.mock.checkpoints import write_checkpoint


def llama_beside(folder: Path, **files: object) -> InspectConfig:
    """The inspection of a Llama with other JSON files beside it, by their names before the dot."""
    write_checkpoint(folder, "llama-3.1-8b-w4a16")
    for name, content in files.items():
        (folder / f"{name}.json").write_text(json.dumps(content))
    return InspectConfig(uri=FileUri(str(folder)))


@pytest.mark.parametrize(
    "pooling",
    [
        "sentence_transformers.models.Pooling",
        "sentence_transformers.sentence_transformer.modules.pooling.Pooling",
    ],
)
def test_an_embedding_model_whose_architecture_generates_text_is_refused(
    tmp_path: Path, pooling: str
) -> None:
    modules = [{"idx": 0, "path": "", "type": "sentence_transformers.models.Transformer"}, {"type": pooling}]
    failure = failure_of(llama_beside(tmp_path, modules=modules))
    assert failure.failure_class == FailureClass.ENGINE_NOT_SUPPORTED
    assert "modules.json has a pooling module" in failure.message
    assert "--runner pooling" in failure.next_step


def test_modules_that_pool_nothing_do_not_hinder_a_language_model(tmp_path: Path) -> None:
    modules = [{"idx": 0, "path": "", "type": "sentence_transformers.models.Transformer"}]
    assert facts_of(llama_beside(tmp_path, modules=modules)).architecture


def test_a_draft_by_speculators_is_refused(tmp_path: Path) -> None:
    config = llama_beside(tmp_path)
    stored = json.loads((tmp_path / "config.json").read_text())
    verifier = {"verifier": {"name_or_path": "acme/llama"}}
    (tmp_path / "config.json").write_text(json.dumps({**stored, "speculators_config": verifier}))
    failure = failure_of(config)
    assert failure.failure_class == FailureClass.ENGINE_NOT_SUPPORTED
    assert "the model that it drafts for" in failure.next_step


@pytest.mark.parametrize("engine", ["", "vllm", "llamacpp", "transformers"])
@pytest.mark.parametrize("name", ["adapter_model.safetensors", "adapters.safetensors", "adapter_model.bin"])
def test_an_adapter_without_its_model_is_refused_with_the_models_name(
    tmp_path: Path, name: str, engine: str
) -> None:
    (tmp_path / name).write_bytes(b"\0" * 64)
    (tmp_path / "adapter_config.json").write_text('{"base_model_name_or_path": "acme/llama"}')
    failure = failure_of(InspectConfig(uri=FileUri(str(tmp_path)), engine=engine))
    assert failure.failure_class == FailureClass.MODEL_NOT_FOUND
    assert "an adapter (LoRA), which changes another model" in failure.message
    assert "the model that it adapts, acme/llama," in failure.next_step


def test_an_adapter_with_a_configuration_and_no_weights_is_one_too(tmp_path: Path) -> None:
    (tmp_path / "adapter_model.safetensors").write_bytes(b"\0" * 64)
    (tmp_path / "adapter_config.json").write_text("{}")
    (tmp_path / "config.json").write_text("{}")
    failure = failure_of(InspectConfig(uri=FileUri(str(tmp_path)), engine="vllm"))
    assert "an adapter (LoRA), which changes another model" in failure.message


def test_an_adapter_beside_its_model_is_no_hindrance(tmp_path: Path) -> None:
    assert facts_of(llama_beside(tmp_path, adapter_config={})).architecture


@pytest.mark.parametrize(("trusted", "tokenizer"), [(True, None), (False, False)])
def test_a_tokenizer_by_code_of_the_repository_is_none_until_it_is_trusted(
    tmp_path: Path, trusted: bool, tokenizer: bool | None
) -> None:
    config = llama_beside(tmp_path)
    stored = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**stored, "auto_map": {"AutoConfig": "a.B"}}))
    for name in ("tokenizer.json", "tokenizer.model"):
        (tmp_path / name).unlink(missing_ok=True)
    (tmp_path / "tiktoken.model").touch()
    assert facts_of(replace(config, trust_remote_code=trusted)).tokenizer is tokenizer
