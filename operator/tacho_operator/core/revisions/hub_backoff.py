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
    """The shared reason to wait that has ended, of two successive reasons of one resource; "": none has."""
    return before if before in SHARED_REASONS and now != before else ""


def notice_due(noticed: datetime | None, now: datetime) -> bool:
    """Whether to notify the others of a recovery; ``noticed``: the last notice."""
    return noticed is None or now - noticed >= NOTICE_INTERVAL


def retry_delay_seconds(alone: float, waiting: HubWaiters, since: datetime, *, apart: float) -> float:
    """Delay after a transient failure at ``since`` that ``waiting`` share; ``alone``: that of a single one.

    Retries are spread by ``apart`` in [0, 1) over the time that all take at the aggregate rate. Other
    namespaces add OTHERS_LIMIT_SECONDS at most. After a recovery each retries as if it were alone; so does
    one that fails before the next notice can come.
    """
    if waiting.recovered is not None and waiting.recovered > since - NOTICE_INTERVAL:
        return alone
    each_seconds = (0.5 + apart) / TRIES_PER_SECOND
    everywhere = min(OTHERS_LIMIT_SECONDS, each_seconds * (waiting.count + waiting.elsewhere))
    return max(alone, each_seconds * waiting.count, everywhere)
