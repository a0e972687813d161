"""The rules of spec.autoscaling: bounds that contradict no other, and never none."""

from __future__ import annotations

from collections.abc import Iterator

from tacho_operator.api.rules.rule import Rule

_PATHS = (
    ("autoscaling", "spec.autoscaling", "autoscaling"),
    ("schedule", "spec.autoscaling.schedules[]", "autoscaling.schedules"),
)


def autoscaling_rules() -> Iterator[Rule]:
    """Of the bounds, wherever they stand."""
    for name, path, said in _PATHS:
        yield Rule(
            name=f"{name}-zero",
            path=path,
            cel="!has(self.minReplicas) || self.minReplicas >= 1",
            message=f"{said}: minReplicas is 0, but without a pod nobody counts requests, and nobody holds "
            "them until one has started; set it to 1. To scale to zero, leave autoscaling out and put "
            "something in front that holds requests: KEDA's HTTP add-on, or a gateway's queue",
        )
    yield Rule(
        name="autoscaling-bounds",
        path="spec.autoscaling",
        cel="(has(self.minReplicas) ? self.minReplicas : 1) <= self.maxReplicas",
        message="autoscaling.minReplicas exceeds maxReplicas; lower it or raise maxReplicas",
    )
    yield Rule(
        name="schedule-bounds",
        path="spec.autoscaling.schedules[]",
        cel="!has(self.minReplicas) || !has(self.maxReplicas) || self.minReplicas <= self.maxReplicas",
        message="a schedule's minReplicas exceeds its maxReplicas; lower it or raise maxReplicas",
    )
    yield Rule(
        name="schedule-says",
        path="spec.autoscaling.schedules[]",
        cel="(has(self.minReplicas) || has(self.maxReplicas)) && "
        "(!has(self.maxReplicas) || self.maxReplicas >= 1)",
        message="a schedule needs minReplicas, or a maxReplicas of at least 1; set one of them",
    )
