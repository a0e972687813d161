"""A cache of the last reports of running pods, packed: all together take a limited part of the memory."""

from __future__ import annotations

import pickle
import zlib
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from operator import attrgetter

from tacho_contract.launch import LiveConfig
from tacho_contract.report import Report
from tacho_operator.core.pods.view import PodView
from tacho_operator.shell.workqueue import Key

ALL_BYTES = 64 << 20
"""Most bytes that the packed reports of all resources take: 25,000 true ones, 1,000 of random text."""
CACHED_OVERHEAD_BYTES = 500
"""About what a cached report takes beside its packed text and the state of its pod."""


@dataclass(frozen=True, slots=True)
class CachedReport:
    """The last report of a pod, and which state of the pod it belongs to."""

    pod: str
    """Readiness, address and restart counts of the pod. The report is valid while these are unchanged."""
    size: int
    """Bytes of memory of the report, unpacked."""
    until: float
    """Time on the event loop's clock at which the report is read again even if it was final."""
    text: bytes
    serves: bool
    measure_key: str | None
    """Key of the pod's measurement; None: it has none."""
    request: str
    """Request that its measurement answers."""

    @property
    def report(self) -> Report:
        found: Report = pickle.loads(zlib.decompress(self.text))  # noqa: S301 - packed below
        return found

    @property
    def cached_bytes(self) -> int:
        return len(self.text) + len(self.pod) + CACHED_OVERHEAD_BYTES

    def is_final(self, pod: PodView, live: LiveConfig) -> bool:
        """Whether the pod's report will not change, so that it need not be read again.

        That is so for a pod that serves and was measured as requested, until the pod changes, which the watch
        shows.
        """
        if not self.serves or not pod.ready:
            return False
        if self.measure_key is None:
            return live.probe.policy == "Disabled"
        return self.measure_key == live.measure_key and live.again.request in ("", self.request)


def cached(report: Report, pod: str, size: int, until: float) -> CachedReport:
    """``report`` as it is cached."""
    measured = report.measurement
    return CachedReport(
        pod=pod,
        size=size,
        until=until,
        text=zlib.compress(pickle.dumps(report, pickle.HIGHEST_PROTOCOL), level=1),
        serves=report.phase == "Serving" and report.ready,
        measure_key=measured.measure_key if measured else None,
        request=measured.request if measured else "",
    )


@dataclass(slots=True)
class _Namespace:
    of_keys: defaultdict[Key, dict[str, CachedReport]] = field(default_factory=lambda: defaultdict(dict))
    """By pod uid."""
    cached_bytes: int = 0


class ReportCache:
    """Where there is no place, the namespace with most reports has none, and loses what others need."""

    def __init__(self) -> None:
        self._namespaces: dict[str, _Namespace] = {}
        self._bytes = 0
        self._sizes: Counter[Key] = Counter()
        """Bytes of memory of a resource's reports, unpacked."""

    def of(self, key: Key) -> Mapping[str, CachedReport]:
        """The reports of a resource, by pod uid."""
        namespace = self._namespaces.get(key.namespace)
        return namespace.of_keys.get(key, {}) if namespace else {}

    def put(self, key: Key, uid: str, report: CachedReport) -> bool:
        """Caches the report in place of the pod's previous one; False: there is no place."""
        self.drop(key, uid)
        needed = report.cached_bytes
        while self._bytes + needed > ALL_BYTES:
            most = max(self._namespaces.values(), key=attrgetter("cached_bytes"), default=None)
            own = self._namespaces.get(key.namespace)
            if most is None or most.cached_bytes <= (own.cached_bytes if own else 0) + needed:
                return False
            last = next(reversed(most.of_keys))
            self.drop(last, next(reversed(most.of_keys[last])))
        namespace = self._namespaces.setdefault(key.namespace, _Namespace())
        namespace.of_keys[key][uid] = report
        self._add_sizes(key, namespace, needed, report.size)
        return True

    def drop(self, key: Key, uid: str) -> None:
        """Forgets the report of a pod, if there is one."""
        if (report := self.of(key).get(uid)) is None:
            return
        namespace = self._namespaces[key.namespace]
        del namespace.of_keys[key][uid]
        if not namespace.of_keys[key]:
            del namespace.of_keys[key]
        self._add_sizes(key, namespace, -report.cached_bytes, -report.size)
        if not namespace.of_keys:
            del self._namespaces[key.namespace]

    def forget(self, key: Key) -> None:
        """Forgets the reports of a deleted resource."""
        for uid in list(self.of(key)):
            self.drop(key, uid)

    def _add_sizes(self, key: Key, namespace: _Namespace, change: int, size: int) -> None:
        self._bytes += change
        namespace.cached_bytes += change
        self._sizes[key] += size
        if not self._sizes[key]:
            del self._sizes[key]
