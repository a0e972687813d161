"""A plan as status shows it. A stored plan that cannot be shown is damaged."""

from __future__ import annotations

from dataclasses import fields

from tacho_contract.units import clipped
from tacho_operator.api.base import exact
from tacho_operator.api.status import plan as api
from tacho_operator.core.planner.types import ModelPlan, Prediction

ALTERNATIVES_LIMIT = 16
FILES_LIMIT = 8
TRIED_LIMIT = 16
WARNINGS_LIMIT = 8


def shown_plan(plan: ModelPlan) -> api.Plan:
    """The plan in status, without its revision and probe budget. Raises ValueError for figures that no plan
    has."""
    if not plan.engine:
        raise ValueError("a plan has an engine")
    return api.Plan(
        engine=api.PlanEngine(name=plan.engine, version=plan.engine_version[:64], image=plan.image),
        quantization_method=plan.quantization_method,
        model=api.PlanModel(
            commit=plan.files.commit,
            digest=plan.files.digest,
            content_digest=plan.files.content_digest or None,
            files=[clipped(item, 256) for item in plan.files.globs[:FILES_LIMIT]],
            file_count=plan.files.file_count,
            total_bytes=plan.files.total_bytes,
        ),
        gpu=api.PlanGpu(
            product=plan.gpu_product,
            count=plan.gpu_count,
            memory_bytes=plan.gpu_memory_bytes or None,
            compute_capability=plan.compute_capability,
            tried=[clipped(item, 256) for item in plan.tried_gpus[:TRIED_LIMIT]],
        ),
        parallelism=api.PlanParallelism(tensor=plan.tensor_parallel, pipeline=plan.pipeline_parallel),
        max_model_len=plan.max_model_len,
        concurrency=plan.concurrency,
        predicted=shown_prediction(plan.predicted),
        message=clipped(plan.message),
        warnings=[clipped(item, 1024) for item in plan.warnings[:WARNINGS_LIMIT]],
        alternatives=list(plan.alternatives[:ALTERNATIVES_LIMIT]),
    )


def shown_prediction(found: Prediction) -> api.Predicted:
    """What status shows of a prediction; a number that JSON does not keep exact is left out."""
    shown = ((item.name, getattr(found, item.name)) for item in fields(api.Predicted))
    return api.Predicted(**{name: exact(value) if isinstance(value, int) else value for name, value in shown})
