"""Writes Kubernetes events of a resource: one object for each reason, whose series counts the repetitions.

They are written as v1 Events, since events.k8s.io/v1 does not let a repeated event change its note. Both APIs
show the same objects.
"""

from __future__ import annotations

import hashlib
import logging
import os
from collections import Counter
from collections.abc import Iterable
from datetime import datetime
from typing import Any

from tacho_contract.text import visible
from tacho_contract.units import format_time
from tacho_operator.core.types import Manifest, ResourceEvent
from tacho_operator.shell.api_errors import ApiError, Conflict
from tacho_operator.shell.kube import FIELD_MANAGER, Kube

logger = logging.getLogger(__name__)

ACTION = "Reconcile"
LONGEST_NOTE_BYTES = 1024
"""Longest note of an event in bytes of UTF-8; the API server refuses a longer one."""


async def post_events(kube: Kube, raw: Manifest, events: Iterable[ResourceEvent], now: datetime) -> None:
    """Posts events. A refused event is logged and delays no other work.

    Several events of one reason in the same pass get one object each.
    """
    counts: Counter[str] = Counter()
    for event in events:
        manifest = _manifest(raw, event, now, ordinal=counts[event.reason])
        counts[event.reason] += 1
        try:
            await _post(kube, manifest)
        except ApiError as error:
            logger.warning("event %s: %s", event.reason, error)


async def _post(kube: Kube, manifest: Manifest) -> None:
    """Creates the event or, where it exists, adds one to the count of its series.

    The latter takes three requests, but no permission to read events: a patch returns the object.
    """
    try:
        await kube.create(manifest)
    except Conflict:
        newest = {name: manifest[name] for name in ("type", "message", "lastTimestamp")}
        live = await kube.merge(manifest, newest)
        await kube.merge(manifest, _series(live, manifest["eventTime"]))


def _series(live: Manifest, moment: str) -> dict[str, Any]:
    """The fields of an event after one more repetition: the series, and the older field ``count`` for clients
    of v1.
    """
    count = 1 + max((live.get("series") or {}).get("count") or 0, live.get("count") or 1)
    return {"count": count, "series": {"count": count, "lastObservedTime": moment}}


def _within(text: str, count: int) -> str:
    return text.encode()[:count].decode(errors="ignore")


def _manifest(raw: Manifest, event: ResourceEvent, now: datetime, *, ordinal: int) -> Manifest:
    metadata, moment = raw["metadata"], format_time(now)
    identity = f"{metadata['uid']} {event.reason} {ordinal}"
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {
            "name": f"{metadata['name']}.{hashlib.sha256(identity.encode()).hexdigest()[:16]}",
            "namespace": metadata["namespace"],
        },
        "involvedObject": {
            "apiVersion": raw["apiVersion"],
            "kind": raw["kind"],
            "name": metadata["name"],
            "namespace": metadata["namespace"],
            "uid": metadata["uid"],
            "resourceVersion": metadata["resourceVersion"],
        },
        "type": event.type,
        "reason": event.reason,
        "message": _within(visible(event.message), LONGEST_NOTE_BYTES),
        "action": ACTION,
        "source": {"component": FIELD_MANAGER},
        "reportingComponent": FIELD_MANAGER,
        "reportingInstance": os.uname().nodename,
        "eventTime": now.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        "firstTimestamp": moment,
        "lastTimestamp": moment,
        "count": 1,
    }
