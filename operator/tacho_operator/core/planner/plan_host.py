"""Plans on CPU nodes: everything in the memory of one host process."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from tacho_contract.failure import Failure, FailureClass
from tacho_contract.model import Architecture, ModelFacts
from tacho_contract.units import gib
from tacho_operator.core.planner.arguments import parse_arguments
from tacho_operator.core.planner.asked import Asked
from tacho_operator.core.planner.catalog.engines import EngineRow, engine_image, engine_table
from tacho_operator.core.planner.catalog.gpus import Gpu
from tacho_operator.core.planner.choice import Search, rank
from tacho_operator.core.planner.context import (
    COMFORTABLE_TOKENS,
    UNKNOWN_LONGEST_TOKENS,
    Context,
    Fits,
    choose_context,
    longest_fitting,
)
from tacho_operator.core.planner.hardware import Choices, Hardware
from tacho_operator.core.planner.learning import Correction, correction
from tacho_operator.core.planner.outcome import nothing_fits, planned, too_little_known
from tacho_operator.core.planner.sizing import kv, llamacpp
from tacho_operator.core.planner.sizing.llamacpp import LlamaCppMemory
from tacho_operator.core.planner.trial import Trial
from tacho_operator.core.planner.types import ModelPlan, PlanFailure, Predicted
from tacho_operator.core.pods import nodes as node_facts
from tacho_operator.core.types import Config, History, NodeFacts

DEFAULT_CONCURRENCY = 4
PRODUCT = "CPU"
UNCHECKED = " No memory limit is set and no node it could run on is known: that it fits is not checked."
UNLIMITED_BYTES = 2**50
"""Stands for a memory nobody knows: nothing is then checked."""


@dataclass(frozen=True, slots=True)
class HostBudget:
    """How much memory a pod may take: bytes (None: unknown) and where the figure is from, in words."""

    bytes: int | None
    source: str


def host_budget(asked: Asked, nodes: Iterable[NodeFacts] | None) -> HostBudget:
    """The container's memory limit, or the largest node's allocatable memory, whichever is smaller."""
    limit = asked.memory_limit_bytes
    if nodes is None:
        return HostBudget(limit, "the memory limit of engine.resources" if limit else "unknown")
    usable = node_facts.eligible(
        nodes, selector=asked.node_selector, tolerations=asked.tolerations, gpu=False
    )
    largest = max(usable, key=lambda n: (node_facts.memory_bytes(n), n.name), default=None)
    if largest is None:
        return HostBudget(limit, "the memory limit of engine.resources" if limit else "unknown")
    allocatable = node_facts.memory_bytes(largest)
    if limit is not None and limit <= allocatable:
        return HostBudget(limit, "the memory limit of engine.resources")
    return HostBudget(allocatable, f"allocatable memory of node {largest.name}")


def _invalid(failure_class: str, message: str, next_step: str) -> PlanFailure:
    return PlanFailure(failure=Failure(failure_class=failure_class, message=message, next_step=next_step))


def _rejected(asked: Asked, facts: ModelFacts) -> PlanFailure | None:
    """Why this model cannot be planned for llama.cpp at all."""
    if facts.format != "gguf":
        return _invalid(
            FailureClass.UNSUPPORTED_QUANTIZATION,
            f"llama.cpp loads GGUF files; {facts.uri} holds {facts.format}.",
            "Use a GGUF repository of the same model, or another engine.",
        )
    if asked.method not in ("", "none", "gguf"):
        return _invalid(
            FailureClass.UNSUPPORTED_QUANTIZATION,
            f"llama.cpp cannot apply {asked.method}: a GGUF file is already quantized.",
            "Set quantization.method to gguf, or leave it out.",
        )
    missing = kv.missing(facts.architecture) if facts.architecture else "no metadata"
    if missing:
        return _invalid(
            FailureClass.MODEL_INVALID,
            f"The GGUF header of {facts.uri} does not describe the model: "
            f"{'; '.join(facts.unknown) or missing}.",
            "Use a complete GGUF file, or engine custom, which does not read the model.",
        )
    return None


def plan_llamacpp_host(
    asked: Asked,
    facts: ModelFacts,
    *,
    row: EngineRow,
    nodes: tuple[NodeFacts, ...] | None,
    history: tuple[History, ...],
    config: Config,
) -> ModelPlan | PlanFailure:
    """The plan of a GGUF model on a CPU node, or why there is none."""
    rejected = _rejected(asked, facts)
    architecture = facts.architecture
    if rejected is not None or architecture is None:
        return rejected or _invalid(FailureClass.MODEL_INVALID, "The model is unknown.", "Inspect it again.")
    switches = parse_arguments(asked.extra_args)
    element_bytes = llamacpp.element_bytes(asked.kv_cache_dtype, switches)
    if element_bytes is None:
        return _invalid(
            FailureClass.UNSUPPORTED_QUANTIZATION,
            f"llama.cpp has no KV cache of type {asked.kv_cache_dtype}.",
            "Set quantization.kvCacheDtype to q8_0 or q4_0, or leave it out.",
        )
    micro_batch = llamacpp.micro_batch(switches)
    budget = host_budget(asked, nodes)
    _, version = engine_image(row, asked.image, config.engine_images)
    learned = correction(history, engine=row.name, version=version, method="gguf", product=PRODUCT)

    def memory(length: int, concurrency: int) -> LlamaCppMemory:
        return llamacpp.host_memory(
            facts,
            architecture,
            context_tokens=length,
            sequences=concurrency,
            key_value_bytes=element_bytes,
            micro_batch=micro_batch,
        )

    def fits(length: int, concurrency: int) -> bool:
        return (
            budget.bytes is None
            or memory(length, concurrency).total_bytes * learned.bytes_factor <= budget.bytes
        )

    trained = architecture.max_positions or UNKNOWN_LONGEST_TOKENS
    longest = trained if budget.bytes is not None else min(trained, COMFORTABLE_TOKENS)
    context = choose_context(
        asked.max_model_len,
        asked.concurrency,
        longest=longest,
        default_concurrency=DEFAULT_CONCURRENCY,
        useful=asked.request_tokens,
        fits=fits,
    )
    if context is None:
        wanted = Context(asked.max_model_len or min(longest, asked.request_tokens), asked.concurrency or 1)
        needed = memory(wanted.max_model_len, wanted.concurrency)
        return _does_not_fit(facts, needed, budget, wanted, longest, fits)
    taken = memory(context.max_model_len, context.concurrency)
    return _plan(asked, facts, row, config, context, taken, budget, learned)


def _does_not_fit(
    facts: ModelFacts, needed: LlamaCppMemory, budget: HostBudget, context: Context, longest: int, fits: Fits
) -> PlanFailure:
    """DoesNotFit, with the context that would fit."""
    fitting = longest_fitting(min(longest, context.max_model_len), context.concurrency, fits)
    alone = longest_fitting(min(longest, context.max_model_len), 1, fits)
    details: dict[str, str] = {
        "neededBytes": str(needed.total_bytes),
        "availableBytes": str(budget.bytes),
    }
    if fitting is not None:
        details["fitsMaxModelLen"] = str(fitting)
        step = f"Set context.maxModelLen to {fitting} or less"
    elif alone is not None:
        details["fitsMaxModelLen"] = str(alone)
        details["fitsConcurrency"] = "1"
        step = f"Set context.concurrency to 1 and context.maxModelLen to {alone} or less"
    else:
        room = (budget.bytes or 0) - needed.total_bytes + needed.weights_bytes
        step = f"Use a GGUF file below {gib(room)}" if room > 0 else "Use a smaller model"
    message = (
        f"{facts.uri} needs {gib(needed.total_bytes)} of memory for {context.concurrency} requests of "
        f"{context.max_model_len} tokens (weights {gib(needed.weights_bytes)}, KV cache "
        f"{gib(needed.kv_cache_bytes)}, buffers {gib(needed.compute_bytes + needed.process_bytes)}); "
        f"{gib(budget.bytes or 0)} is there ({budget.source})."
    )
    next_step = f"{step}, or give it a node (or a memory limit) of {gib(needed.total_bytes)} or more."
    return PlanFailure(
        failure=Failure(
            failure_class=FailureClass.DOES_NOT_FIT, message=message, next_step=next_step, details=details
        )
    )


def _plan(
    asked: Asked,
    facts: ModelFacts,
    row: EngineRow,
    config: Config,
    context: Context,
    memory: LlamaCppMemory,
    budget: HostBudget,
    learned: Correction,
) -> ModelPlan:
    image, version = engine_image(row, asked.image, config.engine_images)
    room = "" if budget.bytes is None else f" of {gib(budget.bytes)} ({budget.source})"
    unchecked = "" if room else UNCHECKED
    unknown = f" Not known of the model: {'; '.join(facts.unknown)}." if facts.unknown else ""
    return ModelPlan(
        engine=row.name,
        engine_version=version,
        image=image,
        entrypoint=row.entrypoint,
        python=row.python,
        quantization_method="gguf",
        files=facts.files,
        gpu_product=PRODUCT,
        gpu_memory_bytes=budget.bytes or 0,
        max_model_len=context.max_model_len,
        concurrency=context.concurrency,
        predicted=Predicted(
            weights_bytes=memory.weights_bytes,
            kv_cache_bytes=memory.kv_cache_bytes,
            kv_cache_tokens=context.max_model_len * context.concurrency,
            max_concurrency=float(context.concurrency),
            activation_bytes=memory.compute_bytes,
            graph_bytes=0,
            total_bytes=memory.total_bytes,
            budget_bytes=budget.bytes,
        ),
        message=(
            f"llama.cpp on the CPU: {gib(memory.total_bytes)}{room} for {context.concurrency} requests of "
            f"{context.max_model_len} tokens (weights {gib(memory.weights_bytes)}, KV cache "
            f"{gib(memory.kv_cache_bytes)}, buffers {gib(memory.compute_bytes + memory.process_bytes)})."
            f"{unchecked}{learned.sentence()}{unknown}"
        ),
    )


def plan_host(
    asked: Asked,
    facts: ModelFacts,
    *,
    nodes: tuple[NodeFacts, ...] | None,
    history: tuple[History, ...],
    config: Config,
) -> ModelPlan | PlanFailure:
    """Plans of other engines than llama.cpp on a CPU node: the same search, the host as only device."""
    if asked.engine and "cpu" not in engine_table()[asked.engine].devices:
        return _invalid(
            FailureClass.ENGINE_NOT_SUPPORTED,
            f"Engine {asked.engine} runs on GPUs only; gpu.count is 0.",
            "Ask for a GPU, or use a GGUF file with llamacpp, which runs on the CPU.",
        )
    if asked.engine == "llamacpp":
        return _rejected(asked, facts) or _invalid(
            FailureClass.MODEL_INVALID, "The model is unknown.", "Inspect it again."
        )
    if unknown := too_little_known(facts):
        return unknown
    architecture = facts.architecture or Architecture()
    budget = host_budget(asked, nodes)
    if budget.bytes is None and asked.max_model_len is None:
        trained = architecture.max_positions or UNKNOWN_LONGEST_TOKENS
        asked = replace(asked, max_model_len=min(trained, COMFORTABLE_TOKENS))
    device = Gpu(product=PRODUCT, memory_bytes=budget.bytes or UNLIMITED_BYTES, capability=(0, 0))
    host = Hardware(device, 0, True)
    search = Search(asked, facts, architecture, history, config, nodes)
    trials = [search.attempt(row, host, 0) for row in search.rows()]
    fitting = [trial for trial in trials if trial.fits]
    if fitting:
        best = planned(asked, facts, min(fitting, key=lambda t: rank(t, facts)), search)
        return best if budget.bytes is not None else _unchecked(best)
    return nothing_fits(asked, facts, Choices((host,)), search, min(trials, key=_closest, default=None))


def _unchecked(plan: ModelPlan) -> ModelPlan:
    """``plan`` without what follows from a memory that nobody knows."""
    used = f"{plan.engine} {plan.engine_version} on the CPU: {gib(plan.predicted.total_bytes or 0)} for "
    return replace(
        plan,
        gpu_memory_bytes=0,
        predicted=replace(plan.predicted, budget_bytes=None, max_concurrency=float(plan.concurrency)),
        message=(
            f"{used}{plan.concurrency} requests of {plan.max_model_len} tokens, "
            f"{plan.quantization_method}.{UNCHECKED}"
        ),
    )


def _closest(trial: Trial) -> tuple[bool, float]:
    return (trial.reason != FailureClass.DOES_NOT_FIT, -trial.row.quality)
