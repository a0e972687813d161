"""Plans a revision again with a shorter context, where the engine has less memory for its KV cache than
planned.

Only where spec sets no context length, and only once: the existence of the second revision, named after the
first, records that it was done.
"""

from __future__ import annotations

from collections.abc import Iterable

from tacho_contract.failure import Failure, FailureClass
from tacho_operator.api.spec.engine import ContextSpec
from tacho_operator.api.types import LLMDeploymentSpec
from tacho_operator.core.planner.types import ModelPlan
from tacho_operator.core.pods.view import PodView
from tacho_operator.core.problems import parse_failure

SUFFIX = "-fit"
TOO_SMALL = FailureClass("KVCacheTooSmall")
"""The failure class as runtimes of any version report it."""
FITS = "fitsMaxModelLen"
"""Key in the details of a KVCacheTooSmall failure: the longest context in tokens that fits the KV cache."""
MIN_TOKENS = 16
"""Shortest context length in tokens that spec accepts."""


def refitted_name(revision: str) -> str:
    """Name of the revision that replaces ``revision`` with a shorter context."""
    return f"{revision}{SUFFIX}"


def length_that_fits(spec: LLMDeploymentSpec, plan: ModelPlan, failures: Iterable[Failure]) -> int | None:
    """The context length in tokens to plan again with; None: the present plan stays.

    It stays where spec sets the length, or where no engine reported a shorter length that fits.
    """
    if spec.context is not None and spec.context.max_model_len is not None:
        return None
    reported = (
        int(failure.details[FITS])
        for failure in failures
        if failure.failure_class == TOO_SMALL and failure.details.get(FITS, "").isdecimal()
    )
    return min((length for length in reported if MIN_TOKENS <= length < plan.max_model_len), default=None)


def shortened(spec: LLMDeploymentSpec, plan: ModelPlan, length: int) -> LLMDeploymentSpec:
    """``spec`` with the context length ``length`` and the planned concurrency."""
    context = ContextSpec(max_model_len=length, concurrency=plan.concurrency)
    return spec.model_copy(update={"context": context})


def failures_of(pods: Iterable[PodView], revision: str) -> list[Failure]:
    """Failures that containers of ``revision`` reported; none while one of its pods is ready.

    If one pod serves with the planned context, another pod's lack of memory is a problem of that pod's GPU.
    """
    own = [pod for pod in pods if pod.revision == revision]
    if any(pod.ready for pod in own):
        return []
    ends = (container.terminated for pod in own for container in pod.containers())
    found = (parse_failure(end.message) for end in ends if end is not None)
    return [failure for failure in found if failure is not None]
