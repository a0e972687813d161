"""Why there is no plan, told so that a person can act on it."""

from __future__ import annotations

from tacho_contract.failure import Failure, FailureClass
from tacho_contract.model import ModelFacts
from tacho_contract.units import gib
from tacho_engines.memory import kv
from tacho_engines.row import EngineRow
from tacho_operator.core.planner.advice import Adviser
from tacho_operator.core.planner.attempt import Attempt
from tacho_operator.core.planner.devices import Choices
from tacho_operator.core.planner.types import PlanFailure
from tacho_operator.core.planner.words import described, host_parts, requests, short_message

NEXT_STEPS: dict[str, str] = {
    FailureClass.ENGINE_NOT_SUPPORTED: "Choose another engine",
    FailureClass.INVALID_CONFIG: "Correct engine.extraArgs (or engine.resources)",
    FailureClass.UNSUPPORTED_GPU: "Choose another GPU product or method",
    FailureClass.UNSUPPORTED_QUANTIZATION: "Choose a method the checkpoint and the engine have",
}


def failure(failure_class: str, message: str, next_step: str) -> PlanFailure:
    """No plan, before anything was tried."""
    return PlanFailure(failure=Failure(failure_class=failure_class, message=message, next_step=next_step))


# --- before anything was tried --------------------------------------------------------------------
def too_little_known(facts: ModelFacts) -> PlanFailure | None:
    """ModelInvalid where the files do not say what memory follows from: nothing is guessed."""
    if facts.architecture is None or not facts.tensors:
        missing = "no metadata" if facts.format == "gguf" else "no config.json"
    else:
        missing = kv.missing(facts.architecture)
    if not missing:
        return None
    missing = "; ".join(facts.unknown) or missing
    if facts.format == "gguf":
        return failure(
            FailureClass.MODEL_INVALID,
            f"The GGUF header of {facts.uri} does not describe the model: {missing}.",
            "Use a complete GGUF file, or engine custom, which does not read the model.",
        )
    return failure(
        FailureClass.MODEL_INVALID,
        f"Of {facts.uri} too little is known to plan memory: {missing}.",
        "Use a repository with config.json and safetensors, or a GGUF file, or engine custom, which is not "
        "planned.",
    )


def gpus_only(engine: EngineRow) -> PlanFailure:
    """The CPU was asked for, with an engine that has no use for it."""
    return failure(
        FailureClass.ENGINE_NOT_SUPPORTED,
        f"Engine {engine.name} runs on GPUs only; gpu.count is 0.",
        "Ask for a GPU, or use a GGUF file with llamacpp, which runs on the CPU.",
    )


def no_method(engine: EngineRow, method: str) -> PlanFailure:
    """The engine does not know the method."""
    return failure(
        FailureClass.UNSUPPORTED_QUANTIZATION,
        f"Engine {engine.name} does not run {method}.",
        f"Set quantization.method to one of: {', '.join(row.method for row in engine.methods)}.",
    )


def no_device(choices: Choices, *, nodes_known: bool) -> PlanFailure:
    """There is no GPU to choose from."""
    if choices.unknown:
        names = ", ".join(choices.unknown)
        return failure(
            FailureClass.UNSUPPORTED_GPU,
            f"No node has a GPU {names}, and the catalog does not know it.",
            "Use the value of the node label nvidia.com/gpu.product, or a name such as L4, A100-80GB, H100.",
        )
    if choices.unlabelled:
        return failure(
            FailureClass.UNSUPPORTED_GPU,
            f"Nodes {', '.join(choices.unlabelled[:5])} have GPUs that no label describes.",
            "Install GPU Feature Discovery, or name the product in gpu.products.",
        )
    seen = "No node this pod could run on has a GPU" if nodes_known else "The nodes may not be read"
    return failure(
        FailureClass.UNSUPPORTED_GPU,
        f"{seen}, and gpu.products names none.",
        "Name a product in gpu.products (a node autoscaler may bring it), or set gpu.count to 0.",
    )


# --- after everything was tried -------------------------------------------------------------------
def nothing_fits(adviser: Adviser) -> PlanFailure:
    """Why nothing fits, told of the attempt that came nearest, and what would."""
    nearest = adviser.nearest
    return PlanFailure(
        failure=_refused(nearest) if nearest.refusal else _does_not_fit(adviser),
        gpu_count=nearest.gpus,
        gpu_memory_bytes=nearest.placement.device.memory_bytes or 0,
        max_model_len=nearest.wanted.max_model_len if nearest.wanted else 0,
        predicted=nearest.predicted,
        alternatives=adviser.search.alternatives(nearest),
    )


def _refused(nearest: Attempt) -> Failure:
    step = nearest.refusal.next_step if nearest.refusal else ""
    return Failure(
        failure_class=nearest.reason,
        message=f"{nearest.placement.facts.uri} cannot run: {short_message(nearest)}.",
        next_step=f"{step or NEXT_STEPS.get(nearest.reason, 'Change the spec')}.",
    )


def _does_not_fit(adviser: Adviser) -> Failure:
    nearest, found = adviser.nearest, adviser.advice()
    larger = "a node with more memory" if nearest.placement.device.on_host else "a larger GPU"
    if nearest.needed_bytes is not None:
        found.details["neededBytes"] = str(nearest.needed_bytes)
    if nearest.account is not None and nearest.account.budget_bytes is not None:
        found.details["availableBytes"] = str(nearest.account.budget_bytes)
    return Failure(
        failure_class=FailureClass.DOES_NOT_FIT,
        message=f"{_why(nearest)}{nearest.learned.sentence()}",
        next_step=found.sentence() or f"Use a smaller model or {larger}.",
        details=found.details,
    )


def _why(nearest: Attempt) -> str:
    uri, device = nearest.placement.facts.uri, nearest.placement.device
    account, wanted = nearest.account, nearest.wanted
    if device.on_host and account is not None and wanted is not None and not nearest.beyond_tokens:
        needed = account.needed_bytes(wanted.concurrency)
        return (
            f"{uri} needs {gib(needed)} of memory for {requests(wanted)} of "
            f"{wanted.max_model_len} tokens {host_parts(account)}; {gib(account.budget_bytes or 0)} is there "
            f"({device.source})."
        )
    what = f"{nearest.engine.name} with {described(nearest)}"
    return f"{uri} does not fit ({what}): {short_message(nearest)}."
