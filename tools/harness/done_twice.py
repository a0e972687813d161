"""What two operators did twice, by the audit log."""

from __future__ import annotations

import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Iterable
from typing import Any

POD_NAME = "authentication.kubernetes.io/pod-name"
OF_ONE_STATE = ("uid", "resourceVersion")
"""Fields of an apply that say which object it is for, not what it becomes."""


def done_twice(events: Iterable[dict[str, Any]]) -> list[str]:
    """Objects that were created twice, uids that were deleted twice, and patches of a child that two
    operators made alike. Refused requests, events, Leases and the resources themselves are left out.
    """
    counts: Counter[str] = Counter()
    patches: defaultdict[str, set[str]] = defaultdict(set)
    for event in events:
        what, code = event["objectRef"], event["responseStatus"]["code"]
        if code >= 300 or what["resource"] in ("events", "leases", "llmdeployments"):
            continue
        name = "/".join(what[part] for part in ("resource", "namespace", "name"))
        if code == 201:
            counts[f"created {name}"] += 1
        body = event.get("requestObject") or {}
        if event["verb"] == "delete":
            counts[f"deleted {name} {body['preconditions']['uid']}"] += 1
        elif event["verb"] == "patch":
            (pod,) = event["user"]["extra"][POD_NAME]
            patches[f"patched {name} {_digest(body)}"].add(pod)
    twice = [text for text, count in counts.items() if count > 1]
    return sorted([*twice, *(text for text, pods in patches.items() if len(pods) > 1)])


def _digest(body: dict[str, Any]) -> str:
    metadata = {key: value for key, value in body["metadata"].items() if key not in OF_ONE_STATE}
    return hashlib.sha256(json.dumps({**body, "metadata": metadata}, sort_keys=True).encode()).hexdigest()[
        :12
    ]
