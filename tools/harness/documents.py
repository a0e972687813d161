"""The runtime's documents for a test: what it says nothing of is filled in."""

from __future__ import annotations

from typing import Any

from tacho_contract.measurement import Measurement, Workload
from tacho_contract.report import Report

OBSERVED = "2026-01-01T00:00:00Z"


def plain_measurement(**fields: Any) -> Measurement:
    """A complete one without figures."""
    plain = {"plan_key": "p", "measure_key": "m", "observed_time": OBSERVED, "state": "Complete"}
    return Measurement(**{**plain, "probe_seconds": 1.0, "workload": Workload(), **fields})


def plain_report(**fields: Any) -> Report:
    """That of a pod that serves."""
    plain = {"runtime_version": "1", "revision": "r", "plan_key": "p", "phase": "Serving"}
    return Report(**{**plain, "engine": "vllm", "observed_time": OBSERVED, **fields})
