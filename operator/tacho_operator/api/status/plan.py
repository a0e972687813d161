"""`status.plan`: the chosen plan, its predicted memory and the rejected alternatives.

`tacho plan -o json` prints the same structure. Bytes are those of the most loaded GPU.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

from pydantic import Field

from tacho_contract.measurement import COUNT, SIZE, WORD
from tacho_operator.api.base import (
    Bytes,
    Count,
    Message,
    ShortText,
    StatusModel,
    Tokens,
    Word,
    items,
)


class PlanEngine(StatusModel):
    """The engine that was chosen."""

    name: Word
    """Engine, as in spec.engine.name."""
    version: Word | None = None
    """Version the plan was made for. Absent: unknown."""
    image: Annotated[str, Field(max_length=512)] | None = None
    """Image of the engine container."""


class PlanModel(StatusModel):
    """The model at its pinned revision."""

    commit: Word | None = None
    """Commit of an hf:// model. Absent: other sources have none."""
    digest: Word | None = None
    """sha256 over the sorted paths and sizes of the files; fetching anything else is refused."""
    content_digest: Word | None = None
    """sha256 over the sorted paths and the sha256 of every file that engines read. Absent:
    model.verification is not Full."""
    files: Annotated[list[ShortText], items(8)] = Field(default_factory=list)
    """Globs of the files that are loaded."""
    file_count: Count | None = None
    """Number of files that match."""
    total_bytes: Bytes | None = None
    """Total size of the files, in bytes."""


class PlanGpu(StatusModel):
    """The GPUs of one replica."""

    product: Annotated[str, Field(max_length=63)] | None = None
    """Product, as the node label nvidia.com/gpu.product has it; CPU where count is 0."""
    count: Count | None = None
    """GPUs of one replica; 0 runs on the CPU."""
    memory_bytes: Bytes | None = None
    """Memory of one GPU, in bytes; of the node where count is 0."""
    compute_capability: Word | None = None
    """CUDA compute capability. Example: 8.9."""
    tried: Annotated[list[ShortText], items(16)] = Field(default_factory=list)
    """Kinds of GPU that were planned before for this spec and had no free one. With product among them it
    stays."""


class PlanParallelism(StatusModel):
    """How the model is spread over the GPUs of a replica."""

    tensor: Count | None = None
    """GPUs each layer is split over."""
    pipeline: Count | None = None
    """Groups of GPUs the layers are divided among."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Predicted:
    """The prediction of the memory model, for the most loaded GPU."""

    weights_bytes: int | None = field(default=None, metadata=SIZE)
    """Memory of the loaded weights in the engine, in bytes."""
    kv_cache_bytes: int | None = field(default=None, metadata=SIZE)
    """Memory left for the KV cache, in bytes."""
    kv_cache_tokens: int | None = field(default=None, metadata=SIZE)
    """Tokens the KV cache of the whole replica holds, as the engine's log says."""
    kv_cache_workload_tokens: int | None = field(default=None, metadata=SIZE)
    """Tokens of the workload's requests that it holds at once, if layers have windows; vLLM's log has its
    worst case. Absent: as the log says."""
    max_concurrency: float | None = None
    """Requests of the full context length the KV cache holds at once."""
    activation_bytes: int | None = field(default=None, metadata=SIZE)
    """Peak of activations and the sampler, in bytes."""
    graph_bytes: int | None = field(default=None, metadata=SIZE)
    """CUDA graphs, in bytes."""
    total_bytes: int | None = field(default=None, metadata=SIZE)
    """Total expected use, in bytes, including memory outside the engine's budget: the CUDA context and, in
    some versions, the graphs."""
    budget_bytes: int | None = field(default=None, metadata=SIZE)
    """Memory that the engine may use, in bytes."""
    decode_tokens_per_second: float | None = None
    """Output tokens per second of a single request, from the memory bandwidth; an upper bound, not
    measured."""
    expected_decode_tokens_per_second: float | None = None
    """Expected output tokens per second of a single request. Absent: unknown."""
    expected_output_tokens_per_second: float | None = None
    """Expected output tokens per second of the planned concurrency. Absent: unknown."""
    expected_capacity_tokens_per_second: float | None = None
    """Expected output tokens per second within the service level that the plan was made for; without one,
    where more streams add little. Absent: unknown."""
    expected_capacity_concurrency: int | None = field(default=None, metadata=COUNT)
    """Concurrent requests of the expected capacity; 0: not even one meets the SLO."""
    decode_within_percent: float | None = None
    """Error of expectedDecodeTokensPerSecond that nine of ten measurements stay within, in percent up or
    down; 100 is a factor of two."""
    output_within_percent: float | None = None
    """Error of expectedOutputTokensPerSecond that nine of ten measurements stay within, in percent up or
    down."""
    capacity_within_percent: float | None = None
    """Error of expectedCapacityTokensPerSecond that nine of ten measurements stay within, in percent up or
    down."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Alternative:
    """Another pair of engine and method."""

    engine: str = field(metadata=WORD)
    """Engine, as in spec.engine.name."""
    method: str = field(metadata=WORD)
    """Quantization, as in spec.quantization.method."""
    product: str | None = field(default=None, metadata={"max_length": 63})
    """GPUs, as 2 x NVIDIA-L4."""
    fits: bool | None = None
    """Whether it fits the memory. Absent: not computed, because another reason excludes it."""
    reason: str = field(metadata=WORD)
    """Why it was not chosen, in one word."""
    message: str | None = field(default=None, metadata={"max_length": 1024})
    """Why it was not chosen, in a sentence."""
    decode_tokens_per_second: float | None = None
    """Output tokens per second of a single request, from the memory bandwidth; an upper bound, not
    measured."""
    expected_decode_tokens_per_second: float | None = None
    """Expected output tokens per second of a single request. Absent: unknown."""


class Plan(StatusModel):
    """The choice for a revision, with its reasons."""

    revision: Annotated[str, Field(max_length=63)] | None = None
    """Revision the plan belongs to."""
    engine: PlanEngine | None = None
    """The engine that was chosen."""
    quantization_method: Word | None = None
    """The quantization method that was chosen."""
    model: PlanModel | None = None
    """The model at its pinned revision."""
    gpu: PlanGpu | None = None
    """The GPUs of one replica."""
    parallelism: PlanParallelism | None = None
    """How the model is spread over the GPUs of a replica."""
    max_model_len: Tokens | None = None
    """Longest request, in tokens."""
    concurrency: Count | None = None
    """Concurrent requests that one replica serves."""
    predicted: Predicted | None = None
    """The prediction of the memory model."""
    probe_budget_seconds: Count | None = None
    """Target duration of a full measurement, in seconds: probe.budgetSeconds, else 45, 90 or 120 by the
    expected speed. Absent: probe.policy is Disabled."""
    probe_budget_message: Annotated[str, Field(max_length=1024)] | None = None
    """The reason of the budget."""
    message: Message | None = None
    """The reasons for the choice."""
    warnings: Annotated[list[Annotated[str, Field(max_length=1024)]], items(8)] = Field(default_factory=list)
    """Limitations, such as a model without a chat template. Each is also an event of type Warning when the
    revision is created."""
    alternatives: Annotated[list[Alternative], items(16)] = Field(default_factory=list)
    """Alternatives and the reasons against them."""
