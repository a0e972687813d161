"""The plan of one revision: engine, quantization, hardware, context; or why there is none."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from tacho_contract.failure import FailureClass
from tacho_contract.model import Architecture, ModelFacts
from tacho_engines.base import Context
from tacho_engines.hardware.device import CPU, Device
from tacho_engines.hardware.gpus import is_foreign
from tacho_engines.profile import EngineProfile
from tacho_engines.registry import engine_profiles
from tacho_engines.shared.compatibility import is_quantized
from tacho_engines.shared.images import is_for_cpu
from tacho_operator.api.types import LLMDeploymentSpec
from tacho_operator.core.planner.attempt import Attempt, Evaluator
from tacho_operator.core.planner.devices import (
    HOST_DEFAULT_BYTES,
    DeviceOption,
    DeviceOptions,
    foreign_nodes,
    gpu_options,
    host,
    most_gpus,
    product_label,
)
from tacho_operator.core.planner.messages import (
    foreign_warning,
    ineligible_warning,
    plan_message,
    unlabelled_warning,
    warnings,
)
from tacho_operator.core.planner.no_plan import (
    FitAdvisor,
    failure,
    gpus_only,
    no_device,
    no_method,
    nothing_fits,
    nvidia_only,
    too_little_known,
    too_many_gpus,
    unexplained,
)
from tacho_operator.core.planner.request import PlanRequest, request_of
from tacho_operator.core.planner.search import Search, expected_quality
from tacho_operator.core.planner.types import ModelPlan, PlanFailure, PlanResult
from tacho_operator.core.pods.nodes import eligible
from tacho_operator.core.types import Config, NodeFacts, PastMeasurement, PlanInputs


def plan_model(
    spec: LLMDeploymentSpec,
    facts: ModelFacts,
    *,
    nodes: tuple[NodeFacts, ...] | None,
    history: tuple[PastMeasurement, ...],
    config: Config,
    tried_gpus: tuple[str, ...] = (),
) -> PlanResult:
    """Plans ``spec`` from the model's facts, the nodes and earlier measurements: a plan, or the failure.

    ``nodes``: None without permission to read nodes; then any GPU of the catalog is possible. Pure and
    deterministic.
    """
    request = replace(request_of(spec, config), tried_gpus=tried_gpus)
    engine = request.row
    predictable = engine is None or engine.predicted
    if predictable and (unknown := too_little_known(facts) or unexplained(facts)):
        return unknown
    device_options = _device_options(request, facts, nodes)
    if (deviceless := _without_device(request, device_options, nodes)) is not None:
        return deviceless
    evaluator = Evaluator(
        request=request,
        facts=facts,
        architecture=facts.architecture or Architecture(),
        history=history,
        config=config,
    )
    search = Search(evaluator)
    if engine and not search.allowed():
        return no_method(engine, request.method)
    chosen = search.best(device_options.available)
    if chosen is not None and chosen.context is not None:
        return _planned(chosen, chosen.context, search, device_options)
    nearest = search.nearest(device_options.available)
    if nearest is None:
        return failure(
            FailureClass.UNSUPPORTED_GPU, "No engine is eligible.", "Name a product in gpu.products."
        )
    return nothing_fits(
        FitAdvisor(search=search, device_options=device_options, nodes=nodes, nearest=nearest)
    )


def plan_of(inputs: PlanInputs) -> PlanResult:
    """The plan for ``inputs``, or the failure. If no kind of GPU but the tried ones fits, the first is
    planned again, to stay.
    """
    plan = partial(
        plan_model,
        inputs.spec,
        inputs.facts,
        nodes=inputs.nodes,
        history=inputs.history,
        config=inputs.config,
    )
    if not (tried := inputs.tried_gpus):
        return plan()
    found = plan(tried_gpus=tried)
    found = plan() if isinstance(found, PlanFailure) else found
    if isinstance(found, PlanFailure):
        return found
    stays = f" No other kind fits: it stays with {found.gpu_kind}." if found.gpu_kind in tried else ""
    message = f"Tried before, and none was free: {', '.join(tried)}.{stays} {found.message}"
    return replace(found, tried_gpus=tried, message=message)


def fails_for_any_model(
    spec: LLMDeploymentSpec, nodes: tuple[NodeFacts, ...] | None, config: Config
) -> PlanFailure | None:
    """The failure that no model could avoid: there is no device to choose from. None: the model decides."""
    request = request_of(spec, config)
    return _without_device(request, _device_options(request, None, nodes), nodes)


def _without_device(
    request: PlanRequest, device_options: DeviceOptions, nodes: tuple[NodeFacts, ...] | None
) -> PlanFailure | None:
    engine = request.row
    on_host = any(option.device.on_host for option in device_options.available)
    planned = engine is None or engine.predicted
    if planned and request.gpu_count != 0 and is_foreign(request.gpu_resource):
        return nvidia_only(f"gpu.resourceName is {request.gpu_resource}")
    if engine and on_host and "cpu" not in engine.devices and request.gpu_count == 0:
        return gpus_only(engine)
    if not device_options.available:
        return no_device(device_options, nodes_known=nodes is not None)
    most = most_gpus(request, nodes)
    if planned and nodes is not None and (request.requested_gpus or 0) > most:
        return too_many_gpus(request.requested_gpus or 0, most)
    return None


def _device_options(
    request: PlanRequest, facts: ModelFacts | None, nodes: tuple[NodeFacts, ...] | None
) -> DeviceOptions:
    """The devices to choose from: the host, or kinds of GPU. ``facts``: None where the model has not been
    inspected; then any format is possible.
    """
    engine = request.row
    if engine and not engine.predicted:
        return DeviceOptions((_as_written(request, nodes),))
    gpus = gpu_options(request, nodes)
    if request.gpu_count == 0:
        return DeviceOptions((host(request, nodes),))
    if not (_gpus_unset(request) and _defaults_to_host(request, engine, facts, gpus, nodes)):
        return gpus
    weights_bytes = sum(item.stored_bytes for item in facts.tensors) if facts else 0
    if weights_bytes > HOST_DEFAULT_BYTES and not (engine and is_for_cpu(engine, request.image)):
        return replace(gpus, too_large_for_host_bytes=weights_bytes)
    return DeviceOptions((host(request, nodes),), foreign=foreign_nodes(request, nodes))


def _gpus_unset(request: PlanRequest) -> bool:
    options = request.options
    return request.gpu_count is None and not (request.products or options.tensor or options.pipeline)


def _defaults_to_host(
    request: PlanRequest,
    engine: EngineProfile | None,
    facts: ModelFacts | None,
    gpus: DeviceOptions,
    nodes: tuple[NodeFacts, ...] | None,
) -> bool:
    """Whether a spec that does not mention GPUs is planned on the host: an engine can run there, and no node
    has a GPU, be it eligible or not.

    An engine that loads the model's format only by a plugin does not count as a reason to wait for a GPU.
    """
    images = [
        row
        for row in engine_profiles()
        if row.predicted
        and (facts is None or (facts.format in row.formats and facts.format not in row.plugins.methods))
    ]
    able = [engine] if engine else images
    if not any("cpu" in row.devices for row in able):
        return False
    if nodes is None or gpus.available or gpus.unlabelled or gpus.unsized:
        return False
    # A template that chooses nodes, of which none has a GPU, chooses the CPU.
    chosen = all(one.by_choice for kind in gpus.ineligible for one in kind.obstacles)
    return not gpus.ineligible or (chosen and bool(eligible(nodes, request.placement)))


def _as_written(request: PlanRequest, nodes: tuple[NodeFacts, ...] | None) -> DeviceOption:
    """The device of an engine whose memory is not predicted: the first product, whose size is not used."""
    if not request.gpu_count:
        return DeviceOption(Device(kind="cpu", product=CPU, memory_bytes=None))
    found = gpu_options(request, nodes).available if request.products else ()
    product = found[0].device.product if found else "".join(request.products[:1])
    return DeviceOption(Device(product=product, memory_bytes=None))


def _quality(chosen: Attempt) -> str:
    """Quality that a plan is chosen for. A checkpoint that was quantized beforehand is not rated."""
    if is_quantized(chosen.placement.facts):
        return "its quality as stored"
    return f"quality {expected_quality(chosen):.1f} of 100"


def _planned(chosen: Attempt, context: Context, search: Search, device_options: DeviceOptions) -> ModelPlan:
    """The plan that follows from the chosen attempt, with the rejected alternatives."""
    request, placement, engine = search.evaluator.request, chosen.placement, chosen.engine
    device = placement.device
    unusable = (
        *unlabelled_warning(chosen, device_options.unlabelled, product_label(request.gpu_resource)),
        *ineligible_warning(chosen, device_options),
        *foreign_warning(device_options.foreign),
    )
    ranked_by = "expected speed" if chosen.expected else "the order of engines"
    is_set = request.method and request.engine
    why = "" if is_set else f" Chosen for {_quality(chosen)}, then {ranked_by}."
    return ModelPlan(
        engine=engine.name,
        engine_version=placement.version,
        image=placement.image,
        entrypoint=engine.image.entrypoint,
        python=request.python or engine.image.python,
        quantization_method=chosen.method_name,
        files=placement.facts.files,
        gpu_product=device.product,
        gpu_label=device.node_label,
        gpu_count=chosen.gpus,
        gpu_memory_bytes=device.memory_bytes or 0,
        compute_capability=device.compute_capability,
        tensor_parallel=placement.tensor,
        pipeline_parallel=placement.pipeline,
        max_model_len=context.max_model_len,
        concurrency=context.concurrency,
        predicted=chosen.predicted,
        arguments=chosen.arguments,
        message=" ".join((plan_message(chosen, request.products, why), *unusable)),
        warnings=(*warnings(chosen), *unusable),
        alternatives=search.alternatives(chosen),
    )
