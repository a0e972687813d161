"""Pods that run and do not answer the operator: what they measured stays unknown."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import datetime

from tacho_contract.pod import RUNTIME_PORT
from tacho_operator.core import names
from tacho_operator.core.pods.view import PodView

READY_SECONDS = 30.0
"""The kubelet has had its answers for so long: the runtime works, and something keeps the operator off."""
RUNNING_SECONDS = 120.0
"""A pod that is not ready may be busy; after so long it would have answered once."""


def unreachable(pods: Iterable[PodView], answered: Collection[str], now: datetime) -> PodView | None:
    """The first pod that should have answered by now. ``answered``: uids of those that did."""
    return next((pod for pod in pods if pod.uid not in answered and _should_answer(pod, now)), None)


def _should_answer(pod: PodView, now: datetime) -> bool:
    engine = pod.container(names.ENGINE_CONTAINER)
    running = engine.running_since if engine else None
    if pod.terminating or pod.phase != "Running" or running is None:
        return False
    since = pod.condition_time("Ready")
    if since is not None and (now - since).total_seconds() > READY_SECONDS:
        return True
    return (now - running).total_seconds() > RUNNING_SECONDS


def unreachable_message(pod: PodView) -> str:
    return (
        f"Pod {pod.name} runs, but does not answer the operator on port {RUNTIME_PORT} (GET /report): what "
        "it measured is not known. Check that NetworkPolicies let the operator's pods reach port "
        f"{RUNTIME_PORT} of the model's pods, and that no service mesh asks for credentials there."
    )
