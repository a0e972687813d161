"""The plan of one revision: engine, quantization, hardware, context; or why there is none.

Planning is apart from launching: ``plan_model`` plans every engine tacho knows, and ``launchable`` says
whether an image exists that can run the plan.
"""

from __future__ import annotations

from tacho_contract.failure import Failure, FailureClass
from tacho_contract.model import Architecture, ModelFacts
from tacho_engines.base import Context
from tacho_engines.hardware.device import CPU, Device
from tacho_engines.registry import engine_row, engine_rows
from tacho_engines.row import EngineRow
from tacho_operator.api.types import LLMDeploymentSpec
from tacho_operator.core.planner.advice import Adviser
from tacho_operator.core.planner.attempt import Attempt, Question
from tacho_operator.core.planner.devices import Choice, Choices, gpu_choices, host
from tacho_operator.core.planner.no_plan import (
    failure,
    gpus_only,
    no_device,
    no_method,
    nothing_fits,
    too_little_known,
)
from tacho_operator.core.planner.ranking import expected_quality
from tacho_operator.core.planner.request import Request, request_of
from tacho_operator.core.planner.search import Search
from tacho_operator.core.planner.types import ModelPlan, PlanFailure
from tacho_operator.core.planner.words import plan_message, ranked_by, warnings
from tacho_operator.core.types import Config, History, NodeFacts


def plan_model(
    spec: LLMDeploymentSpec,
    facts: ModelFacts,
    *,
    nodes: tuple[NodeFacts, ...] | None,
    history: tuple[History, ...],
    config: Config,
) -> ModelPlan | PlanFailure:
    """What ``spec`` should run, given what is known of the model, the nodes and earlier measurements.

    ``nodes`` None: they may not be read, and plans come from the GPU table. Pure and deterministic.
    """
    request = request_of(spec, in_pods=config.in_pods)
    asked = request.row
    predictable = asked is None or asked.predicted
    if predictable and (unknown := too_little_known(facts)):
        return unknown
    choices = _choices(request, facts, nodes)
    on_host = any(choice.device.on_host for choice in choices.found)
    if asked and on_host and "cpu" not in asked.devices and request.gpu_count == 0:
        return gpus_only(asked)
    if not choices.found:
        return no_device(choices, nodes_known=nodes is not None)
    question = Question(
        request=request,
        facts=facts,
        architecture=facts.architecture or Architecture(),
        history=history,
        config=config,
    )
    search = Search(question)
    if asked and not search.ways():
        return no_method(asked, request.method)
    chosen = search.best(choices.found)
    if chosen is not None and chosen.context is not None:
        return _planned(chosen, chosen.context, search)
    nearest = search.nearest(choices.found)
    if nearest is None:
        return failure(
            FailureClass.UNSUPPORTED_GPU, "Nothing could be tried.", "Name a product in gpu.products."
        )
    return nothing_fits(Adviser(search=search, choices=choices, nodes=nodes, nearest=nearest))


def _choices(request: Request, facts: ModelFacts, nodes: tuple[NodeFacts, ...] | None) -> Choices:
    """The devices to choose from: the host, or GPUs."""
    asked = request.row
    if asked and not asked.predicted:
        return Choices((_as_written(request, nodes),))
    gpus = gpu_choices(request, nodes)
    if request.gpu_count == 0 or (_nothing_said(request) and _host_is_meant(asked, facts, gpus, nodes)):
        return Choices((host(request, nodes),))
    return gpus


def _nothing_said(request: Request) -> bool:
    options = request.options
    return request.gpu_count is None and not (request.products or options.tensor or options.pipeline)


def _host_is_meant(
    asked: EngineRow | None, facts: ModelFacts, gpus: Choices, nodes: tuple[NodeFacts, ...] | None
) -> bool:
    """Where nothing is said of GPUs: whether the engine can do without one and no node has one. An engine
    that loads the format by a plugin only is no reason to wait for a GPU."""
    images = [
        row
        for row in engine_rows()
        if row.built and row.predicted and facts.format in row.formats and facts.format not in row.plugins
    ]
    able = [asked] if asked else images
    if not any("cpu" in row.devices for row in able):
        return False
    return nodes is not None and not gpus.found and not gpus.unlabelled


def _as_written(request: Request, nodes: tuple[NodeFacts, ...] | None) -> Choice:
    """For an engine that nothing is predicted of: the first product by its node label, or as written where
    nobody knows it. Its memory does not matter."""
    if not request.gpu_count:
        return Choice(Device(kind="cpu", product=CPU, memory_bytes=None))
    found = gpu_choices(request, nodes).found if request.products else ()
    product = found[0].device.product if found else "".join(request.products[:1])
    return Choice(Device(product=product, memory_bytes=None))


def _planned(chosen: Attempt, context: Context, search: Search) -> ModelPlan:
    """The plan of an attempt that fits, with everything else that was considered."""
    request, placement, engine = search.question.request, chosen.placement, chosen.engine
    device = placement.device
    why = (
        ""
        if request.method and request.engine
        else f" Chosen for quality {expected_quality(chosen):.1f} of 100, then {ranked_by(chosen)}."
    )
    return ModelPlan(
        engine=engine.name,
        engine_version=placement.version,
        image=placement.image,
        entrypoint=engine.entrypoint,
        python=request.python or engine.python,
        # What the user called it, where ``none`` means a checkpoint that is quantized already.
        quantization_method=chosen.method.method if request.method != "none" else "none",
        files=placement.facts.files,
        gpu_product=device.product,
        gpu_count=chosen.gpus,
        gpu_memory_bytes=device.memory_bytes or 0,
        compute_capability=device.compute_capability,
        tensor_parallel=placement.tensor,
        pipeline_parallel=placement.pipeline,
        max_model_len=context.max_model_len,
        concurrency=context.concurrency,
        predicted=chosen.predicted,
        arguments=chosen.arguments,
        message=plan_message(chosen, request.products, why),
        warnings=warnings(chosen),
        alternatives=search.alternatives(chosen),
    )


def launchable(plan: ModelPlan) -> Failure | None:
    """None when this plan can be started, else why not. A plan may fit and yet have no engine to run it."""
    row = engine_row(plan.engine)
    if not row.built:
        ready = ", ".join(other.name for other in engine_rows() if other.built)
        return Failure(
            failure_class=FailureClass.ENGINE_NOT_SUPPORTED,
            message=f"Engine {row.name} is planned for, but tacho has no image of it yet that it can start.",
            next_step=f"Use one of these engines: {ready}. engine.name custom runs any image with a command.",
        )
    return None
