"""Whether the pods that were ready still are, while a reconcile writes for long."""

from __future__ import annotations

import time

from tacho_operator.core.pods.view import PodView
from tacho_operator.core.types import Observed
from tacho_operator.shell.store.expectations import RecordingClient
from tacho_operator.shell.store.store import Store

CHECK_SECONDS = 1.0
"""Seconds between two checks: a resource may have thousands of pods, and its usual writes take less."""


class ReadyPods:
    """The pods that were ready when they were observed, by name."""

    def __init__(self, store: Store, observed: Observed, kube: RecordingClient) -> None:
        self._store, self._kube = store, kube
        self._namespace = str(observed.raw["metadata"]["namespace"])
        ready = (pod["metadata"] for pod in observed.pods if PodView(pod).ready)
        self._versions = {item["name"]: (item.get("uid"), item.get("resourceVersion")) for item in ready}
        self._next_check = time.monotonic() + CHECK_SECONDS

    def changed(self) -> bool:
        """Whether one of them has gone, or was changed by others, so that Ready may be lost."""
        if time.monotonic() < self._next_check:
            return False
        self._next_check = time.monotonic() + CHECK_SECONDS
        return any(self._has_changed(name, *known) for name, known in self._versions.items())

    def _has_changed(self, name: str, uid: str, version: str) -> bool:
        own = self._kube.written.get(("Pod", self._namespace, name))
        if own is not None and not own.version:  # the operator deletes it
            return False
        found = self._store.find("Pod", self._namespace, name)
        return found is None or found not in ((uid, version), (uid, own.version if own else version))
