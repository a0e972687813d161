"""The validation rules between the fields of GPU, workload, probe and autoscaling."""

from __future__ import annotations

from tacho_operator.api.rules.rule import Rule

_GPU = (
    Rule(
        "products-need-gpus",
        "spec.gpu",
        "!has(self.count) || self.count > 0 || !has(self.products) || self.products.size() == 0",
        "gpu.count 0 runs on the CPU; remove gpu.products or set a count",
    ),
    Rule(
        "products-distinct",
        "spec.gpu",
        "!has(self.products) || self.products.all(p, self.products.exists_one(q, q == p))",
        "gpu.products names a product twice; remove one",
    ),
    Rule(
        "parallelism-product",
        "spec",
        "!has(self.parallelism) || !has(self.gpu) || !has(self.gpu.count)"
        " || (!has(self.parallelism.tensor) && !has(self.parallelism.pipeline))"
        " || (has(self.parallelism.tensor)"
        " ? self.parallelism.tensor * (has(self.parallelism.pipeline) ? self.parallelism.pipeline : 1)"
        " == (self.gpu.count > 1 ? self.gpu.count : 1)"
        " : (self.gpu.count > 1 ? self.gpu.count : 1) % self.parallelism.pipeline == 0)",
        "parallelism.tensor times pipeline must be gpu.count (1 on the CPU); change one of them",
    ),
)

_SERVICE = (
    Rule(
        "workload-in-context",
        "spec",
        "!has(self.workload) || !has(self.context) || !has(self.context.maxModelLen)"
        " || (has(self.workload.inputTokens) ? self.workload.inputTokens : 0)"
        " + (has(self.workload.outputTokens) ? self.workload.outputTokens : 0) <= self.context.maxModelLen",
        "workload.inputTokens and outputTokens together exceed context.maxModelLen; shorten the workload or"
        " raise maxModelLen",
    ),
    Rule(
        "slo-has-target",
        "spec.slo",
        "has(self.ttftMilliseconds) || has(self.tpotMilliseconds)",
        "slo has no target; set ttftMilliseconds or tpotMilliseconds, or remove slo",
    ),
    Rule(
        "cost-price",
        "spec.cost",
        "!self.pricePerGPUHour.matches('^0+([.]0+)?$')",
        "cost.pricePerGPUHour is 0; give the price of one GPU for one hour, or remove cost",
    ),
    Rule(
        "probe-times",
        "spec.probe",
        "!has(self.timeoutSeconds) || !has(self.budgetSeconds) || self.budgetSeconds <= self.timeoutSeconds",
        "probe.budgetSeconds exceeds timeoutSeconds; lower it or raise the timeout",
    ),
    Rule(
        "surge-zero",
        "spec.rollout",
        "!has(self.maxSurge) || (self.maxSurge != 0 && self.maxSurge != '0%')",
        "rollout.maxSurge is 0, but a new revision starts beside the old one; set 1 or 1% or more",
    ),
    Rule(
        "gate-needs-probe",
        "spec",
        "!has(self.rollout) || !has(self.rollout.gate) || !has(self.probe) || !has(self.probe.policy)"
        " || self.probe.policy != 'Disabled'",
        "rollout.gate judges measurements, and probe.policy Disabled makes none; remove one of them",
    ),
)

_SCHEDULES = "spec.autoscaling.schedules[]"
_AUTOSCALING = (
    *(
        Rule(
            f"{name}-zero",
            path,
            "!has(self.minReplicas) || self.minReplicas >= 1",
            f"{field}: minReplicas is 0, but without a pod no component counts or queues requests; "
            "set it to 1. To scale to zero, remove autoscaling and queue requests in front of the service: "
            "KEDA's HTTP add-on, or a gateway's queue",
        )
        for name, path, field in (
            ("autoscaling", "spec.autoscaling", "autoscaling"),
            ("schedule", _SCHEDULES, "autoscaling.schedules"),
        )
    ),
    Rule(
        "autoscaling-bounds",
        "spec.autoscaling",
        "(has(self.minReplicas) ? self.minReplicas : 1) <= self.maxReplicas",
        "autoscaling.minReplicas exceeds maxReplicas; lower it or raise maxReplicas",
    ),
    Rule(
        "schedule-bounds",
        _SCHEDULES,
        "!has(self.minReplicas) || !has(self.maxReplicas) || self.minReplicas <= self.maxReplicas",
        "a schedule's minReplicas exceeds its maxReplicas; lower it or raise maxReplicas",
    ),
    Rule(
        "schedule-has-bound",
        _SCHEDULES,
        "(has(self.minReplicas) || has(self.maxReplicas)) && "
        "(!has(self.maxReplicas) || self.maxReplicas >= 1)",
        "a schedule needs minReplicas, or a maxReplicas of at least 1; set one of them",
    ),
)


SERVICE_RULES: tuple[Rule, ...] = (*_GPU, *_SERVICE, *_AUTOSCALING)
