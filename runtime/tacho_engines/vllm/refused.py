"""Switches and variables of vLLM that a user may not set."""

from __future__ import annotations

from tacho_engines.row import Refused
from tacho_engines.shared.refused import ADMIN, CODE, OWN

REFUSED = Refused(
    switches={
        "worker-cls": (CODE, "leave it out"),
        "worker-extension-cls": (CODE, "leave it out"),
        "scheduler-cls": (CODE, "leave it out"),
        "executor-class": (CODE, "leave it out"),
        "distributed-executor-backend": (CODE, "leave it out; parallelism says how the model is spread"),
        "logits-processors": (CODE, "leave it out"),
        "logits-processor-pattern": (CODE, "leave it out"),
        "middleware": (CODE, "put a proxy in front of the service"),
        "tool-parser-plugin": (CODE, "use a parser of the engine's own"),
        "reasoning-parser-plugin": (CODE, "use a parser of the engine's own"),
        "io-processor-plugin": (CODE, "leave it out"),
        "kv-connector-module-path": (CODE, "use a connector of the engine's own"),
        "allowed-local-media-path": (ADMIN, "send media with the request"),
        "profiler-config": (ADMIN, "leave it out; the figures are in status.measurements"),
        "uds": (OWN, "leave it out"),
        "code-revision": (CODE, "leave it out"),
        "download-dir": (OWN, "set cache"),
        "max-model-len": (OWN, "set context.maxModelLen"),
    },
    short={"q": "quantization"},
    joined=("q",),
    legitimate=("reasoning-parser",),
    inside=("kv-connector-module-path", "worker-cls", "worker-extension-cls", "logits-processors"),
    variables={
        "VLLM_ALLOW_INSECURE_SERIALIZATION": (CODE, "leave it out"),
        "VLLM_SERVER_DEV_MODE": (ADMIN, "leave it out"),
        "VLLM_ALLOW_RUNTIME_LORA_UPDATING": (ADMIN, "leave it out"),
        "VLLM_TORCH_PROFILER_DIR": (ADMIN, "leave it out; the figures are in status.measurements"),
        "VLLM_API_KEY": ("the key has a field of its own", "use endpoint.apiKeySecretRef"),
        "VLLM_USE_MODELSCOPE": (OWN, "set model.uri"),
    },
)
