"""A revision whose engine found less room for the KV cache than was planned is planned again with the length
that the engine names: once, and only where the length was left open.

The new plan is a revision of its own, named after the first one. That it exists is how the operator knows,
also after a restart, that it has been done; it is never done a second time.
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
"""As a runtime of any version says it."""
FITS = "fitsMaxModelLen"
"""Detail of KVCacheTooSmall: the longest context that the engine has room for."""
LEAST_TOKENS = 16
"""The shortest context that spec may ask for."""


def refitted_name(revision: str) -> str:
    """Of the revision that stands in for ``revision`` with a shorter context."""
    return f"{revision}{SUFFIX}"


def length_that_fits(spec: LLMDeploymentSpec, plan: ModelPlan, failures: Iterable[Failure]) -> int | None:
    """The context to plan again with; None where there is nothing to plan again.

    None as well where spec names the length (what a person asked for is not changed behind their back), and
    where the engine names no shorter one.
    """
    if spec.context is not None and spec.context.max_model_len is not None:
        return None
    named = (
        int(failure.details[FITS])
        for failure in failures
        if failure.failure_class == TOO_SMALL and failure.details.get(FITS, "").isdecimal()
    )
    return min((length for length in named if LEAST_TOKENS <= length < plan.max_model_len), default=None)


def shortened(spec: LLMDeploymentSpec, plan: ModelPlan, length: int) -> LLMDeploymentSpec:
    """``spec`` as if it asked for that length, and for the concurrency that was planned."""
    context = ContextSpec(max_model_len=length, concurrency=plan.concurrency)
    return spec.model_copy(update={"context": context})


def failures_of(pods: Iterable[PodView], revision: str) -> list[Failure]:
    """What containers of ``revision`` said as they ended, while none of its pods is ready: where one serves
    with this length, another's GPU is short of memory for a reason of its own."""
    own = [pod for pod in pods if pod.revision == revision]
    if any(pod.ready for pod in own):
        return []
    ends = (container.terminated or {} for pod in own for container in pod.containers())
    found = (parse_failure(str(end.get("message", ""))) for end in ends)
    return [failure for failure in found if failure is not None]
