"""The plan as status.plan shows it."""

from __future__ import annotations

from typing import Any

from tacho_contract.units import clipped
from tacho_operator.api.base import decimal
from tacho_operator.core.planner.types import Alternative, ModelPlan, PlanFailure, Predicted
from tacho_operator.core.types import Manifest

ALTERNATIVES_LIMIT = 16


def present(pairs: dict[str, Any]) -> Manifest:
    """``pairs`` without what is unknown: None, "" and empty objects say nothing in a status."""
    return {key: value for key, value in pairs.items() if value not in (None, "", {}, [])}


def plan_view(plan: ModelPlan, revision: str) -> Manifest:
    return present(
        {
            "revision": revision,
            "engine": present(
                {"name": plan.engine, "version": plan.engine_version[:64], "image": plan.image}
            ),
            "quantizationMethod": plan.quantization_method,
            "model": present(
                {
                    "commit": plan.files.commit,
                    "digest": plan.files.digest,
                    "files": list(plan.files.globs),
                    "fileCount": plan.files.file_count,
                    "totalBytes": plan.files.total_bytes,
                }
            ),
            "gpu": {
                "count": plan.gpu_count,
                **present(
                    {
                        "product": plan.gpu_product,
                        "memoryBytes": plan.gpu_memory_bytes or None,
                        "computeCapability": plan.compute_capability,
                    }
                ),
            },
            "parallelism": {"tensor": plan.tensor_parallel, "pipeline": plan.pipeline_parallel},
            "maxModelLen": plan.max_model_len,
            "concurrency": plan.concurrency,
            "predicted": _predicted(plan.predicted),
            "message": clipped(plan.message),
            "alternatives": [_alternative(item) for item in plan.alternatives[:ALTERNATIVES_LIMIT]],
        }
    )


def failure_view(failure: PlanFailure) -> Manifest:
    """What was considered, where nothing could be chosen."""
    return present(
        {
            "message": clipped(f"{failure.failure.message} {failure.failure.next_step}".strip()),
            "alternatives": [_alternative(item) for item in failure.alternatives[:ALTERNATIVES_LIMIT]],
        }
    )


def _predicted(found: Predicted) -> Manifest:
    return present(
        {
            "weightsBytes": found.weights_bytes,
            "kvCacheBytes": found.kv_cache_bytes,
            "kvCacheTokens": found.kv_cache_tokens,
            "maxConcurrency": decimal(found.max_concurrency),
            "activationBytes": found.activation_bytes,
            "graphBytes": found.graph_bytes,
            "totalBytes": found.total_bytes,
            "budgetBytes": found.budget_bytes,
            "decodeTokensPerSecond": decimal(found.decode_tokens_per_second),
        }
    )


def _alternative(item: Alternative) -> Manifest:
    return present(
        {
            "engine": item.engine,
            "method": item.method,
            "product": item.product,
            "fits": item.fits,
            "reason": item.reason,
            "message": clipped(item.message, 1024),
            "decodeTokensPerSecond": decimal(item.decode_tokens_per_second),
        }
    )
