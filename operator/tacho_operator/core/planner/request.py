"""The fields of a spec that the planner reads. None: the user left the choice to tacho."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from tacho_contract.launch import ServiceLevel
from tacho_engines.base import EngineOptions
from tacho_engines.profile import EngineProfile
from tacho_engines.registry import engine_profile
from tacho_operator.api import defaults
from tacho_operator.api.base import parse_quantity, quantity_bytes
from tacho_operator.api.spec.podtemplate import PodSpecSubset
from tacho_operator.api.types import LLMDeploymentSpec
from tacho_operator.core.pods.nodes import PodPlacement
from tacho_operator.core.types import Config

_DEFAULT = Config(tacho_image="")


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanRequest:
    """The fields of a spec that the planner reads. None and "" mean: not set."""

    engine: str
    image: str
    method: str
    products: tuple[str, ...]
    gpu_count: int | None
    gpu_resource: str
    max_model_len: int | None
    concurrency: int | None
    input_tokens: int
    output_tokens: int
    service_level: ServiceLevel
    options: EngineOptions
    placement: PodPlacement
    """Where pods without GPUs may run."""
    on_gpus: PodPlacement
    """Where pods with GPUs may run."""
    python: str
    tried_gpus: tuple[str, ...] = ()
    """Kinds of GPU that are not to be planned: no node had a free one."""

    @property
    def row(self) -> EngineProfile | None:
        """The profile of the requested engine, or of its preset's server; None: the user named no engine."""
        return engine_profile(self.engine, self.options.preset) if self.engine else None

    @property
    def requested_gpus(self) -> int | None:
        """GPUs of one replica by ``gpu.count``, else by parallelism; None: the user left it open."""
        options = self.options
        if self.gpu_count is None and (options.tensor or options.pipeline):
            return (options.tensor or 1) * (options.pipeline or 1)
        return self.gpu_count

    @property
    def request_tokens(self) -> int:
        """Tokens of one request of the workload."""
        return self.input_tokens + self.output_tokens


def request_of(spec: LLMDeploymentSpec, config: Config = _DEFAULT) -> PlanRequest:
    """The planner's view of ``spec``. Environment variables that come from Secrets or ConfigMaps have unknown
    values.

    Without ``config.in_pods`` the engine starts from this Python installation, and no CPUs are reserved.
    """
    in_pods = config.in_pods
    engine, quantization, gpu = spec.engine, spec.quantization, spec.gpu
    bitsandbytes = quantization.bitsandbytes if quantization else None
    pod = spec.pod_template.spec if spec.pod_template else None
    limits = engine.resources.limits if engine and engine.resources else {}
    requests = engine.resources.requests if engine and engine.resources else {}
    promised, usable = {**limits, **requests}, {**requests, **limits}
    custom = engine.custom if engine else None
    workload = defaults.workload(spec)
    placement = _placement(pod)
    return PlanRequest(
        engine=(engine.name if engine else None) or "",
        image=engine.image if engine else "",
        method=(quantization.method if quantization else None) or "",
        products=tuple(gpu.products) if gpu else (),
        gpu_count=gpu.count if gpu else None,
        gpu_resource=defaults.gpu_resource(spec),
        max_model_len=spec.context.max_model_len if spec.context else None,
        concurrency=spec.context.concurrency if spec.context else None,
        input_tokens=workload.input_tokens,
        output_tokens=workload.output_tokens,
        service_level=defaults.service_level(spec),
        options=EngineOptions(
            arguments=tuple(engine.extra_args) if engine else (),
            env={e.name: e.value for e in engine.env if e.value is not None} if engine else {},
            kv_cache_dtype=(quantization.kv_cache_dtype if quantization else None) or "",
            double_quant=bitsandbytes.double_quant if bitsandbytes else None,
            compute_dtype=(bitsandbytes.compute_dtype if bitsandbytes else None) or "",
            tensor=spec.parallelism.tensor if spec.parallelism else None,
            pipeline=spec.parallelism.pipeline if spec.parallelism else None,
            preset=(custom.preset if custom else None) or "",
            own_image=bool(engine and engine.name and engine.image),
            trust_remote_code=bool(spec.model.trust_remote_code),
            cpu_cores=float(parse_quantity(promised["cpu"])) if in_pods and "cpu" in promised else None,
            usable_cpus=float(parse_quantity(usable["cpu"])) if in_pods and "cpu" in usable else None,
            memory_limit_bytes=quantity_bytes(limits["memory"]) if "memory" in limits else None,
        ),
        placement=placement,
        on_gpus=replace(
            placement, tolerations=(*placement.tolerations, *gpu_tolerations(spec, config.gpu_tolerations))
        ),
        python=(custom.python if custom else None) or "",
    )


def _placement(pod: PodSpecSubset | None) -> PodPlacement:
    if pod is None:
        return PodPlacement(selector={}, tolerations=())
    nodes = pod.affinity.node_affinity if pod.affinity else None
    required = nodes.required_during_scheduling_ignored_during_execution if nodes else None
    return PodPlacement(
        selector=dict(pod.node_selector),
        tolerations=tuple(item.to_wire() for item in pod.tolerations),
        terms=tuple(item.to_wire() for item in required.node_selector_terms) if required else (),
    )


def gpu_tolerations(
    spec: LLMDeploymentSpec, configured: Iterable[Mapping[str, str]]
) -> tuple[Mapping[str, str], ...]:
    """The tolerations that a pod with GPUs has without a word in spec. That of ``nvidia.com/gpu`` follows the
    vendor of ``gpu.resourceName``, for a custom engine.
    """
    vendor = defaults.gpu_resource(spec).partition("/")[0]
    return tuple(
        {**item, "key": f"{vendor}/gpu"} if item.get("key") == defaults.GPU_RESOURCE else item
        for item in configured
    )
