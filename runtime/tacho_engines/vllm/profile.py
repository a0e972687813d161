"""The profile of vLLM: images, methods, formats, and refused options."""

from __future__ import annotations

from tacho_engines.profile import (
    CacheTypes,
    DeniedOptions,
    EngineImage,
    EngineProfile,
    EngineRules,
    EngineSpeed,
    LocalPackage,
    MethodSupport,
    PluginImage,
)
from tacho_engines.shared.switches import ADMIN, CODE, OWN, PROGRAM
from tacho_engines.vllm.speed import GGUF_BY_PLUGIN, LAW

LOG_CONFIGURATION = ("a log's configuration may call any code", "set VLLM_LOGGING_LEVEL in engine.env")
DENIED = DeniedOptions(
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
        "module-path": (CODE, "use a connector of the engine's own"),
        "model-class-overrides": (CODE, "leave it out"),
        "encoder-cache-manager-cls": (CODE, "leave it out"),
        "inductor-passes": (CODE, "leave it out"),
        "custom-class": (CODE, "use a method of the engine's own"),
        "log-config-file": LOG_CONFIGURATION,
        "pylogging-config-file": LOG_CONFIGURATION,
        "tool-server": (ADMIN, "leave it out"),
        "enable-fault-tolerance": (ADMIN, "leave it out"),
        "enable-elastic-ep": (ADMIN, "leave it out; autoscaling says how many replicas there are"),
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
    inside=(
        *("module-path", "worker-cls", "worker-extension-cls", "logits-processors", "custom-class"),
        *("encoder-cache-manager-cls", "inductor-passes", "pylogging-config-file"),
    ),
    variables={
        "VLLM_ALLOW_INSECURE_SERIALIZATION": (CODE, "leave it out"),
        "VLLM_SERVER_DEV_MODE": (ADMIN, "leave it out"),
        "VLLM_ALLOW_RUNTIME_LORA_UPDATING": (ADMIN, "leave it out"),
        "VLLM_TORCH_PROFILER_DIR": (ADMIN, "leave it out; the figures are in status.measurements"),
        "VLLM_LOGGING_CONFIG_PATH": LOG_CONFIGURATION,
        "VLLM_MODEL_REDIRECT_PATH": (OWN, "set model.uri"),
        "VLLM_RUST_FRONTEND_PATH": PROGRAM,
        "VLLM_CUDA_COMPATIBILITY_PATH": PROGRAM,
        "VLLM_USE_MODELSCOPE": (OWN, "set model.uri"),
    },
)


METHODS = (
    MethodSupport("none", "stored", (7, 0), 100.0, "vLLM platforms/cuda.py"),
    MethodSupport(
        "bnb-int8", "stored", (7, 0), 99.0, "vllm-bnb-plugin: 8-bit only pre-quantized", gpu_only=True
    ),
    MethodSupport(
        "bnb-fp4", "stored", (7, 0), 95.5, "vllm-bnb-plugin: in flight it quantizes to NF4", gpu_only=True
    ),
    MethodSupport("bnb-nf4", "either", (7, 0), 97.0, "vllm-bnb-plugin", gpu_only=True),
    MethodSupport(
        "fp8",
        "either",
        (7, 5),
        99.5,
        "layers/quantization/fp8.py get_min_capability (wheels 0.13.0, 0.14.0); below 8.9 weight-only "
        "(Marlin, vllm#5975)",
        older=(("0.5.1", 8, 9), ("0.14", 8, 0)),
        arithmetic="fp8",
        gpu_only=True,
    ),
    MethodSupport("awq", "stored", (7, 5), 97.0, "layers/quantization/auto_awq.py", gpu_only=True),
    # The method's own 6.0 is below what vLLM has code for.
    MethodSupport("gptq", "stored", (7, 0), 97.5, "layers/quantization/auto_gptq.py", gpu_only=True),
    MethodSupport(
        "compressed-tensors",
        "stored",
        (7, 5),
        99.0,
        "layers/quantization/compressed_tensors/schemes",
        gpu_only=True,
    ),
    MethodSupport("gguf", "stored", (7, 0), 97.0, "vllm-gguf-plugin", gpu_only=True),
)

PROFILE = EngineProfile(
    name="vllm",
    title="vLLM",
    image=EngineImage(
        reference="vllm/vllm-openai:v0.32.0",
        version="0.32.0",
        entrypoint=("vllm", "serve"),
        uid=0,
        cuda="13.0",  # the default build since 0.20 (vllm#42738)
    ),
    devices=("gpu", "cpu"),
    formats=("safetensors", "pytorch", "gguf", "mistral-native"),
    methods=METHODS,
    plugins=PluginImage(
        methods={**dict.fromkeys(("bnb-nf4", "bnb-fp4", "bnb-int8"), "0.28"), "gguf": GGUF_BY_PLUGIN},
        reference="tacho-vllm:v0.32.0",
    ),
    speed=EngineSpeed(efficiency=0.7, batching=True, law=LAW),
    fills=True,
    local=LocalPackage(
        package="vllm",
        entrypoint=("-m", "vllm.entrypoints.cli.main", "serve"),
        cpu_entrypoint=("-m", "vllm.entrypoints.openai.api_server"),
    ),
    rules=EngineRules(cache_types=CacheTypes(names=("fp8*",), cel="startsWith('fp8')"), denied=DENIED),
    cpu_image=EngineImage(
        reference="tacho-vllm-cpu:v0.32.0",
        version="0.32.0",
        entrypoint=("python3", "-m", "vllm.entrypoints.openai.api_server"),
        uid=65532,
        setting="vllmCpu",
    ),
)
