"""Engine settings of a model: quantization, engine, GPUs, parallelism and the required context length."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from tacho_engines.registry import ENGINES, method_names, presets
from tacho_operator.api.base import NO_BLANK, ApiModel, Label63, QualifiedName, Quantity, integer, items
from tacho_operator.api.spec.sources import EnvList

if TYPE_CHECKING:
    QuantizationMethod = str
    EngineName = str
    Preset = str
else:  # what the engines' folders say: a type checker cannot read it, pydantic and the CRD can
    QuantizationMethod = Literal[method_names()]
    EngineName = Literal[ENGINES]
    Preset = Literal[tuple(presets())]
ComputeDtype = Literal["bfloat16", "float16", "float32"]
KvCacheDtype = Literal["bfloat16", "fp8", "fp8_e4m3", "fp8_e5m2", "q8_0", "q4_0"]

Argument = Annotated[str, Field(max_length=1024)]
QuantityMap = Annotated[dict[str, Quantity], Field(max_length=8)]


class BitsAndBytesSpec(ApiModel):
    """Settings of bitsandbytes; only with a method bnb-*."""

    double_quant: bool | None = None
    """True quantizes the quantization constants too: about 0.4 bits a weight less. Absent: true for 4-bit."""
    compute_dtype: ComputeDtype | None = None
    """Type the weights are expanded to for computing. Absent: bfloat16 where the GPU has it, else float16."""


class QuantizationSpec(ApiModel):
    """How the weights are stored in memory."""

    method: QuantizationMethod | None = None
    """Quantization of the weights. none serves the checkpoint as it is; gguf takes the quantization of the
    GGUF file. Absent: tacho ranks the methods that fit. Example: bnb-nf4."""
    bitsandbytes: BitsAndBytesSpec | None = None
    """Settings of the methods bnb-*. Refused with any other method."""
    kv_cache_dtype: KvCacheDtype | None = None
    """Type of the KV cache's elements. Absent: the model's own. Example: fp8."""


class ResourceClaimUse(ApiModel):
    """A resource claim of the pod that the engine container uses."""

    name: Label63
    """Name of an entry of podTemplate.spec.resourceClaims."""
    request: Label63 | None = None
    """Name of one request of the claim. Absent: everything the claim holds."""


class EngineResources(ApiModel):
    """CPU, memory and ephemeral storage of the engine container. GPUs are requested in spec.gpu."""

    requests: QuantityMap = Field(default_factory=dict)
    """Amounts that the scheduler reserves, as strings. Absent: tacho computes it from the plan.
    Example: {cpu: "2", memory: 8Gi}."""
    limits: QuantityMap = Field(default_factory=dict)
    """Upper limits of the container, as strings. Absent: memory from the plan, no CPU limit.
    Example: {memory: 12Gi}."""
    claims: Annotated[list[ResourceClaimUse], items(8, key="name")] = Field(default_factory=list)
    """Dynamic resource claims the container uses, each declared in podTemplate.spec.resourceClaims."""


class CustomEngineSpec(ApiModel):
    """An engine without built-in support, defined by its image and command. It must serve the OpenAI API."""

    preset: Preset | None = None
    """A known server with its command, health path and, where the preset has one, image. Absent: those fields
    are set below. Example: sglang."""
    command: Annotated[list[Argument], items(64)] = Field(default_factory=list)
    """Program and arguments, without a shell (an image's own ENTRYPOINT is not used). $(TACHO_MODEL_PATH),
    $(TACHO_SERVED_NAME), $(TACHO_HOST), $(TACHO_PORT), $(TACHO_MAX_MODEL_LEN), $(TACHO_CONCURRENCY),
    $(TACHO_QUANTIZATION), $(TACHO_KV_CACHE_DTYPE), $(TACHO_TENSOR_PARALLEL) and $(TACHO_PIPELINE_PARALLEL)
    are expanded. Refused with a preset. Example: [serve, $(TACHO_MODEL_PATH)]."""
    port: Annotated[int, integer(1, 65535)] | None = None
    """TCP port the engine listens on inside the pod. Absent: 8000, with a preset. Example: 8000."""
    health_path: Annotated[str, Field(min_length=1, max_length=256, pattern=f"^/{NO_BLANK}*$")] | None = None
    """HTTP path that answers 200 once the model serves. Absent: /health, or the preset's.
    Example: /health."""
    python: Annotated[str, Field(min_length=1, max_length=256)] | None = None
    """Python interpreter (3.10 or newer) in the image that runs tacho's runtime. Absent: python3.
    Example: /opt/venv/bin/python."""


class VolumeMount(ApiModel):
    """A volume of podTemplate.spec.volumes, mounted into the engine container."""

    name: Label63
    """Name of the volume to mount."""
    mount_path: Annotated[str, Field(min_length=2, max_length=512, pattern=r"^/[^:\t\n\f\r ]+$")]
    """Absolute path in the container. Example: /etc/engine."""
    sub_path: Annotated[str, Field(min_length=1, max_length=512)] | None = None
    """Path inside the volume, relative and without "..". Absent: its root."""
    read_only: bool = True
    """True mounts it read-only. Absent: true."""


class EngineSpec(ApiModel):
    """The program that serves the model."""

    name: EngineName | None = None
    """Engine. Absent: tacho ranks engine and quantization method together. Example: vllm."""
    image: Annotated[str, Field(max_length=512, pattern=f"^{NO_BLANK}*$")] = ""
    """Image of the engine container. Empty: the image of the engine table. Example:
    vllm/vllm-openai:v0.32.0."""
    extra_args: Annotated[list[Argument], items(64)] = Field(default_factory=list)
    """Arguments added to the engine's command line, one element each. Switches that load code or open
    administrative endpoints are refused. Example: ["--max-num-seqs=64"]."""
    env: EnvList = Field(default_factory=list)
    """Variables added to the engine container's environment. Example: [{name: OMP_NUM_THREADS, value:
    "8"}]."""
    resources: EngineResources | None = None
    """CPU and memory of the engine container. Absent: tacho computes them from the plan."""
    volume_mounts: Annotated[list[VolumeMount], items(16, key="mountPath")] = Field(default_factory=list)
    """Volumes of podTemplate.spec.volumes that are mounted into the engine container."""
    custom: CustomEngineSpec | None = None
    """How the engine is started; only with name custom, and required with it."""


class GpuSpec(ApiModel):
    """The GPUs of one replica."""

    products: Annotated[list[Annotated[str, Field(min_length=1, max_length=63)]], items(8)] = Field(
        default_factory=list
    )
    """GPU products in order of preference, as the node label nvidia.com/gpu.product or a short name; a
    revision runs on one of them. Absent: any that fits. Example: [NVIDIA-L4, A10]."""
    count: Annotated[int, integer(0, 64)] | None = None
    """GPUs of one replica; 0 runs on the CPU. Absent: the minimum for the best method. Example: 1."""
    resource_name: QualifiedName | None = None
    """Extended resource of the GPUs. Absent: nvidia.com/gpu. Example:
    nvidia.com/mig-1g.10gb."""
    schedule_timeout_seconds: Annotated[int, integer(10, 86400)] | None = None
    """Seconds that a pod waits for a GPU of the planned kind before the next kind that fits is planned, each
    once, if products leave a choice. A node autoscaler needs more. Absent: 120. Example: 600."""


class ParallelismSpec(ApiModel):
    """How the model is spread over the GPUs of a replica; the product equals max(1, gpu.count)."""

    tensor: Annotated[int, integer(1, 64)] | None = None
    """GPUs that each layer is split over. Absent: chosen by attention heads and memory. Example: 2."""
    pipeline: Annotated[int, integer(1, 64)] | None = None
    """Groups of GPUs the layers are divided among. Absent: 1 beside tensor, else chosen with it. Example:
    1."""


class ContextSpec(ApiModel):
    """The context that must fit: the plan is made for `concurrency` requests of `maxModelLen` tokens."""

    max_model_len: Annotated[int, integer(16, 2**31 - 1, form="int64")] | None = None
    """Longest request in tokens, prompt plus answer. Absent: the longest that fits, up to the
    model's own limit. Example: 8192."""
    concurrency: Annotated[int, integer(1, 4096)] | None = None
    """Concurrent requests of one replica. Absent: tacho chooses. Example: 16."""
