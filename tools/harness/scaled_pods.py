"""Pods with a known performance model: total load arrives at all pods, and each reports its part as an engine
counts it."""

from __future__ import annotations

import threading
import time
from collections import Counter

from tacho_contract.report import LatencyHistogram, Load

TOKENS_PER_REPLICA = 400.0
"""Output tokens per second of one full replica: two requests a second of 200 tokens, as it was measured."""


class Pods:
    """``demand`` is in replicas, and evenly spread. Every look is a read of counters, at any pace."""

    def __init__(self) -> None:
        self.demand = 0.0
        self.silent = False
        self.late: bool | None = None
        """Whether requests miss their TPOT, by the histograms of the pods; None: they have none."""
        self.judged_per_second = 1.0
        """Requests that each histogram counts. The scaler believes a few times the measured rate."""
        self.reads: Counter[str] = Counter()
        """How often each address was asked."""
        self._counted: dict[str, tuple[float, float]] = {}
        self._judged: dict[str, tuple[int, int]] = {}
        """Requests by address: those within the TPOT, and all."""
        self._lock = threading.Lock()

    def load(self, address: str, serving: int) -> Load | None:
        """What the pod at ``address`` answers, one of ``serving``; None: nothing."""
        self.reads[address] += 1
        if self.silent:
            return None
        with self._lock:
            now = time.monotonic()
            since, total = self._counted.get(address, (now, 0.0))
            total += (now - since) * TOKENS_PER_REPLICA * self.demand / max(1, serving)
            self._counted[address] = (now, total)
            tpot = self._tpot(address, now - since)
        return Load(
            running=1 if self.demand else 0,
            waiting=0,
            generation_tokens_total=total,
            prompt_tokens_total=0.0,
            tpot=tpot,
            observed_time=str(now),
        )

    def _tpot(self, address: str, seconds: float) -> LatencyHistogram | None:
        if self.late is None:
            return None
        met, judged = self._judged.get(address, (0, 0))
        more = round(self.judged_per_second * seconds)
        met, judged = met + more * (not self.late), judged + more
        self._judged[address] = (met, judged)
        return LatencyHistogram(edges_seconds=(0.01, 10.0), counts=(met, met), total=judged)
