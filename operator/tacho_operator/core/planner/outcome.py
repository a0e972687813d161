"""What came of a search, as a plan or a failure that a person can read."""

from __future__ import annotations

from tacho_contract.failure import Failure, FailureClass
from tacho_contract.model import ModelFacts
from tacho_contract.units import gib
from tacho_operator.core.planner.advice import advice
from tacho_operator.core.planner.asked import Asked
from tacho_operator.core.planner.catalog.engines import engine_table
from tacho_operator.core.planner.catalog.gpus import Gpu, is_shared, matches, rows_for
from tacho_operator.core.planner.choice import Search, expected_quality
from tacho_operator.core.planner.hardware import Choices
from tacho_operator.core.planner.sizing import kv
from tacho_operator.core.planner.trial import Trial
from tacho_operator.core.planner.types import ModelPlan, PlanFailure, Predicted

NEXT_STEPS: dict[str, str] = {
    FailureClass.ENGINE_NOT_SUPPORTED: "Choose another engine",
    FailureClass.INVALID_CONFIG: "Correct engine.extraArgs (or engine.resources)",
    FailureClass.UNSUPPORTED_GPU: "Choose another GPU product or method",
    FailureClass.UNSUPPORTED_QUANTIZATION: "Choose a method the checkpoint and the engine have",
}


def failure(failure_class: str, message: str, next_step: str) -> PlanFailure:
    """No plan, before anything was tried."""
    return PlanFailure(failure=Failure(failure_class=failure_class, message=message, next_step=next_step))


def too_little_known(facts: ModelFacts) -> PlanFailure | None:
    """ModelInvalid where the files do not say what memory follows from: nothing is guessed."""
    if facts.architecture is None or not facts.tensors:
        missing = "no config.json"
    else:
        missing = kv.missing(facts.architecture)
    if not missing:
        return None
    return failure(
        FailureClass.MODEL_INVALID,
        f"Of {facts.uri} too little is known to plan memory: {'; '.join(facts.unknown) or missing}.",
        "Use a repository with config.json and safetensors, or a GGUF file, or engine custom, which is not "
        "planned.",
    )


def planned(asked: Asked, facts: ModelFacts, chosen: Trial, search: Search) -> ModelPlan:
    """The plan of a trial that fits, with everything else that was considered."""
    account, context = chosen.account, chosen.context
    if account is None or context is None:
        raise ValueError("a trial that fits has an account and a context")
    engine = engine_table()[chosen.engine]
    gpu = chosen.hardware.gpu
    return ModelPlan(
        engine=chosen.engine,
        engine_version=chosen.version,
        image=chosen.image,
        entrypoint=engine.entrypoint,
        python=engine.python,
        quantization_method=_method_name(asked, chosen),
        files=facts.files,
        gpu_product=gpu.product,
        gpu_count=chosen.gpus,
        gpu_memory_bytes=gpu.memory_bytes,
        compute_capability=gpu.compute_capability,
        tensor_parallel=chosen.tensor,
        pipeline_parallel=chosen.pipeline,
        max_model_len=context.max_model_len,
        concurrency=context.concurrency,
        predicted=Predicted(
            weights_bytes=account.weights_bytes,
            kv_cache_bytes=account.cache_bytes,
            kv_cache_tokens=account.cache_tokens,
            max_concurrency=account.concurrency,
            activation_bytes=account.activation_bytes,
            graph_bytes=account.graph_bytes,
            total_bytes=account.total_bytes,
            budget_bytes=account.budget_bytes,
            decode_tokens_per_second=chosen.speed.decode_tokens_per_second if chosen.speed else None,
        ),
        arguments=account.arguments,
        message=_message(asked, facts, chosen),
        alternatives=search.alternatives(chosen),
    )


def _method_name(asked: Asked, chosen: Trial) -> str:
    """What the user called it, where ``none`` means a checkpoint that is quantized already."""
    return chosen.row.method if asked.method != "none" else "none"


def _described(trial: Trial) -> str:
    return "the weights as stored" if trial.row.method == "none" else trial.row.method


