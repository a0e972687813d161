"""The pod template of one revision. It is built once and stored in the revision's ControllerRevision.

Before a model is inspected, a template without a plan is tried, to show what the cluster refuses. It requests
the least that any plan may request: a quota that refuses this pod refuses every plan.
"""

from __future__ import annotations

import copy
from dataclasses import replace

from tacho_contract.fetch import FetchConfig
from tacho_contract.launch import CustomEngine, PlannedGpus, PlannedModel, RuntimeConfig, RuntimePaths
from tacho_contract.model import ModelFiles
from tacho_contract.pod import CACHE_DIR, FETCH_DIR, HEALTH_PATH
from tacho_contract.uri import HubUri
from tacho_engines.registry import engine_profile, presets
from tacho_engines.shared.compatibility import least_capability
from tacho_engines.shared.images import engine_image
from tacho_operator.api.defaults import gpu_resource, grace_seconds
from tacho_operator.api.rules.pod_template import PRE_STOP_SECONDS
from tacho_operator.api.spec.engine import CustomEngineSpec
from tacho_operator.api.spec.podtemplate import PodSpecSubset
from tacho_operator.api.types import LLMDeployment
from tacho_operator.core import names
from tacho_operator.core.manifests import containers, volumes
from tacho_operator.core.manifests.containers import pod_security
from tacho_operator.core.manifests.environment import ca_volume, hub_endpoint
from tacho_operator.core.names import ROLE_SERVER, labels, server_selector
from tacho_operator.core.planner.devices import product_label
from tacho_operator.core.planner.request import PlanRequest, gpu_tolerations, request_of
from tacho_operator.core.planner.types import ModelPlan, Prediction
from tacho_operator.core.pods.avoided_nodes import avoiding
from tacho_operator.core.types import Config, Manifest

_INSPECT_FIELDS = (
    "nodeSelector",
    "tolerations",
    "affinity",
    "imagePullSecrets",
    "serviceAccountName",
    "priorityClassName",
    "schedulerName",
)


def template_spec(resource: LLMDeployment) -> Manifest:
    """The user's podTemplate.spec as a dict, without empty fields."""
    template = resource.spec.pod_template
    subset = template.spec if template and template.spec else PodSpecSubset()
    written: Manifest = subset.model_dump(
        mode="json", by_alias=True, exclude_none=True, exclude_defaults=True
    )
    found = {key: value for key, value in written.items() if value not in ({}, [], "")}
    for constraint in found.get("topologySpreadConstraints", []):
        constraint.setdefault("labelSelector", {"matchLabels": server_selector(resource.metadata.name)})
    return found


def _spread(name: str, *, gpu: bool) -> list[Manifest]:
    """Constraints that spread replicas over nodes and zones where possible, so that the loss of one leaves
    others.

    With GPUs, a marker pod counts as a replica. Else a node that new pods should avoid would attract them, as
    it has the fewest.
    """
    selector: Manifest = {"matchLabels": server_selector(name)}
    if gpu:
        roles = {"key": names.ROLE_LABEL, "operator": "In", "values": [names.ROLE_AVOID, ROLE_SERVER]}
        selector = {"matchLabels": {names.DEPLOYMENT_LABEL: name}, "matchExpressions": [roles]}
    return [
        {
            "maxSkew": 1,
            "topologyKey": key,
            "whenUnsatisfiable": "ScheduleAnyway",
            "labelSelector": copy.deepcopy(selector),
        }
        for key in ("kubernetes.io/hostname", "topology.kubernetes.io/zone")
    ]


def inspect_spec(resource: LLMDeployment) -> Manifest:
    """The fields of podTemplate.spec that decide on which nodes an inspect pod may run; no GPUs and no
    volumes."""
    return {key: value for key, value in template_spec(resource).items() if key in _INSPECT_FIELDS}


def template_labels(resource: LLMDeployment) -> dict[str, str]:
    template = resource.spec.pod_template
    return dict(template.metadata.labels) if template and template.metadata else {}


