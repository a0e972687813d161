"""Retries while a model hub is down, shared by all resources that wait for it.

Resources that failed together retry spread out, so that a hub that recovers is not flooded. The first that
succeeds ends the shared delay for all. A hub is known by its endpoint. Other namespaces add 300 s at most.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from tacho_contract.failure import FailureClass
from tacho_operator.api.rules.deny_list import ENDPOINT
from tacho_operator.core.types import HubWaiters, Manifest

SHARED_REASONS = frozenset({FailureClass.HUB_UNREACHABLE.value})
"""Reasons of condition Ready that many resources wait out together."""
NOTICE_INTERVAL = timedelta(seconds=60)
"""Minimum time between two notices of a recovery: the first success of many is enough."""
TRIES_PER_SECOND = 1.0
"""Retries per second of all resources together that wait for the same hub."""
OTHERS_LIMIT_SECONDS = 300.0
"""Maximum delay because of other namespaces."""


def hub_endpoint(spec: Manifest) -> str:
    """The hub that a spec names, by its field or its variable; "": the default one."""
    hub = (spec.get("model") or {}).get("hub") or {}
    named = (item.get("value") for item in hub.get("env") or () if item.get("name") == ENDPOINT)
    return str(hub.get("endpoint") or next(named, "") or "").rstrip("/").lower()


def ended_wait(before: str, now: str) -> str:
    """``before``, the reason for which a resource waited for a hub, if that wait has ended; "": it has
    not."""
    return before if before in SHARED_REASONS and now != before else ""


def notice_due(noticed: datetime | None, now: datetime) -> bool:
    """Whether to tell other waiting resources that their hub works again. ``noticed``: when that was last
    done."""
    return noticed is None or now - noticed >= NOTICE_INTERVAL


def retry_delay_seconds(alone: float, waiting: HubWaiters, since: datetime, *, apart: float) -> float:
    """Delay of the next retry after a hub failure at ``since`` that all resources in ``waiting`` have in
    common.

    ``alone``: the delay of a single resource. ``apart`` in [0, 1) spreads the retries over the time that all
    of them take together. Other namespaces add OTHERS_LIMIT_SECONDS at most. After the hub has recovered the
    delay is ``alone``, also for a failure too soon after it for another notice.
    """
    if waiting.recovered is not None and waiting.recovered > since - NOTICE_INTERVAL:
        return alone
    each_seconds = (0.5 + apart) / TRIES_PER_SECOND
    everywhere = min(OTHERS_LIMIT_SECONDS, each_seconds * (waiting.count + waiting.elsewhere))
    return max(alone, each_seconds * waiting.count, everywhere)
