"""What identifies a measurement: plan, workload, image and hardware."""

from __future__ import annotations

from tacho_contract.measurement import Environment
from tacho_operator.core import names


def fingerprint(plan_key: str, measure_key: str, image_id: str, environment: Environment) -> str:
    """Identifies one measurement: both keys, and image and hardware of the running pod."""
    observed = [
        image_id,
        environment.gpu_product,
        environment.gpu_count,
        environment.driver_version,
        environment.cpu_model,
        environment.cpu_count,
        environment.cpu_limit_millis,
    ]
    return names.digest([plan_key, measure_key, observed], 16)
