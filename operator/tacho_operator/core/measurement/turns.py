"""Which resources may start a probe pod next: a bounded number in the cluster, and every namespace alike."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Collection, Iterable

Place = tuple[str, str]
"""Namespace and name of a resource."""


def next_turns(waiting: Iterable[Place], measuring: Collection[Place], limit: int) -> tuple[Place, ...]:
    """Those of ``waiting``, in the order of their arrival, that may start a probe pod now.

    The namespace with the fewest probe pods goes first, of several the one that waits longest. ``measuring``:
    resources with a probe pod. ``limit``: maximum of these in the cluster.
    """
    lines: dict[str, deque[tuple[int, Place]]] = {}
    for arrival, place in enumerate(waiting):
        lines.setdefault(place[0], deque()).append((arrival, place))
    busy = Counter(namespace for namespace, _ in measuring)
    found: list[Place] = []
    while lines and len(measuring) + len(found) < limit:
        namespace = min(lines, key=lambda name: (busy[name], lines[name][0]))
        found.append(lines[namespace].popleft()[1])
        busy[namespace] += 1
        if not lines[namespace]:
            del lines[namespace]
    return tuple(found)
