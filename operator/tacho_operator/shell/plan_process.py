"""What the process that makes plans runs, under limits: a model's facts may be made for endless plans."""

from __future__ import annotations

import resource
import time
from dataclasses import replace

from tacho_contract import codec
from tacho_contract.failure import FailureClass, failure_kind
from tacho_contract.units import clipped
from tacho_operator.core.planner.no_plan import failure
from tacho_operator.core.planner.plan import plan_of
from tacho_operator.core.planner.shown_plan import shown_plan
from tacho_operator.core.planner.types import ModelPlan, PlanFailure, PlanResult
from tacho_operator.core.types import PlanInputs

CPU_SECONDS = 10
"""CPU seconds for a plan. The slowest known takes one (no model size fits on any of four kinds of GPU)."""
MEMORY_LIMIT_BYTES = 256 * 1024**2
"""Limit of the process' address space in bytes, libraries included; half of the chart's memory limit."""


def begin() -> None:
    """Sets the limits of the process for all of its plans."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_LIMIT_BYTES, MEMORY_LIMIT_BYTES))


def planning_failed(why: str) -> PlanFailure:
    """The result where the planner itself fails, with the error ``why``."""
    kind = FailureClass.PLANNING_FAILED
    return failure(kind, why, failure_kind(kind).next_step)


def limited_result(inputs: PlanInputs) -> PlanResult:
    """As ``result_of``, in a process of its own, which the kernel ends (SIGXCPU) after CPU_SECONDS."""
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (int(time.process_time()) + 1 + CPU_SECONDS, hard))
    return result_of(inputs)


def result_of(inputs: PlanInputs) -> PlanResult:
    """The plan, or its failure; any error of the planner is a failure too."""
    try:
        found = plan_of(inputs)
        if isinstance(found, ModelPlan):
            codec.loads(ModelPlan, codec.dumps(found))  # a revision stores it
            shown_plan(found)
            return found
        why = found.failure
        short = replace(why, message=clipped(why.message), next_step=clipped(why.next_step))
        return replace(found, failure=short)
    except Exception as error:  # noqa: BLE001 - the inputs are a model's author's and a user's
        return planning_failed(f"The planner failed: {type(error).__name__}: {str(error)[:200]}.")
