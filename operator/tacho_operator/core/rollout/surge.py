"""The size of a rollout: how many pods the Deployments of all revisions may have together."""

from __future__ import annotations

from collections.abc import Collection, Mapping

DEFAULT_MAX_SURGE = "25%"


def surge(most: int | str | None, replicas: int) -> int:
    """Number of pods that a rollout may have beyond ``replicas``. ``most``: rollout.maxSurge."""
    most = DEFAULT_MAX_SURGE if most is None else most
    return max(1, most if isinstance(most, int) else -(-replicas * int(most.removesuffix("%")) // 100))


def bounded(
    desired: Mapping[str, int],
    existing: Mapping[str, int],
    ready: Mapping[str, int],
    *,
    known: Collection[str],
    first: str,
    limit: int,
) -> dict[str, int]:
    """The sizes to write: ``desired``, less what exceeds ``limit``. Pods are added only up to ``limit``,
    beside all that exist before the step: the sum is never more than that, or than it was.

    Wanted pods that are ready stay. The revision ``first`` is next, as the others' further pods may never
    become ready. A Deployment without room for its first pod is not created yet.
    """
    # Deployments of unknown revisions cannot shrink: waiting for that, no successor would ever be complete.
    have = {name: existing.get(name, 0) if name in known else size for name, size in desired.items()}
    leaving = sum(size for name, size in existing.items() if name not in desired and name in known)
    sizes = {name: min(size, ready[name]) if name in known else size for name, size in desired.items()}
    addable = max(0, limit - leaving - sum(have.values()))
    unassigned = max(0, limit - sum(sizes.values()))
    for name in sorted(desired, key=lambda name: name != first):
        granted = min(desired[name] - sizes[name], unassigned)
        unassigned -= granted
        sizes[name] = min(sizes[name] + granted, have[name] + addable)
        addable -= max(0, sizes[name] - have[name])
    return {
        name: size
        for name, size in sizes.items()
        if name in known and (size or not desired[name] or name in existing)
    }
