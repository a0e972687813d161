"""What a plan is, and why there is none."""

from __future__ import annotations

from dataclasses import dataclass, field

from tacho_contract.codec import flat
from tacho_contract.failure import Failure
from tacho_contract.model import ModelFiles
from tacho_operator.api.defaults import PYTHON


# --- the plan -------------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True, kw_only=True)
class Predicted:
    """Bytes are those of the most loaded GPU (the whole host process for CPU plans). None: unknown."""

    weights_bytes: int | None = None
    kv_cache_bytes: int | None = None
    kv_cache_tokens: int | None = None
    """Of the whole replica, in the meaning of the engine's own figure."""
    max_concurrency: float | None = None
    """Requests of max_model_len tokens that the KV cache holds at once."""
    activation_bytes: int | None = None
    graph_bytes: int | None = None
    total_bytes: int | None = None
    budget_bytes: int | None = None
    start_bytes: int | None = None
    """Host memory before anything is served, where a start takes some that is gone later. None: none."""
    decode_tokens_per_second: float | None = None
    """Roofline bound of one stream; a prediction, never shown as measured."""
    expected_decode_tokens_per_second: float | None = None
    """Of one stream. None: the engine was not timed with this method on such a GPU."""
    step_weights_bytes: int | None = None
    """Weights that one stream's decoding step reads, over all GPUs: what that bound follows from."""
    prefill_tokens_per_second: float | None = None
    """Roofline bound of one prompt, without attention's part."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Alternative:
    """Another (engine, method, product) that was considered."""

    engine: str
    method: str
    product: str
    fits: bool
    reason: str
    """CamelCase class: Chosen is never listed; LowerQuality, Slower, DoesNotFit, UnsupportedGPU, …"""
    message: str
    decode_tokens_per_second: float | None = None
    expected_decode_tokens_per_second: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelPlan:
    """What one revision will run. Frozen into its ControllerRevision at birth."""

    engine: str
    engine_version: str
    image: str
    entrypoint: tuple[str, ...]
    """What starts the engine in that image; empty for custom (the command is the user's)."""
    python: str = PYTHON
    quantization_method: str
    files: ModelFiles = field(metadata=flat(globs="files", digest="modelDigest"))
    gpu_product: str = ""
    gpu_count: int = 0
    gpu_memory_bytes: int = 0
    compute_capability: str = ""
    tensor_parallel: int = 1
    pipeline_parallel: int = 1
    max_model_len: int
    concurrency: int
    predicted: Predicted = Predicted()
    arguments: tuple[str, ...] = ()
    """Engine switches that the plan itself decided (quantization, dtype, …), before the user's extraArgs."""
    message: str
    warnings: tuple[str, ...] = ()
    """Of ``message``, what will not work as its users expect, a sentence each."""
    alternatives: tuple[Alternative, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanFailure:
    """Why there is no plan: a failure class, and what would make one. Figures are of the attempt that is
    explained; nothing of it is known where the memory was not looked at."""

    failure: Failure
    gpu_count: int = 0
    gpu_memory_bytes: int = 0
    max_model_len: int = 0
    predicted: Predicted = Predicted()
    alternatives: tuple[Alternative, ...] = ()
