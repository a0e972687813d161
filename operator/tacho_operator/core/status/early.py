"""The status that is written before children: a Ready that is lost, and a scaling decision before its size.

Writes of children may take a minute. An operator that is killed between a size and its decision would lose
what policies, bursts and people remember of it.
"""

from __future__ import annotations

from typing import Any

from tacho_operator.api.conditions import ConditionType, find_condition, set_condition
from tacho_operator.api.status.status import LLMDeploymentStatus
from tacho_operator.core.autoscaling.status_view import newest_change


def early_status(
    stored: LLMDeploymentStatus, decided: LLMDeploymentStatus | None
) -> LLMDeploymentStatus | None:
    """``stored`` with those fields of ``decided`` that are written before the children; None: there are none.

    The rest of ``decided`` depends on writes that may be refused: a new revision, that nothing is stalled.
    """
    if decided is None:
        return None
    early = {**_lost_ready(stored, decided), **_resized(stored, decided)}
    return stored.model_copy(update=early) if early else None


def is_ready(status: LLMDeploymentStatus) -> bool:
    """Whether its condition Ready is True."""
    found = find_condition(status.conditions, ConditionType.READY)
    return found is not None and found.status == "True"


def _lost_ready(stored: LLMDeploymentStatus, decided: LLMDeploymentStatus) -> dict[str, Any]:
    """The decided Ready and counts of pods, if Ready is lost."""
    now = find_condition(decided.conditions, ConditionType.READY)
    if not is_ready(stored) or now is None or now.status == "True":
        return {}
    return {
        "conditions": set_condition(stored.conditions, now),
        "replicas": decided.replicas,
        "ready_replicas": decided.ready_replicas,
    }


def _resized(stored: LLMDeploymentStatus, decided: LLMDeploymentStatus) -> dict[str, Any]:
    """The scaler's part of the status, if it has a change of the size that ``stored`` does not have."""
    change = newest_change(decided.autoscaling)
    known = stored.autoscaling.decisions if stored.autoscaling else ()
    return {} if change is None or change in known else {"autoscaling": decided.autoscaling}
