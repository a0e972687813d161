"""What others write into status, which the operator alone should write, on a real API server."""

from __future__ import annotations

import json
from typing import Any

from tools.cluster.handle import Cluster
from tools.harness.operating import NAME

OTHERS = {
    "type": "Audited",
    "status": "True",
    "reason": "Looked",
    "message": "Nothing was found.",
    "lastTransitionTime": "2026-11-20T08:00:00Z",
}


def status(api: Cluster, namespace: str) -> dict[str, Any]:
    found: dict[str, Any] = api.get("llmd", NAME, "-n", namespace)["status"]
    return found


def change(api: Cluster, namespace: str, *options: str, **part: Any) -> None:
    api.kubectl("patch", "llmd", NAME, "-n", namespace, *options, "--type=merge", "-p", json.dumps(part))
