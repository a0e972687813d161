"""Plans on GPUs: what there is to choose from, the best way that fits, or what would fit instead."""

from __future__ import annotations

from tacho_contract.failure import FailureClass
from tacho_contract.model import Architecture, ModelFacts
from tacho_operator.core.planner.asked import Asked
from tacho_operator.core.planner.catalog.methods import method_table
from tacho_operator.core.planner.choice import Search
from tacho_operator.core.planner.hardware import Choices, gpu_choices
from tacho_operator.core.planner.outcome import failure, nothing_fits, planned, too_little_known
from tacho_operator.core.planner.types import ModelPlan, PlanFailure
from tacho_operator.core.types import Config, History, NodeFacts


def plan_on_gpus(
    asked: Asked,
    facts: ModelFacts,
    *,
    nodes: tuple[NodeFacts, ...] | None,
    history: tuple[History, ...],
    config: Config,
) -> ModelPlan | PlanFailure:
    """The plan of a model on GPUs, or why there is none and what would make one."""
    if unknown := too_little_known(facts):
        return unknown
    architecture = facts.architecture or Architecture()
    choices = gpu_choices(asked, nodes)
    if not choices.hardware:
        return _no_hardware(choices, nodes is not None)
    search = Search(asked, facts, architecture, history, config, nodes)
    if not search.rows():
        return failure(
            FailureClass.UNSUPPORTED_QUANTIZATION,
            f"Engine {asked.engine} does not run {asked.method}.",
            f"Methods of {asked.engine}: "
            f"{', '.join(r.method for r in method_table() if r.engine == asked.engine)}.",
        )
    chosen = search.best(choices.hardware)
    if chosen is not None:
        return planned(asked, facts, chosen, search)
    return nothing_fits(asked, facts, choices, search, search.nearest(choices.hardware))


def _no_hardware(choices: Choices, nodes_known: bool) -> PlanFailure:
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
