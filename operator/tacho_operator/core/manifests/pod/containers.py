"""The containers: inspect looks, inject copies the runtime, fetch brings the model, engine serves it."""

from __future__ import annotations

from tacho_contract import codec
from tacho_contract.fetch import ENV_FETCH_CONFIG, FetchConfig
from tacho_contract.inspection import ENV_INSPECT_CONFIG, InspectConfig
from tacho_contract.launch import RuntimeConfig
from tacho_contract.pod import (
    ENGINE_PORT,
    FETCH_DIR,
    HOME_DIR,
    RUNTIME_PORT,
    STATE_DIR,
    TACHO_DIR,
    TERMINATION_LOG,
    ZIPAPP,
    ZIPAPP_IN_IMAGE,
)
from tacho_contract.uri import ClaimUri, HubUri
from tacho_operator.api.types import LLMDeployment
from tacho_operator.core.manifests.pod import volumes
from tacho_operator.core.manifests.pod.environment import ca_volume, engine_variables, hub_variables
from tacho_operator.core.manifests.pod.resources import FETCH, HELPER, INSPECT, engine_resources
from tacho_operator.core.manifests.pod.security import container_security
from tacho_operator.core.names import ENGINE_CONTAINER, FETCH_CONTAINER, INJECT_CONTAINER, INSPECT_CONTAINER
from tacho_operator.core.planner.types import ModelPlan
from tacho_operator.core.types import Manifest

PRE_STOP_SECONDS = 5
"""How long a stopping pod still takes requests, until every node has dropped it from the Service."""

_COPY = (
    "import os, shutil\n"
    f"for folder in {(STATE_DIR, HOME_DIR, FETCH_DIR)!r}:\n"
    "    os.makedirs(folder, exist_ok=True)\n"
    f"shutil.copyfile({ZIPAPP_IN_IMAGE!r}, {ZIPAPP + '.new'!r})\n"
    f"os.replace({ZIPAPP + '.new'!r}, {ZIPAPP!r})\n"
)

_MESSAGE = {"terminationMessagePath": TERMINATION_LOG, "terminationMessagePolicy": "FallbackToLogsOnError"}


def inject(tacho_image: str, pull_policy: str) -> Manifest:
    return {
        "name": INJECT_CONTAINER,
        "image": tacho_image,
        "imagePullPolicy": pull_policy,
        "command": ["python3", "-I", "-S", "-c", _COPY],
        "resources": HELPER,
        "securityContext": container_security(),
        "volumeMounts": [{"name": volumes.TACHO_VOLUME, "mountPath": TACHO_DIR}],
        **_MESSAGE,
    }


def fetch(resource: LLMDeployment, config: FetchConfig, tacho_image: str, pull_policy: str) -> Manifest:
    """A native sidecar: it runs while the engine's image is still being pulled, and stays as a sleeper."""
    _, ca_mounts = ca_volume(resource.spec.model)
    return {
        "name": FETCH_CONTAINER,
        "image": tacho_image,
        "imagePullPolicy": pull_policy,
        "restartPolicy": "Always",
        "command": ["python3", "-m", "tacho_runtime.hub.fetch"],
        "env": hub_variables(
            ENV_FETCH_CONFIG, codec.dumps(config), resource.spec.model, token_optional=True, home=HOME_DIR
        ),
        "resources": FETCH,
        "securityContext": container_security(),
        "volumeMounts": [
            {"name": volumes.TACHO_VOLUME, "mountPath": TACHO_DIR},
            volumes.model_mount(resource, resource.spec.model.source, writable=True),
            {"name": volumes.TMP_VOLUME, "mountPath": "/tmp"},  # noqa: S108 - the pod's own emptyDir
            *ca_mounts,
        ],
        **_MESSAGE,
    }


def inspect(resource: LLMDeployment, config: InspectConfig, tacho_image: str, pull_policy: str) -> Manifest:
    source = resource.spec.model.source
    _, ca_mounts = ca_volume(resource.spec.model)
    mounts = [{"name": volumes.TMP_VOLUME, "mountPath": "/tmp"}, *ca_mounts]  # noqa: S108 - an emptyDir
    if isinstance(source, ClaimUri):
        mounts.append(volumes.model_mount(resource, source, writable=False))
    return {
        "name": INSPECT_CONTAINER,
        "image": tacho_image,
        "imagePullPolicy": pull_policy,
        "command": ["python3", "-m", "tacho_runtime.hub.inspect"],
        "env": hub_variables(
            ENV_INSPECT_CONFIG,
            codec.dumps(config),
            resource.spec.model,
            token_optional=False,
            home="/tmp",  # noqa: S108 - the pod's own emptyDir
        ),
        "resources": INSPECT,
        "securityContext": container_security(),
        "volumeMounts": mounts,
        **_MESSAGE,
    }


def _check(path: str, *, period_seconds: int, failures: int) -> Manifest:
    # 5 s and more: on a machine with few cores the engine can keep the runtime waiting that long.
    return {
        "httpGet": {"path": path, "port": "runtime"},
        "periodSeconds": period_seconds,
        "timeoutSeconds": 8,
        "failureThreshold": failures,
    }


def engine(resource: LLMDeployment, plan: ModelPlan, config: RuntimeConfig, pull_policy: str) -> Manifest:
    """The runtime is PID 1 in the engine's own image; it starts the engine as its child."""
    source = resource.spec.model.source
    wanted = resource.spec.engine
    python = (wanted.custom.python if wanted and wanted.custom else None) or plan.python
    return {
        "name": ENGINE_CONTAINER,
        "image": plan.image,
        "imagePullPolicy": pull_policy,
        "command": [python, "-I", "-S", ZIPAPP],
        "env": engine_variables(
            codec.dumps(config),
            wanted.env if wanted else (),
            hub_model=isinstance(source, HubUri),
            asks_for_cpu=bool(wanted and wanted.resources and "cpu" in wanted.resources.requests),
        ),
        "ports": [
            {"name": "http", "containerPort": config.engine_port, "protocol": "TCP"},
            {"name": "runtime", "containerPort": RUNTIME_PORT, "protocol": "TCP"},
        ],
        "startupProbe": _check("/livez", period_seconds=2, failures=150),
        "livenessProbe": _check("/livez", period_seconds=10, failures=6),
        "readinessProbe": _check("/readyz", period_seconds=2, failures=5),
        "lifecycle": {"preStop": {"sleep": {"seconds": PRE_STOP_SECONDS}}},
        "resources": engine_resources(resource, plan),
        "securityContext": container_security(read_only_root=not plan.gpu_count),
        "volumeMounts": volumes.engine_mounts(resource, source, plan.engine),
        **_MESSAGE,
    }


def engine_port(resource: LLMDeployment) -> int:
    custom = resource.spec.engine.custom if resource.spec.engine else None
    return (custom.port if custom else None) or ENGINE_PORT
