"""The operator's metrics say what their names say."""

from __future__ import annotations

from prometheus_client import CollectorRegistry

from tacho_operator.api.types import LLMDeploymentStatus
from tacho_operator.shell.metrics import Metrics
from tacho_operator.shell.workqueue import Key

KEY = Key("ml", "demo")


def replicas(metrics: Metrics, state: str) -> float | None:
    labels = {"namespace": "ml", "name": "demo", "state": state}
    return metrics.registry.get_sample_value("tacho_llmdeployment_replicas", labels)


def test_replicas_that_are_wanted_and_not_there_are_seen() -> None:
    metrics = Metrics(CollectorRegistry())
    metrics.observe(KEY, LLMDeploymentStatus(replicas=2, ready_replicas=1), wanted_replicas=3)
    assert [replicas(metrics, state) for state in ("desired", "current", "ready")] == [3, 2, 1]
    metrics.forget(KEY)
    assert [replicas(metrics, state) for state in ("desired", "current", "ready")] == [None] * 3
