"""Claims, folders and the environment of children."""

from __future__ import annotations

from pathlib import Path

import pytest

from tacho_cli.inputs.child import engine_environment
from tacho_cli.inputs.model import claim_directories, cluster_form, inspect_model, model_directory
from tacho_cli.problems import CommandError
from tacho_cli.run.setup import cache_directory
from tacho_contract.uri import parse_uri
from tacho_operator.api.types import LLMDeployment
from tests.unit.cli.commands import SMOLLM2


def resource(**spec: object) -> LLMDeployment:
    return LLMDeployment.read({**SMOLLM2, "spec": {**SMOLLM2["spec"], **spec}})


def test_folders_stand_in_for_claims(tmp_path: Path) -> None:
    claims = claim_directories([f"models={tmp_path}", f"a={tmp_path}"])
    assert claims == {"models": tmp_path.resolve(), "a": tmp_path.resolve()}
    assert model_directory(parse_uri("pvc://models/deep/model"), claims) == tmp_path.resolve() / "deep/model"
    assert model_directory(parse_uri("file:///srv/m"), claims) == Path("/srv/m")
    assert model_directory(parse_uri("hf://a/b"), claims) is None


@pytest.mark.parametrize("pair", ["models", "=x", "models=", ""])
def test_a_pair_must_be_a_pair(pair: str) -> None:
    with pytest.raises(CommandError, match="CLAIM=DIR is expected"):
        claim_directories([pair])


def test_a_folder_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="is not a folder"):
        claim_directories([f"models={tmp_path}/none"])


def test_a_claim_without_a_folder_is_named() -> None:
    with pytest.raises(CommandError, match="--pvc models=DIR"):
        model_directory(parse_uri("pvc://models/x"), {})


def test_a_file_model_stands_as_a_claim_for_the_code_that_clusters_share() -> None:
    local = resource(model={"uri": "file:///srv/m"})
    assert cluster_form(local).spec.model.uri.startswith("pvc://local/")
    assert cluster_form(resource()).spec.model.uri == "pvc://models/smollm2"


@pytest.mark.parametrize(
    ("files", "globs", "failure_class", "words"),
    [
        ({}, [], "ModelNotFound", "does not exist"),
        ({"smollm2/readme": b"x"}, [], "ModelNotFound", "there is none"),
        ({"smollm2/a.gguf": b"GGUF"}, ["*Q8*"], "ModelNotFound", "'*Q8*' matches none"),
        ({"smollm2/a.gguf": b"GGUF", "smollm2/b.gguf": b"GGUF"}, [], "ModelInvalid", "2 GGUF models"),
        ({"smollm2/a.gguf": b"GGUF\3\0\0\0"}, [], "ModelInvalid", "a.gguf"),
        ({"smollm2/a.gguf": b"<html>no</html>"}, [], "ModelInvalid", "a.gguf"),
    ],
)
def test_what_is_wrong_with_a_model_is_told_by_its_class(
    tmp_path: Path, files: dict[str, bytes], globs: list[str], failure_class: str, words: str
) -> None:
    for name, content in files.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
    wanted = resource(model={"uri": "pvc://models/smollm2", "files": globs})
    with pytest.raises(CommandError) as refused:
        inspect_model(wanted, {"models": tmp_path})
    assert refused.value.failure is not None
    assert refused.value.failure.failure_class == failure_class
    assert words in str(refused.value)
    assert "  -> " in str(refused.value)
    assert refused.value.code == 2


def test_the_engine_sees_no_token_of_the_hub() -> None:
    caller = {"PATH": "/bin", "HF_TOKEN": "secret", "HUGGING_FACE_HUB_TOKEN": "secret", "HF_TOKEN_PATH": "x"}
    hub = resource(model={"uri": "hf://a/b"})
    assert engine_environment(hub, caller) == {"PATH": "/bin", "HF_HUB_OFFLINE": "1"}


def test_variables_of_the_engine_are_set_and_secrets_come_from_the_caller(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    secret = {"name": "KEY", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}
    wanted = resource(engine={"name": "llamacpp", "env": [{"name": "A", "value": "1"}, secret]})
    monkeypatch.delenv("KEY", raising=False)
    with pytest.raises(CommandError, match=r"spec.engine.env\[1\]: KEY comes from the cluster"):
        engine_environment(wanted, {})
    monkeypatch.setenv("KEY", "mine")
    assert engine_environment(wanted, {}) == {"A": "1", "KEY": "mine"}


def test_downloads_go_to_the_claim_or_the_users_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = {"persistentVolumeClaim": {"claimName": "models", "subPath": "hub"}}
    kept = resource(model={"uri": "hf://a/b"}, cache=cache)
    assert cache_directory(kept, {"models": tmp_path}) == tmp_path / "hub"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert cache_directory(kept, {}) == tmp_path / "cache/tacho/models"
