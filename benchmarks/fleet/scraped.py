"""How large one read of /metrics is by family, without a cluster: resources that serve and are measured.

python -m benchmarks.fleet.scraped [--resources 2000]

Each resource has the status and the figures of one that a reconcile of the test world has brought up, with a
load and autoscaling.
"""

from __future__ import annotations

import argparse
from collections import Counter

from prometheus_client import CollectorRegistry, generate_latest

from tacho_operator.api.types import LLMDeployment
from tacho_operator.core.autoscaling.algorithm.types import ConditionState, Decision, Figures, Sample
from tacho_operator.shell.metrics import Metrics
from tacho_operator.shell.resource_metrics import ScalingMetrics
from tacho_operator.shell.workqueue import Key
from tools.harness.world import World

JUDGED = ConditionState("True", "Steady", "")
FIGURES = Figures(
    demand=0.5123,
    utilization=0.2561,
    running=3,
    waiting=0,
    trusted_requests_per_second=2.125,
    trusted_prefill_tokens_per_second=512.5,
    trusted_output_tokens_per_second=412.5,
    cold_start_seconds=93.5,
)


def fleet(resources: int) -> CollectorRegistry:
    """What the operator exports about so many resources."""
    world = World()
    world.come_up()
    status = LLMDeployment.model_validate(world.raw).status
    assert status.measurements, "a resource without figures is smaller than one of a fleet"
    metrics = Metrics(CollectorRegistry())
    scaling = ScalingMetrics(metrics.registry)
    decision = Decision(
        replicas=2, cause="Load", reason="", figures=FIGURES, active=JUDGED, able=JUDGED, limited=JUDGED
    )
    for index in range(resources):
        key = Key(f"team-{index % 20}", f"model-{index:05}")
        metrics.observe(key, status, desired_replicas=1)
        scaling.decided(key, decision, before=1, after=1, scaled=True, objective=0.95)
        scaling.served(
            key, Sample(time_seconds=0.0, generated_tokens=0), Sample(time_seconds=1, generated_tokens=9)
        )
    return metrics.registry


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--resources", type=int, default=2000)
    registry = fleet(parser.parse_args().resources)
    sizes, series = Counter[str](), Counter[str]()
    for line in generate_latest(registry).decode().splitlines(keepends=True):
        if not line.startswith("#"):
            name = line.split("{")[0].split(" ")[0]
            sizes[name] += len(line)
            series[name] += 1
    for name, size in sizes.most_common():
        if size > 1000:
            print(f"{size / 1e6:6.2f} MB {series[name]:7} {name}")
    print(f"{sizes.total() / 1e6:6.2f} MB {series.total():7} in all")


if __name__ == "__main__":
    main()
