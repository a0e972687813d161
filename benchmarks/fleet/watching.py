"""Sees when resources come how far, by a watch of its own: asking for two thousand would be a load itself."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

from tacho_operator.shell.api_errors import ApiError
from tacho_operator.shell.kube import Kube

Resource = dict[str, Any]


class Watching:
    """Every LLMDeployment as it is now, with the time of each first."""

    def __init__(self, kube: Kube) -> None:
        self._kube = kube
        self.held: dict[tuple[str, str], Resource] = {}
        self._began: dict[tuple[str, str], float] = {}
        self._reported: dict[tuple[str, str], float] = {}
        self._changed = asyncio.Event()

    async def run(self) -> None:
        while True:
            try:
                await self._follow()
            except ApiError:
                await asyncio.sleep(0.2)

    async def _follow(self) -> None:
        version, found = "", dict[tuple[str, str], Resource]()
        async for page in self._kube.pages("LLMDeployment"):
            version = page.version
            found |= {_name(item): item for item in page.items}
        self.held = found
        for item in found.values():
            self._note(item)
        self._changed.set()
        async with self._kube.watch("LLMDeployment", None, "", version) as events:
            async for what, item in events:
                if what in ("ADDED", "MODIFIED"):
                    self.held[_name(item)] = item
                    self._note(item)
                elif what == "DELETED":
                    self.held.pop(_name(item), None)
                self._changed.set()

    def _note(self, item: Resource) -> None:
        self._began.setdefault(_name(item), time.monotonic())
        if has_status(item):
            self._reported.setdefault(_name(item), time.monotonic())

    def first_status(self) -> dict[str, float]:
        """Seconds from when each was seen to its first status; and of all, from the first to the last."""
        taken = sorted(self._reported[name] - self._began[name] for name in self._reported)
        return {
            "half": round(taken[len(taken) // 2], 2),
            "of100no99": round(taken[len(taken) * 99 // 100], 2),
            "slowest": round(taken[-1], 2),
            "fromTheFirstMadeToTheLastTold": round(
                max(self._reported.values()) - min(self._began.values()), 1
            ),
            "made": round(max(self._began.values()) - min(self._began.values()), 1),
        }

    async def until(self, count: int, true: Callable[[Resource], bool], limit_seconds: float) -> float:
        """Seconds until ``count`` resources are so. Raises TimeoutError with how many were."""
        started, next_check = time.monotonic(), 0.0
        found = 0
        while found < count:
            left = started + limit_seconds - time.monotonic()
            if left <= 0:
                raise TimeoutError(f"after {limit_seconds:.0f} s {found} of {count}")
            try:
                async with asyncio.timeout(left):
                    await self._changed.wait()
            except TimeoutError:
                continue
            self._changed.clear()
            if time.monotonic() >= next_check or found >= count - 5:
                found = sum(map(true, self.held.values()))
                next_check = time.monotonic() + 0.1
        return time.monotonic() - started


def _name(item: Resource) -> tuple[str, str]:
    return item["metadata"]["namespace"], item["metadata"]["name"]


def has_status(item: Resource) -> bool:
    """Its status speaks of its spec."""
    return bool((item.get("status") or {}).get("observedGeneration") == item["metadata"]["generation"])


def is_so(kind: str, reason: str = "") -> Callable[[Resource], bool]:
    """A condition that is True, or has that reason."""

    def true(item: Resource) -> bool:
        found = (item.get("status") or {}).get("conditions") or ()
        return any(
            entry["type"] == kind and (entry["reason"] == reason if reason else entry["status"] == "True")
            for entry in found
        )

    return true
