"""The plan of one revision: engine, quantization, hardware, context; or why there is none.

Planning is apart from launching: ``plan_model`` plans every engine tacho knows, and ``launchable`` says
whether an image exists that can run the plan.
"""

from __future__ import annotations

from tacho_contract.failure import Failure, FailureClass
from tacho_contract.model import ModelFacts
from tacho_contract.units import gib
from tacho_operator.api.types import LLMDeploymentSpec
from tacho_operator.core.planner.asked import Asked, asked
from tacho_operator.core.planner.catalog.engines import CUSTOM, EngineRow, engine_image, engine_table
from tacho_operator.core.planner.hardware import gpu_choices
from tacho_operator.core.planner.plan_gpu import plan_on_gpus
from tacho_operator.core.planner.plan_host import plan_host, plan_llamacpp_host
from tacho_operator.core.planner.types import ModelPlan, PlanFailure
from tacho_operator.core.types import Config, History, NodeFacts

CUSTOM_MAX_MODEL_LEN = 4096
"""What $(TACHO_MAX_MODEL_LEN) is where neither the spec nor the model says a length."""
CUSTOM_CONCURRENCY = 16


def plan_model(
    spec: LLMDeploymentSpec,
    facts: ModelFacts,
    *,
    nodes: tuple[NodeFacts, ...] | None,
    history: tuple[History, ...],
    config: Config,
) -> ModelPlan | PlanFailure:
    """What ``spec`` should run, given what is known of the model, the nodes and earlier measurements.

    ``nodes`` None: they may not be read, and plans come from the catalog. Pure and deterministic.
    """
    wanted = asked(spec)
    if wanted.engine == CUSTOM:
        return _plan_custom(wanted, facts, nodes, config)
    if _on_host(wanted, facts, nodes):
        if wanted.engine in ("", "llamacpp") and facts.format == "gguf":
            row = engine_table()["llamacpp"]
            return plan_llamacpp_host(wanted, facts, row=row, nodes=nodes, history=history, config=config)
        return plan_host(wanted, facts, nodes=nodes, history=history, config=config)
    return plan_on_gpus(wanted, facts, nodes=nodes, history=history, config=config)


def _on_host(wanted: Asked, facts: ModelFacts, nodes: tuple[NodeFacts, ...] | None) -> bool:
    """Whether the CPU is meant: asked for; or nothing about GPUs is said and the engine (for a GGUF file, the
    only image there is) runs on the CPU, or no node has a GPU."""
    if wanted.gpu_count is not None:
        return wanted.gpu_count == 0
    if wanted.products or wanted.tensor or wanted.pipeline:
        return False
    engine = wanted.engine or ("llamacpp" if facts.format == "gguf" else "")
    if engine == "llamacpp" and "gpu" not in engine_table()[engine].devices:
        return True
    if engine and "cpu" not in engine_table()[engine].devices:
        return False
    choices = gpu_choices(wanted, nodes)
    return nodes is not None and not choices.hardware and not choices.unlabelled


def not_supported(row: EngineRow) -> Failure:
    """EngineNotSupported: there is no image of this engine that tacho can start."""
    ready = ", ".join(name for name, other in engine_table().items() if other.built)
    return Failure(
        failure_class=FailureClass.ENGINE_NOT_SUPPORTED,
        message=f"Engine {row.name} is planned for, but tacho has no image of it yet that it can start.",
        next_step=f"Use one of these engines: {ready}. engine.name custom runs any image with a command.",
    )


def launchable(plan: ModelPlan) -> Failure | None:
    """None when this plan can be started, else why not. A plan may fit and yet have no engine to run it."""
    row = engine_table()[plan.engine]
    if not row.built:
        return not_supported(row)
    if plan.gpu_count > 0 and "gpu" not in row.devices:
        return Failure(
            failure_class=FailureClass.ENGINE_NOT_SUPPORTED,
            message=f"tacho's image of {row.name} runs on the CPU; the plan is for {plan.gpu_product}.",
            next_step="Set gpu.count to 0, or use another engine.",
        )
    return None


def _custom_product(wanted: Asked, nodes: tuple[NodeFacts, ...] | None) -> str:
    """The node label's value for the first product asked for; as written where nobody knows it."""
    if not wanted.products:
        return ""
    found = gpu_choices(wanted, nodes).hardware
    return found[0].gpu.product if found else wanted.products[0]


def _plan_custom(
    wanted: Asked, facts: ModelFacts, nodes: tuple[NodeFacts, ...] | None, config: Config
) -> ModelPlan | PlanFailure:
    """A custom engine is listed and sized, never predicted: its command is the user's."""
    row = engine_table()[CUSTOM]
    image, version = engine_image(row, wanted.image, config.engine_images)
    if not image:
        return PlanFailure(
            failure=Failure(
                failure_class=FailureClass.INVALID_CONFIG,
                message="engine.name is custom, but engine.image is empty.",
                next_step="Set engine.image to the image that holds the engine.",
            )
        )
    architecture = facts.architecture
    length = wanted.max_model_len or (architecture.max_positions if architecture else 0)
    gpus = wanted.gpu_count or 0
    return ModelPlan(
        engine=row.name,
        engine_version=version,
        image=image,
        entrypoint=row.entrypoint,
        python=wanted.python or row.python,
        quantization_method=wanted.method or "none",
        files=facts.files,
        gpu_product=_custom_product(wanted, nodes) if gpus else "CPU",
        gpu_count=gpus,
        tensor_parallel=wanted.tensor or 1,
        pipeline_parallel=wanted.pipeline or 1,
        max_model_len=length or CUSTOM_MAX_MODEL_LEN,
        concurrency=wanted.concurrency or CUSTOM_CONCURRENCY,
        message=(
            f"A custom engine: the model is {facts.files.file_count} files of "
            f"{gib(facts.files.total_bytes)}; what the engine keeps in memory is not known, so nothing is "
            "predicted."
        ),
    )
