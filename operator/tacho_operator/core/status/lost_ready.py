"""The status that is written at once where Ready is lost, before children, which may take a minute."""

from __future__ import annotations

from tacho_operator.api.conditions import ConditionType, find_condition, set_condition
from tacho_operator.api.status.status import LLMDeploymentStatus


def lost_ready(
    stored: LLMDeploymentStatus, decided: LLMDeploymentStatus | None
) -> LLMDeploymentStatus | None:
    """``stored`` with the decided Ready and counts of pods; None: Ready is not lost.

    The rest of ``decided`` tells of writes that may be refused: a new revision, a size, that nothing is
    stalled.
    """
    was = find_condition(stored.conditions, ConditionType.READY)
    now = find_condition(decided.conditions, ConditionType.READY) if decided is not None else None
    if decided is None or was is None or was.status != "True" or now is None or now.status == "True":
        return None
    observed = {
        "conditions": set_condition(stored.conditions, now),
        "replicas": decided.replicas,
        "ready_replicas": decided.ready_replicas,
    }
    return stored.model_copy(update=observed)
