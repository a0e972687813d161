"""Remembers when spec.replicas was changed of a resource whose replicas the scaler sets."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import NamedTuple

from tacho_operator.api.types import LLMDeployment, LLMDeploymentSpec
from tacho_operator.shell.workqueue import Key

DEFAULT_REPLICAS = LLMDeploymentSpec.model_fields["replicas"].default


class _Seen(NamedTuple):
    uid: str
    autoscaling: int
    """Hash of spec.autoscaling."""
    replicas: int
    written: datetime | None


class ReplicaWrites:
    """The last such change of each resource that has autoscaling, since this process began."""

    def __init__(self, clock: Callable[[], datetime]) -> None:
        self._clock = clock
        self._seen: dict[Key, _Seen] = {}

    def last(self, key: Key, resource: LLMDeployment) -> datetime | None:
        """When replicas alone were changed last; None: not since autoscaling was set as it is."""
        spec, uid, seen = resource.spec, resource.metadata.uid, self._seen.get(key)
        if spec.autoscaling is None:
            self.forget(key)
            return None
        scaled = hash(spec.autoscaling.model_dump_json())
        same = seen is not None and (seen.uid, seen.autoscaling) == (uid, scaled)
        written = seen.written if seen is not None and same else None
        # The default is also what an unset field has, but no field that was written by /scale is unset.
        scales = any(entry.get("subresource") == "scale" for entry in resource.metadata.managed_fields)
        is_set = scales or spec.replicas != DEFAULT_REPLICAS
        if seen is not None and same and is_set and spec.replicas != seen.replicas:
            written = self._clock()
        self._seen[key] = _Seen(uid, scaled, spec.replicas, written)
        return written

    def forget(self, key: Key) -> None:
        self._seen.pop(key, None)
