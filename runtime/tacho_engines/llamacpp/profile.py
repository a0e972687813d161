"""The profile of llama.cpp: images, methods, formats, and refused options."""

from __future__ import annotations

from tacho_engines.profile import (
    CacheTypes,
    DeniedOptions,
    EngineImage,
    EngineProfile,
    EngineRules,
    EngineSpeed,
    LocalPackage,
    MethodRule,
    MethodSupport,
)
from tacho_engines.shared.switches import ADMIN, CODE, OWN

DENIED = DeniedOptions(
    switches={
        "media-path": (ADMIN, "send media with the request"),
        "slots": (ADMIN, "leave it out; the load is at /load of port 9400"),
        "slot-save-path": (ADMIN, "leave it out"),
        "props": (ADMIN, "leave it out"),
        "rpc": (ADMIN, "leave it out"),
        "path": (ADMIN, "leave it out; files are not served"),
        "log-file": (ADMIN, "read the container's log"),
        "tools": (ADMIN, "leave it out"),
        "tools-runtime": (ADMIN, "leave it out"),
        "agent": (ADMIN, "leave it out"),
        "ui-mcp-proxy": (ADMIN, "leave it out"),
        "webui-mcp-proxy": (ADMIN, "leave it out"),
        "mcp-servers-config": (CODE, "leave it out"),
        "mcp-servers-json": (CODE, "leave it out"),
        "video-ffmpeg-dir": (CODE, "leave it out"),
        "log-prompts-dir": (ADMIN, "leave it out"),
        "docker-repo": (OWN, "set model.uri"),
        "api-key-file": (
            "the probe would not know the key",
            "set LLAMA_API_KEY in engine.env, from a Secret",
        ),
        "model-url": (OWN, "set model.uri"),
        "models-dir": (OWN, "set model.uri"),
        "models-preset": (OWN, "set model.uri"),
        "hf-repo": (OWN, "set model.uri"),
        "hf-file": (OWN, "set model.files"),
        "alias": (OWN, "set model.servedName"),
        "ctx-size": (OWN, "set context.maxModelLen"),
        "parallel": (OWN, "set context.concurrency"),
    },
    short={
        "ag": "agent",
        "dr": "docker-repo",
        "m": "model",
        "mu": "model-url",
        "hf": "hf-repo",
        "hfr": "hf-repo",
        "hff": "hf-file",
        "hft": "hf-token",
        "a": "alias",
        "c": "ctx-size",
        "np": "parallel",
    },
    legitimate=("ui", "webui", "reasoning", "rea"),
    variable_prefixes={
        "LLAMA_ARG_": (
            "it sets a switch of llama.cpp past this check",
            "write the switch into engine.extraArgs",
        )
    },
)


METHODS = (
    MethodSupport(
        "gguf",
        "stored",
        (7, 5),
        97.0,
        "CUDA 13, which the image is built with, begins there (Dockerfile.llamacpp-cuda)",
    ),
)

PROFILE = EngineProfile(
    name="llamacpp",
    title="llama.cpp",
    image=EngineImage(
        reference="tacho-llamacpp-cuda",
        setting="llamacppCuda",
        version="2026.10",
        entrypoint=("llama-server",),
        uid=10001,
        cuda="13.0",
    ),
    devices=("gpu", "cpu"),
    formats=("gguf",),
    methods=METHODS,
    speed=EngineSpeed(efficiency=0.6, batching=True),
    local=LocalPackage(package="xllamacpp", entrypoint=("-m", "tacho_llamacpp")),
    executes_model_code=False,
    numbers_builds=True,
    rules=EngineRules(
        method=MethodRule(
            cel="self.engine.name != 'llamacpp' || self.quantization.method in ['gguf', 'none']",
            message="llamacpp serves GGUF files; set quantization.method to gguf, or none for an unquantized "
            "GGUF",
        ),
        cache_types=CacheTypes(names=("q8_0", "q4_0"), cel="matches('^q[48]_0$')"),
        denied=DENIED,
    ),
    keeps=False,
    cpu_image=EngineImage(
        reference="tacho-llamacpp",
        version="2026.10",
        entrypoint=("llama-server",),
        uid=10001,
        setting="llamacpp",
    ),
)
