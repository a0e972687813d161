"""What kopf is asked to watch. Its handlers only name the resource to look at: they decide nothing.

``on.event`` handlers store nothing on objects and need no finalizer, so deleting works with the
operator down.
"""

from __future__ import annotations

import dataclasses
import datetime
from typing import Any

import kopf

from tacho_operator.core.names import DEPLOYMENT_LABEL
from tacho_operator.shell.workqueue import Key, WorkQueue

LOGIN_EXPIRES = datetime.timedelta(minutes=10)
"""Projected service-account tokens are rotated in place; kopf reads them at login only."""

STUCK_SECONDS = 300.0
"""A key that has been due for longer means that the workers hang."""

WATCHED_CHILDREN = (("apps", "v1", "deployments"), ("", "v1", "pods"), ("", "v1", "services"))
"""Children whose changes matter at once; the others are corrected by the resync."""


def kopf_settings() -> kopf.OperatorSettings:
    """kopf configured to watch only what is ours, and to write nothing."""
    configured = kopf.OperatorSettings()
    configured.posting.enabled = False
    configured.networking.connect_timeout = 10
    configured.networking.request_timeout = 30
    configured.watching.chunk_size = 500
    configured.scanning.disabled = True
    for group, version, plural in WATCHED_CHILDREN:
        configured.watching.label_selectors[group, version, plural] = DEPLOYMENT_LABEL
    configured.execution.max_workers = 1
    return configured


def build_registry(queue: WorkQueue, kubeconfig: str) -> kopf.OperatorRegistry:
    """Handlers that enqueue, on a registry of their own."""
    registry = kopf.OperatorRegistry()

    @kopf.on.event("tacho.dev", "v1alpha1", "llmdeployments", registry=registry)
    async def resource_changed(namespace: str | None, name: str | None, **_: Any) -> None:
        if namespace and name:
            await queue.add(Key(namespace, name))

    async def child_changed(namespace: str | None, labels: Any, **_: Any) -> None:
        owner = labels.get(DEPLOYMENT_LABEL)
        if namespace and owner:
            await queue.add(Key(namespace, owner))

    for group, version, plural in WATCHED_CHILDREN:
        kopf.on.event(
            group, version, plural, labels={DEPLOYMENT_LABEL: kopf.PRESENT}, registry=registry, id=plural
        )(child_changed)

    @kopf.on.login(registry=registry)
    async def login(**kwargs: Any) -> kopf.ConnectionInfo | None:
        # kopf finds the file by the same variable that the settings were read from.
        login_with = kopf.login_with_kubeconfig if kubeconfig else kopf.login_with_service_account
        info = login_with(**kwargs)
        if info is None:
            return None
        expires = datetime.datetime.now(datetime.timezone.utc) + LOGIN_EXPIRES
        return dataclasses.replace(info, expiration=expires)

    @kopf.on.probe(id="queue", registry=registry)
    async def queue_moves(**_: Any) -> str:
        overdue = queue.oldest_overdue_seconds()
        if overdue > STUCK_SECONDS:
            raise kopf.PermanentError(f"a resource has been waiting for {overdue:.0f} s: the workers hang")
        return f"depth {queue.depth}, oldest overdue {overdue:.1f} s"

    return registry
