"""The result of planning: a plan, or the failure that explains why none fits."""

from __future__ import annotations

from dataclasses import dataclass, field

from tacho_contract.codec import flat
from tacho_contract.failure import Failure
from tacho_contract.model import ModelFiles
from tacho_operator.api.defaults import PYTHON
from tacho_operator.api.status.plan import Alternative, Predicted


# --- the plan -------------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction(Predicted):
    """Predicted memory and speed of a plan; status shows a part of it. A field is None where it is unknown.

    Bytes are those of the most loaded GPU, or of the whole host process for CPU plans.
    """

    start_bytes: int | None = None
    """Host memory before anything is served, where a start takes some that is gone later. None: none."""
    step_weights_bytes: int | None = None
    """Weights that one stream's decoding step reads, over all GPUs, in bytes; the bound
    decode_tokens_per_second follows from it."""
    prefill_tokens_per_second: float | None = None
    """Roofline bound of one prompt's tokens per second, without the cost of attention."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelPlan:
    """The plan of one revision: engine, image, model files, GPUs and switches. Frozen into its
    ControllerRevision."""

    engine: str
    engine_version: str
    image: str
    entrypoint: tuple[str, ...]
    """Command that starts the engine in its image; empty for a custom engine (the user's command is used)."""
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
    predicted: Prediction = Prediction()
    arguments: tuple[str, ...] = ()
    """Engine switches that the plan itself decided (quantization, dtype, …), before the user's extraArgs."""
    message: str
    warnings: tuple[str, ...] = ()
    """Limitations that users would not expect, one sentence each; also part of ``message``."""
    alternatives: tuple[Alternative, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanFailure:
    """Why planning failed: the failure class, and the configuration that would fit.

    Memory values are those of the attempt that ``failure`` explains; 0 and None where its memory was not
    computed.
    """

    failure: Failure
    gpu_count: int = 0
    gpu_memory_bytes: int = 0
    max_model_len: int = 0
    predicted: Prediction = Prediction()
    alternatives: tuple[Alternative, ...] = ()


PlanResult = ModelPlan | PlanFailure
