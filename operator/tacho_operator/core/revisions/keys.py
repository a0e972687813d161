"""What was measured has two keys, the plan's and the workload's; a fingerprint joins them."""

from __future__ import annotations

from tacho_contract import codec
from tacho_contract.launch import LiveConfig, ProbeSettings, ServiceLevel
from tacho_contract.measurement import Environment, Workload
from tacho_operator.api.defaults import probe_settings, service_level, workload
from tacho_operator.api.types import LLMDeploymentSpec
from tacho_operator.core import names
from tacho_operator.core.planner.types import ModelPlan

PROBE_SCHEMA = 2
"""Part of every plan key. Raised when the probe's figures mean something else than before."""


def live_config(spec: LLMDeploymentSpec) -> LiveConfig:
    """The mounted part of the configuration, with the key under which its measurement is filed."""
    return asked(workload(spec), service_level(spec), probe_settings(spec), spec.startup_timeout_seconds or 0)


def asked(
    shape: Workload, level: ServiceLevel, settings: ProbeSettings, startup_timeout_seconds: int = 0
) -> LiveConfig:
    """What a probe is asked, with its key."""
    return LiveConfig(
        measure_key=names.digest([codec.to_dict(part) for part in (shape, level, settings)]),
        workload=shape,
        slo=level,
        probe=settings,
        startup_timeout_seconds=startup_timeout_seconds,
    )


def plan_key(plan: ModelPlan, spec: LLMDeploymentSpec) -> str:
    """What of a plan a measurement depends on: model, quantization, image, arguments, shape, resources."""
    engine = spec.engine
    written = engine.model_dump(mode="json", by_alias=True, exclude_defaults=True) if engine else {}
    return names.digest(
        {
            "probeSchema": PROBE_SCHEMA,
            "model": [plan.files.digest, plan.files.files_digest, plan.files.model_file],
            "quantization": [
                plan.quantization_method,
                spec.quantization.to_wire() if spec.quantization else {},
            ],
            "image": [plan.engine, plan.image, list(plan.entrypoint)],
            "arguments": [list(plan.arguments), written.get("extraArgs", []), written.get("env", [])],
            "custom": written.get("custom", {}),
            "gpu": [plan.gpu_product, plan.gpu_count],
            "parallelism": [plan.tensor_parallel, plan.pipeline_parallel],
            "context": [plan.max_model_len, plan.concurrency],
            "resources": written.get("resources", {}),
        }
    )


def fingerprint(plan_key_: str, measure_key: str, image_id: str, environment: Environment) -> str:
    """Names one measurement: both keys and what only the running pod shows."""
    shown = [
        image_id,
        environment.gpu_product,
        environment.gpu_count,
        environment.driver_version,
        environment.cpu_model,
        environment.cpu_count,
        environment.cpu_limit_millis,
    ]
    return names.digest([plan_key_, measure_key, shown], 16)
