"""The pod template of a server pod before its model is inspected, for a dry run that shows what the cluster
refuses.

It requests the least that any plan may request: a quota that refuses this pod refuses every plan.
"""

from __future__ import annotations

from tacho_contract.model import ModelFiles
from tacho_engines.shared.images import engine_image
from tacho_operator.api.types import LLMDeployment
from tacho_operator.core.manifests.pod_template import pod_template
from tacho_operator.core.planner.request import PlanRequest, request_of
from tacho_operator.core.planner.types import ModelPlan, Prediction
from tacho_operator.core.types import Config, Manifest

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
    if request.gpu_count is not None:
        return request.gpu_count
    options = request.options
    if options.tensor or options.pipeline:
        return (options.tensor or 1) * (options.pipeline or 1)
    return 1 if request.products else 0
