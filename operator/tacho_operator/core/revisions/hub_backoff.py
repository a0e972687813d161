"""When to retry while a model hub is down, for all resources that wait for that hub.

Their retries are spread in time, so that a recovering hub is not flooded; the first success ends the longer
delay for all. Hubs are told apart by address. Resources of other namespaces add at most 300 s.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from tacho_contract.failure import FailureClass
from tacho_operator.api.rules.deny_list import ENDPOINT
from tacho_operator.core.names import digest
from tacho_operator.core.types import HubWaiters, Manifest

SHARED_REASONS = frozenset({FailureClass.HUB_UNREACHABLE.value})
"""Reasons of condition Ready for which resources that use the same hub share one retry rate."""
NOTICE_INTERVAL = timedelta(seconds=60)
"""Shortest time between two notices that a hub works again, sent to the resources that wait for it."""
TRIES_PER_SECOND = 1.0
"""Retries per second of all resources together that wait for one hub."""
OTHERS_LIMIT_SECONDS = 300.0
"""Longest additional delay in seconds because of resources in other namespaces."""

LONGEST_ADDRESS = 256
"""Longest hub address in characters that is kept. A spec's variable may have 4,096, of four bytes each."""


def hub_endpoint(spec: Manifest) -> str:
    """Address of the hub that a spec names, in its field or its environment variable; "": the default hub.

    Of a longer one than LONGEST_ADDRESS a digest, as those of 10,000 hubs are remembered.
    """
    hub = (spec.get("model") or {}).get("hub") or {}
    named = (item.get("value") for item in hub.get("env") or () if item.get("name") == ENDPOINT)
    address = str(hub.get("endpoint") or next(named, "") or "").rstrip("/").lower()
    return address if len(address) <= LONGEST_ADDRESS else digest(address, 32)


def ended_wait(before: str, now: str) -> str:
    """``before``, if it is a reason to wait for a hub and the present reason ``now`` is another one; "": no
    such wait has ended.
    """
    return before if before in SHARED_REASONS and now != before else ""


def notice_due(noticed: datetime | None, now: datetime) -> bool:
    """Whether to inform the other waiting resources that their hub works again. ``noticed``: when they were
    last informed, which a clock that was put back has in the future.
    """
    return noticed is None or abs(now - noticed) >= NOTICE_INTERVAL


def retry_delay_seconds(alone: float, waiting: HubWaiters, since: datetime, *, apart: float) -> float:
    """Seconds until the next retry after a hub failure at ``since``.

    ``alone``: the delay if no other resource waited. ``apart`` in [0, 1) spreads the retries of all waiting
    resources. Once the hub has recovered, the delay is ``alone``. A failure less than NOTICE_INTERVAL after
    the recovery counts as before it.
    """
    if waiting.recovered is not None and waiting.recovered > since - NOTICE_INTERVAL:
        return alone
    each_seconds = (0.5 + apart) / TRIES_PER_SECOND
    everywhere = min(OTHERS_LIMIT_SECONDS, each_seconds * (waiting.count + waiting.elsewhere))
    return max(alone, each_seconds * waiting.count, everywhere)
