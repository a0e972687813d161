"""What the API already has a place for but tacho does not do yet: refused, never ignored.

Each gate is one entry. Lifting it is removing that entry; the table of accepted and refused resources
names gates, so it needs no change.
"""

from __future__ import annotations

from .rule import Rule


def _gate(name: str, cel: str, what: str, instead: str) -> Rule:
    return Rule(name=name, path="spec", cel=cel, message=f"{what}: not supported yet; {instead}")


def _absent(name: str, what: str, instead: str) -> Rule:
    return _gate(f"{name}-absent", f"!has(self.{name})", what, instead)


PLANNED: tuple[Rule, ...] = (
    _gate(
        "engine-name-required",
        "has(self.engine) && has(self.engine.name)",
        "leaving the engine to tacho",
        "set engine.name",
    ),
    _gate(
        "gpu-count-required",
        "has(self.gpu) && has(self.gpu.count)",
        "leaving the number of GPUs to tacho",
        "set gpu.count to 0",
    ),
    _gate(
        "gpu-count-zero",
        "!has(self.gpu) || !has(self.gpu.count) || self.gpu.count == 0",
        "GPUs",
        "set gpu.count to 0",
    ),
    _gate(
        "gpu-products-absent",
        "!has(self.gpu) || !has(self.gpu.products) || self.gpu.products.size() == 0",
        "choosing among GPU products",
        "remove gpu.products",
    ),
    _gate(
        "gpu-resource-name-absent",
        "!has(self.gpu) || !has(self.gpu.resourceName)",
        "GPUs under another resource name",
        "remove gpu.resourceName",
    ),
    _gate(
        "engine-built",
        "!has(self.engine) || !has(self.engine.name) || self.engine.name in ['llamacpp', 'custom']",
        "this engine",
        "set engine.name to llamacpp or custom",
    ),
    _gate(
        "quantization-method-built",
        "!has(self.quantization) || !has(self.quantization.method)"
        " || self.quantization.method in ['none', 'gguf']",
        "this quantization method",
        "set quantization.method to gguf or none",
    ),
    _gate(
        "quantization-bitsandbytes-absent",
        "!has(self.quantization) || !has(self.quantization.bitsandbytes)",
        "bitsandbytes",
        "remove quantization.bitsandbytes",
    ),
    _gate(
        "quantization-kv-cache-dtype-absent",
        "!has(self.quantization) || !has(self.quantization.kvCacheDtype)",
        "quantizing the KV cache",
        "remove quantization.kvCacheDtype",
    ),
    _gate(
        "parallelism-one",
        "!has(self.parallelism) || ((!has(self.parallelism.tensor) || self.parallelism.tensor == 1)"
        " && (!has(self.parallelism.pipeline) || self.parallelism.pipeline == 1))",
        "spreading a replica over several GPUs",
        "remove parallelism",
    ),
)
"""What the planner understands already: `tacho plan` plans with it, a cluster refuses it."""

GATES: tuple[Rule, ...] = (
    *PLANNED,
    _gate(
        "engine-custom-preset-absent",
        "!has(self.engine) || !has(self.engine.custom) || !has(self.engine.custom.preset)",
        "presets of custom engines",
        "remove engine.custom.preset and set engine.custom.command and port",
    ),
    _absent("slo", "promises (slo)", "remove slo"),
    _absent("autoscaling", "scaling by measured capacity", "remove autoscaling and set replicas"),
    _absent("rollout", "settings of rollouts", "remove rollout; a new revision surges and then takes over"),
    _absent("cost", "costs", "remove cost"),
    _absent("endpoint", "API keys and allowed namespaces", "remove endpoint"),
)
