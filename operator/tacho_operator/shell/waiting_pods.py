"""The order in which many pods are read: namespaces take turns, and pods that did not answer come last."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping

SILENT_PODS = "silent pods"
"""Key under which all silent pods wait together, beside the namespaces; no namespace can have this name."""
NAMESPACE_SHARE = 4
"""Share of the connections that one namespace may use while others wait (1/4): all its pods may be slow."""


class WaitingPods:
    """Addresses of the pods that are still to be read, by namespace."""

    def __init__(self, addresses: Iterable[str], namespaces: Mapping[str, str], at_once: int) -> None:
        self._namespaces, self._at_once = namespaces, at_once
        self.left: dict[str, deque[str]] = {}
        """Waiting addresses by namespace; the namespace that has waited longest for its turn comes first."""
        self._taken: Counter[str] = Counter()
        self._unread: Counter[str] = Counter()
        """Number of pods by namespace that were not read yet."""
        for address in addresses:
            namespace = namespaces.get(address, "")
            self.left.setdefault(namespace, deque()).append(address)
            self._unread[namespace] += 1

    def take(self) -> str | None:
        """The address of the next pod to read; None while no namespace may use another connection."""
        others, share = len(self.left) - (SILENT_PODS in self.left), max(1, self._at_once // NAMESPACE_SHARE)
        most = share if others > 1 else self._at_once
        free = (name for name in self.left if name != SILENT_PODS and self._taken[name] < most)
        namespace = next(free, None)
        if (
            namespace is None
            and SILENT_PODS in self.left
            and self._taken[SILENT_PODS] < (share if others else most)
        ):
            namespace = SILENT_PODS
        if namespace is None:
            return None
        addresses = self.left.pop(namespace)
        address = addresses.popleft()
        if addresses:
            self.left[namespace] = addresses
        self._taken[namespace] += 1
        return address

    def give_back(self, address: str) -> str | None:
        """Notes that the connection to ``address`` has ended, so that its namespace may have another one.

        Returns the namespace if this was its last pod; None: others are still to be read.
        """
        namespace = self._namespaces.get(address, "")
        self._taken[namespace] -= 1
        self._unread[namespace] -= 1
        return None if self._unread[namespace] else namespace


def alternating(addresses: Iterable[str], namespaces: Mapping[str, str]) -> Iterator[str]:
    """``addresses``, of each namespace in their order, one of each namespace in turn."""
    lines: dict[str, deque[str]] = {}
    for address in addresses:
        lines.setdefault(namespaces.get(address, ""), deque()).append(address)
    while lines:
        for namespace, line in list(lines.items()):
            yield line.popleft()
            if not line:
                del lines[namespace]
