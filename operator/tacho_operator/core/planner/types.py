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
    """Predicted memory and speed of a plan; status shows a part of it. None: unknown.

    Bytes are per GPU, of the most loaded one; on a CPU, of the whole host process.
    """

    start_bytes: int | None = None
    """Peak of host memory in bytes during a start that takes more than serving does; None: it does not."""
    step_weights_bytes: int | None = None
    """Bytes of weights that a decoding step of one stream reads, over all GPUs; the bound
    decode_tokens_per_second follows from it.
    """
    prefill_tokens_per_second: float | None = None
    """Upper bound of one prompt's tokens per second by arithmetic rate; the cost of attention is left out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelPlan:
    """The plan of one revision: engine, image, model files, GPUs and arguments. Its ControllerRevision stores
    it unchanged.
    """

    engine: str
    engine_version: str
    image: str
    entrypoint: tuple[str, ...]
    """Command that starts the engine in its image; empty for a custom engine, as the user has one."""
    python: str = PYTHON
    quantization_method: str
    files: ModelFiles = field(metadata=flat(globs="files", digest="modelDigest"))
    gpu_product: str = ""
    tried_gpus: tuple[str, ...] = ()
    """Kinds of GPU (``gpu_kind``) that were planned before for the same spec, and of which none was free."""
    gpu_label: str = ""
    """Value of the node label by which pods select the product; "": the product itself."""
    gpu_count: int = 0
    gpu_memory_bytes: int = 0
    compute_capability: str = ""
    tensor_parallel: int = 1
    pipeline_parallel: int = 1
    max_model_len: int
    concurrency: int
    predicted: Prediction = Prediction()
    arguments: tuple[str, ...] = ()
    """Engine arguments that the planner chose (quantization, dtype, …); the user's extraArgs follow."""
    message: str
    warnings: tuple[str, ...] = ()
    """Limitations that users would not expect, one sentence each; also part of ``message``."""
    alternatives: tuple[Alternative, ...] = ()

    @property
    def gpu_kind(self) -> str:
        """Value of the node label that pods select."""
        return self.gpu_label or self.gpu_product


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanFailure:
    """Why planning failed: the failure class, and a configuration that would fit.

    Memory values are those of the attempt that ``failure`` describes; 0 and None where they were not
    computed.
    """

    failure: Failure
    gpu_count: int = 0
    gpu_memory_bytes: int = 0
    max_model_len: int = 0
    predicted: Prediction = Prediction()
    alternatives: tuple[Alternative, ...] = ()


PlanResult = ModelPlan | PlanFailure