def template_annotations(resource: LLMDeployment) -> dict[str, str]:
    template = resource.spec.pod_template
    return dict(template.metadata.annotations) if template and template.metadata else {}


DRAIN_MARGIN_SECONDS = 15
"""Seconds between the end of draining and SIGKILL, in which the engine stops."""


def fetch_config(resource: LLMDeployment, plan: ModelPlan, default_hub: str = "") -> FetchConfig | None:
    """The settings of the model's download; None where the model is on a claim.

    ``default_hub``: the hub URL in the operator's settings.
    """
    source = resource.spec.model.source
    if not isinstance(source, HubUri):
        return None
    return FetchConfig(
        repository=source.repository,
        files=plan.files,
        endpoint=hub_endpoint(resource.spec.model, default_hub),
    )


def runtime_config(resource: LLMDeployment, plan: ModelPlan, revision: str, plan_key: str) -> RuntimeConfig:
    source = resource.spec.model.source
    engine = resource.spec.engine
    quantization = resource.spec.quantization
    custom = engine.custom if engine else None
    # Which files a custom command reads is not known.
    parsed = engine_profile(plan.engine).predicted
    drain = grace_seconds(resource.spec) - PRE_STOP_SECONDS - DRAIN_MARGIN_SECONDS
    return RuntimeConfig(
        revision=revision,
        plan_key=plan_key,
        engine=plan.engine,
        entrypoint=plan.entrypoint,
        model=PlannedModel(
            path=volumes.mounted_path(source),
            globs=plan.files.globs,
            file=plan.files.model_file,
            files_digest=plan.files.files_digest,
            headers_digest="" if isinstance(source, HubUri) or not parsed else plan.files.digest,
            content_digest=plan.files.content_digest,
            weights_bytes=plan.files.total_bytes,
        ),
        served_name=resource.spec.model.served_name or resource.metadata.name,
        max_model_len=plan.max_model_len,
        concurrency=plan.concurrency,
        tensor_parallel=plan.tensor_parallel,
        pipeline_parallel=plan.pipeline_parallel,
        gpus=_planned_gpus(plan) if plan.gpu_count else PlannedGpus(),
        quantization_method=_method(plan),
        kv_cache_dtype=(quantization.kv_cache_dtype if quantization else None) or "",
        extra_args=(*plan.arguments, *(engine.extra_args if engine else ())),
        custom=_custom(custom) if custom else None,
        engine_port=containers.engine_port(resource),
        predicted_weights_bytes=plan.predicted.weights_bytes or 0,
        image=plan.image,
        paths=RuntimePaths(
            cache_dir=CACHE_DIR if volumes.cache_claim(resource, plan.engine) else "",
            fetch_dir=FETCH_DIR if isinstance(source, HubUri) else "",
        ),
        drain_seconds=max(1, drain),
    )


def _planned_gpus(plan: ModelPlan) -> PlannedGpus:
    return PlannedGpus(
        count=plan.gpu_count,
        product=plan.gpu_product,
        least_capability=_least_capability(plan),
        needed_bytes=_required_gpu_bytes(plan),
    )


def _method(plan: ModelPlan) -> str:
    """The method that the runtime checks: ``none`` for a format of which tacho has no method."""
    known = [item.method for item in engine_profile(plan.engine).methods]
    return plan.quantization_method if plan.quantization_method in known or not known else "none"


def _least_capability(plan: ModelPlan) -> str:
    """Lowest CUDA compute capability that engine and method need; "" where unknown."""
    found = [item for item in engine_profile(plan.engine).methods if item.method == _method(plan)]
    return ".".join(map(str, least_capability(found[0], plan.engine_version))) if found else ""


def _required_gpu_bytes(plan: ModelPlan) -> int:
    """Free bytes that each GPU needs before the start: the predicted use, at most the engine's budget."""
    predicted = plan.predicted
    return min(predicted.total_bytes or 0, predicted.budget_bytes or predicted.total_bytes or 0)


