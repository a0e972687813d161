"""The probe pods that went on from known levels: which ones, by the keys of what they measured.

The record is an annotation of the live ConfigMap. A restart of the operator neither loses nor repeats one,
and a workload that comes back finds its own.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from tacho_operator.core.names import digest

ATTEMPTS = 3
"""Probe pods that go on from known levels for one plan and workload; then the lower bound stays."""
KEPT_KEYS = 4
"""Plans and workloads that are remembered, the latest: as many as there are measurements."""

Resumed = Mapping[str, tuple[str, ...]]
"""Names of the probe pods that came to an end, by ``resume_key``; the latest key last."""


def resume_key(plan_key: str, measure_key: str) -> str:
    return digest([plan_key, measure_key])


def with_attempt(resumed: Resumed, key: str, pod: str) -> Resumed:
    """``resumed`` with the end of ``pod``; the same pod counts once."""
    pods = resumed.get(key, ())
    pods = pods if pod in pods else (*pods, pod)[:ATTEMPTS]
    others = [item for item in resumed.items() if item[0] != key]
    return dict([*others, (key, pods)][-KEPT_KEYS:])


def read_resumed(text: str) -> Resumed:
    """The record that ``write_resumed`` wrote; empty for an unreadable text."""
    try:
        data = json.loads(text) if text else []
        found = {str(key): tuple(map(str, pods))[:ATTEMPTS] for key, pods in data if isinstance(pods, list)}
    except (TypeError, ValueError, RecursionError):
        return {}
    return dict(list(found.items())[-KEPT_KEYS:])


def write_resumed(resumed: Resumed) -> str:
    """As a list of pairs, which keeps the order; "" for none."""
    return json.dumps([[key, list(pods)] for key, pods in resumed.items()]) if resumed else ""