def _sharing(gpu: Gpu, budget_bytes: int) -> str:
    if gpu.sharers > 1 and budget_bytes > gpu.memory_bytes // gpu.sharers:
        return (
            f" The GPU is shared by {gpu.sharers} pods; engine.extraArgs take more than a "
            f"{gpu.sharers}th of it: the others have to take less."
        )
    if gpu.sharers > 1:
        return f" The GPU is shared by {gpu.sharers} pods; a {gpu.sharers}th of it is planned."
    if is_shared(gpu.product):
        return " The GPU is shared, but no label says by how many pods: all of its memory is planned."
    return ""


def _not_there(asked: Asked, chosen: Trial) -> str:
    """What of the planned hardware no node has now, for the message."""
    product = chosen.hardware.gpu.product
    if chosen.hardware.live:
        short = chosen.gpus > chosen.hardware.most
        return f" No node has {chosen.gpus} x {product} now, {chosen.hardware.most} at most." if short else ""
    named = next((name for name in asked.products if matches(name, product)), "")
    others = [row.label for row in rows_for(named) if row.label != product] if named else []
    several = f" {named} also stands for {', '.join(others)}: pods are pinned to {product}." if others else ""
    return f" No node has this GPU now; planned from the catalog.{several}"


def _message(asked: Asked, facts: ModelFacts, chosen: Trial) -> str:
    account, context, gpu = chosen.account, chosen.context, chosen.hardware.gpu
    if account is None or context is None:
        return chosen.message
    where = f"{chosen.gpus} x {gpu.product}" if chosen.gpus > 1 else gpu.product
    spread = f" (tensor {chosen.tensor}, pipeline {chosen.pipeline})" if chosen.gpus > 1 else ""
    each = " of each GPU" if chosen.gpus > 1 else ""
    why = (
        ""
        if asked.method and asked.engine
        else f" Chosen for quality {expected_quality(chosen, facts):.1f} of 100, then speed."
    )
    shared = _sharing(gpu, account.budget_bytes)
    live = _not_there(asked, chosen)
    strange = "" if gpu.known else " The catalog does not know this GPU; planned from its labels."
    unknown = f" Not known of the model: {'; '.join(facts.unknown)}." if facts.unknown else ""
    speed = (
        f" At best {chosen.speed.decode_tokens_per_second:.0f} tok/s for one stream (predicted)."
        if chosen.speed
        else ""
    )
    return (
        f"{chosen.engine} {chosen.version} with {_described(chosen)} on {where}{spread}: weights "
        f"{gib(account.weights_bytes)}, KV cache {gib(account.cache_bytes)} = {account.cache_tokens} tokens, "
        f"{account.concurrency:.1f} requests of {context.max_model_len} tokens at once, within "
        f"{gib(account.budget_bytes)}{each}.{why}{speed}{shared}{live}{strange}{chosen.learned.sentence()}{unknown}"
    )


def nothing_fits(
    asked: Asked, facts: ModelFacts, choices: Choices, search: Search, nearest: Trial | None
) -> PlanFailure:
    """Why nothing fits, told of the attempt that came nearest, and what would."""
    if nearest is None:
        return failure(
            FailureClass.UNSUPPORTED_GPU, "Nothing could be tried.", "Name a product in gpu.products."
        )
    if nearest.reason != FailureClass.DOES_NOT_FIT:
        return PlanFailure(
            failure=Failure(
                failure_class=nearest.reason,
                message=f"{facts.uri} cannot run: {nearest.message}.",
                next_step=f"{NEXT_STEPS.get(nearest.reason, 'Change the spec')}.",
            ),
            alternatives=search.alternatives(nearest),
        )
    hints, details = advice(asked, facts, choices, search, nearest)
    account = nearest.account
    if account is not None:
        details["neededBytes"] = str(account.needed_bytes(asked.concurrency or 1))
        details["availableBytes"] = str(account.budget_bytes)
    what = f"{nearest.engine} with {_described(nearest)}"
    return PlanFailure(
        failure=Failure(
            failure_class=FailureClass.DOES_NOT_FIT,
            message=f"{facts.uri} does not fit ({what}): {nearest.message}.",
            next_step=f"{_joined(hints)}." if hints else "Use a smaller model or a larger GPU.",
            details=details,
        ),
        alternatives=search.alternatives(nearest),
    )


def _joined(hints: list[str]) -> str:
    text = ", or ".join(hints)
    return text[:1].upper() + text[1:]