def _custom(custom: CustomEngineSpec) -> CustomEngine:
    preset = presets().get(custom.preset or "")
    usual = preset.health_path if preset else HEALTH_PATH
    made = CustomEngine(command=tuple(custom.command), health_path=custom.health_path or usual)
    if preset is None:
        return made
    # These servers take a key as an argument alone, which is not secret: no variable holds one.
    return replace(made, version_path=preset.version_path, api_key_variable="")


def _select_product(spec: Manifest, resource: LLMDeployment, plan: ModelPlan) -> None:
    """Restricts the pod to nodes with the planned GPU product: a revision's measurements hold for one."""
    if plan.gpu_count and plan.gpu_product:
        label = product_label(gpu_resource(resource.spec))
        spec["nodeSelector"] = {**spec.get("nodeSelector", {}), label: plan.gpu_kind}


def pod_template(
    resource: LLMDeployment,
    plan: ModelPlan,
    *,
    revision: str,
    plan_key: str,
    config: Config,
) -> Manifest:
    """The complete pod template (metadata and spec) of the server pods of ``revision``."""
    tacho = config.injected
    source = resource.spec.model.source
    own = labels(resource.metadata.name, ROLE_SERVER, revision)
    metadata: Manifest = {"labels": {**template_labels(resource), **own}}
    annotations = {
        **template_annotations(resource),
        "kubectl.kubernetes.io/default-container": names.ENGINE_CONTAINER,
    }
    metadata["annotations"] = annotations
    user = template_spec(resource)
    ca_volumes, _ = ca_volume(resource.spec.model) if isinstance(source, HubUri) else ([], [])
    init = [containers.inject(tacho, config.image_pull_policy)]
    if (fetching := fetch_config(resource, plan, config.hub_endpoint)) is not None:
        init.append(containers.fetch(resource, fetching, tacho.image, config.image_pull_policy))
    runtime = runtime_config(resource, plan, revision, plan_key)
    spec: Manifest = {
        **user,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": pod_security(),
        "terminationGracePeriodSeconds": grace_seconds(resource.spec),
        "initContainers": init,
        "containers": [containers.engine(resource, plan, runtime, config.image_pull_policy)],
        "volumes": [
            *volumes.pod_volumes(resource, source, plan),
            *ca_volumes,
            *user.get("volumes", []),
        ],
    }
    name, gpu = resource.metadata.name, plan.gpu_count > 0
    spec.setdefault("topologySpreadConstraints", _spread(name, gpu=gpu))
    if gpu:
        spec["affinity"] = avoiding(user.get("affinity", {}), name)
        given: list[Manifest] = user.get("tolerations", [])
        usual: list[Manifest] = [*map(dict, gpu_tolerations(resource.spec, config.gpu_tolerations))]
        if usual:
            spec["tolerations"] = [*given, *(item for item in usual if item not in given)]
    _select_product(spec, resource, plan)
    return {"metadata": metadata, "spec": spec}


_NO_FILES = ModelFiles(commit="", digest="", globs=(), file_count=0, total_bytes=0, files_digest="")


def unplanned_pod_template(resource: LLMDeployment, config: Config) -> Manifest:
    """The pod template (metadata and spec) of a server pod without a plan."""
    request = request_of(resource.spec)
    plan = ModelPlan(
        engine=request.engine or "custom",
        engine_version="",
        image=_image(request, config) or config.tacho_image,
        entrypoint=(),
        quantization_method=request.method,
        files=_NO_FILES,
        gpu_count=_least_gpus(request),
        max_model_len=1,
        concurrency=1,
        # A plan of a model in host memory sets a limit, too.
        predicted=Prediction(total_bytes=None if request.row and not request.row.predicted else 1),
        message="",
    )
    return pod_template(resource, plan, revision="", plan_key="", config=config)


def _image(request: PlanRequest, config: Config) -> str:
    if request.row is None:
        return request.image
    row = request.row.build_for(on_host=_least_gpus(request) == 0)
    return engine_image(row, request.image, config.engine_images, request.method)[0]


def _least_gpus(request: PlanRequest) -> int:
    """Fewest GPUs that a replica may need; 0 where that depends on the model."""
    if request.requested_gpus is not None:
        return request.requested_gpus
    return 1 if request.products else 0
