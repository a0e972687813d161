"""Small resources, plans and pods that the tests of the core vary."""

from __future__ import annotations

import copy
import dataclasses
from datetime import UTC, datetime, timedelta
from typing import Any

from tacho_contract.model import ModelFacts, ModelFiles
from tacho_contract.uri import ClaimUri, HubUri
from tacho_operator.api.types import LLMDeployment
from tacho_operator.core.planner.types import ModelPlan, Prediction
from tacho_operator.core.types import Config

NOW = datetime(2026, 11, 20, 12, 0, 0, tzinfo=UTC)
COMMIT = "4ad8b2f1c0ffee00000000000000000000000abc"

CONFIG = Config(tacho_image="registry.example/tacho:1.0.0", operator_namespace="tacho-system")

CLAIM_SPEC: dict[str, Any] = {
    "model": {"uri": "pvc://models/smollm2", "servedName": "smollm2"},
    "quantization": {"method": "gguf"},
    "engine": {"name": "llamacpp"},
    "gpu": {"count": 0},
    "context": {"maxModelLen": 2048, "concurrency": 4},
    "workload": {"inputTokens": 128, "outputTokens": 64},
}
HUB_SPEC: dict[str, Any] = {
    **CLAIM_SPEC,
    "model": {
        "uri": "hf://HuggingFaceTB/SmolLM2-135M-Instruct",
        "revision": "main",
        "files": ["*Q4_K_M.gguf"],
        "hub": {
            "endpoint": "https://hub.example",
            "caBundleConfigMapRef": {"name": "ca"},
            "env": [{"name": "HTTPS_PROXY", "value": "http://proxy.example:3128"}],
        },
        "tokenSecretRef": {"name": "hf"},
    },
    "cache": {"persistentVolumeClaim": {"claimName": "cache", "subPath": "hub"}},
}


def resource(spec: dict[str, Any] | None = None, **metadata: Any) -> LLMDeployment:
    return LLMDeployment.read(raw_resource(spec, **metadata))


def raw_resource(
    spec: dict[str, Any] | None = None, status: dict[str, Any] | None = None, **metadata: Any
) -> dict[str, Any]:
    return {
        "apiVersion": "tacho.dev/v1alpha1",
        "kind": "LLMDeployment",
        "metadata": {
            "name": "smol",
            "namespace": "ml",
            "uid": "uid-smol",
            "generation": 1,
            "creationTimestamp": "2026-11-20T11:00:00Z",
            **metadata,
        },
        "spec": copy.deepcopy(spec or CLAIM_SPEC),
        **({"status": copy.deepcopy(status)} if status else {}),
    }


def changed(spec: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """``spec`` with whole top-level fields replaced; None removes one."""
    found = copy.deepcopy(spec)
    for key, value in fields.items():
        if value is None:
            found.pop(key, None)
        else:
            found[key] = value
    return found


FILES = ModelFiles(
    commit="",
    digest="d" * 64,
    globs=("smollm2.gguf",),
    file_count=1,
    total_bytes=96_576_768,
    files_digest="f" * 64,
    model_file="smollm2.gguf",
)
HUB_FILES = dataclasses.replace(
    FILES,
    commit=COMMIT,
    digest=COMMIT,
    globs=("smollm2-Q4_K_M.gguf",),
    model_file="smollm2-Q4_K_M.gguf",
)


def facts(**fields: Any) -> ModelFacts:
    values: dict[str, Any] = {
        "uri": ClaimUri("models", "smollm2"),
        "files": FILES,
        "format": "gguf",
    }
    return ModelFacts(**{**values, **fields})


def hub_facts(**fields: Any) -> ModelFacts:
    return facts(
        **{
            "uri": HubUri("HuggingFaceTB/SmolLM2-135M-Instruct"),
            "files": HUB_FILES,
            **fields,
        }
    )


def plan(**fields: Any) -> ModelPlan:
    values: dict[str, Any] = {
        "engine": "llamacpp",
        "engine_version": "b10000",
        "image": "registry.example/tacho-llamacpp:1.0.0",
        "entrypoint": ("llama-server",),
        "quantization_method": "gguf",
        "files": FILES,
        "max_model_len": 2048,
        "concurrency": 4,
        "predicted": Prediction(
            weights_bytes=100_000_000,
            kv_cache_bytes=188_743_680,
            kv_cache_tokens=8192,
            max_concurrency=4.0,
            total_bytes=400_000_000,
            decode_tokens_per_second=137.25,
        ),
        "message": "gguf on llamacpp: needs 381 MiB of host memory.",
    }
    return ModelPlan(**{**values, **fields})


def hub_plan(**fields: Any) -> ModelPlan:
    return plan(**{"files": HUB_FILES, **fields})


def at(seconds: float) -> str:
    """RFC 3339 of the moment ``seconds`` after NOW."""
    return (NOW + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%SZ")
