"""The plan as status.plan shows it."""

from __future__ import annotations

from collections.abc import Iterable

from tacho_contract.units import clipped
from tacho_operator.api import types as api
from tacho_operator.api.base import decimal, exact
from tacho_operator.core.planner.types import Alternative, ModelPlan, PlanFailure, Predicted

ALTERNATIVES_LIMIT = 16
FILES_LIMIT = 8
WARNINGS_LIMIT = 8


def plan_status(plan: ModelPlan, revision: str = "") -> api.Plan:
    return api.Plan(
        revision=revision,
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
        ),
        parallelism=api.PlanParallelism(tensor=plan.tensor_parallel, pipeline=plan.pipeline_parallel),
        max_model_len=plan.max_model_len,
        concurrency=plan.concurrency,
        predicted=_predicted(plan.predicted),
        message=clipped(plan.message),
        warnings=[clipped(item, 1024) for item in plan.warnings[:WARNINGS_LIMIT]],
        alternatives=_alternatives(plan.alternatives),
    )


def failure_status(failure: PlanFailure) -> api.Plan:
    """What was considered, where nothing could be chosen, and the figures of what came nearest."""
    return api.Plan(
        predicted=_predicted(failure.predicted),
        message=clipped(f"{failure.failure.message} {failure.failure.next_step}".strip()),
        alternatives=_alternatives(failure.alternatives),
    )


def _predicted(found: Predicted) -> api.Predicted:
    return api.Predicted(
        weights_bytes=exact(found.weights_bytes),
        kv_cache_bytes=exact(found.kv_cache_bytes),
        kv_cache_tokens=exact(found.kv_cache_tokens),
        max_concurrency=decimal(found.max_concurrency),
        activation_bytes=exact(found.activation_bytes),
        graph_bytes=exact(found.graph_bytes),
        total_bytes=exact(found.total_bytes),
        budget_bytes=exact(found.budget_bytes),
        decode_tokens_per_second=decimal(found.decode_tokens_per_second),
        expected_decode_tokens_per_second=decimal(found.expected_decode_tokens_per_second),
    )


def _alternatives(found: Iterable[Alternative]) -> list[api.Alternative]:
    return [_alternative(item) for item in list(found)[:ALTERNATIVES_LIMIT]]


def _alternative(item: Alternative) -> api.Alternative:
    return api.Alternative(
        engine=item.engine,
        method=item.method,
        product=item.product,
        fits=item.fits,
        reason=str(item.reason),
        message=clipped(item.message, 1024),
        decode_tokens_per_second=decimal(item.decode_tokens_per_second),
        expected_decode_tokens_per_second=decimal(item.expected_decode_tokens_per_second),
    )
