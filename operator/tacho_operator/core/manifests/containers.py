"""The containers of tacho's pods: inspect reads model headers, inject copies the runtime, fetch downloads,
engine serves.
"""

from __future__ import annotations

from tacho_contract import codec
from tacho_contract.failure import FailedError, FailureClass
from tacho_contract.fetch import ENV_FETCH_CONFIG, FetchConfig
from tacho_contract.launch import RuntimeConfig
from tacho_contract.model import ENV_INSPECT_CONFIG, InspectConfig
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
from tacho_contract.units import MIB
from tacho_contract.uri import ClaimUri, HubUri
from tacho_operator.api.defaults import gpu_resource
from tacho_operator.api.rules.pod_template import PRE_STOP_SECONDS
from tacho_operator.api.types import LLMDeployment
from tacho_operator.core.manifests import volumes
from tacho_operator.core.manifests.environment import ca_volume, engine_variables, hub_variables
from tacho_operator.core.names import ENGINE_CONTAINER, FETCH_CONTAINER, INJECT_CONTAINER, INSPECT_CONTAINER
from tacho_operator.core.planner.types import ModelPlan
from tacho_operator.core.types import Manifest, RuntimeImage

USER_ID = 10001
"""User id of all containers. Any works: folders that they write are emptyDirs, or have it as fsGroup."""


def pod_security() -> Manifest:
    return {
        "runAsNonRoot": True,
        "runAsUser": USER_ID,
        "runAsGroup": USER_ID,
        "fsGroup": USER_ID,
        # A claim of 100 GB would otherwise be walked file by file at every start.
        "fsGroupChangePolicy": "OnRootMismatch",
        "seccompProfile": {"type": "RuntimeDefault"},
    }


def container_security(*, read_only_root: bool = True) -> Manifest:
    """A security context that Pod Security ``restricted`` admits.

    ``read_only_root`` is False for GPU engines: nvidia-cdi-hook writes into the root file system.
    """
    return {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "readOnlyRootFilesystem": read_only_root,
    }


HELPER = {"requests": {"cpu": "10m", "memory": "32Mi"}, "limits": {"memory": "256Mi"}}
"""Resources of the inject container, which copies the runtime."""
FETCH = {"requests": {"cpu": "50m", "memory": "128Mi"}, "limits": {"memory": "2Gi"}}
"""Resources of the fetch container, which downloads the model and then sleeps. The request is for sleeping,
as it holds for the pod's life; a download uses up to the limit.
"""
INSPECT = {"requests": {"cpu": "50m", "memory": "96Mi"}, "limits": {"memory": "512Mi"}}

RUNTIME_BYTES = 256 * MIB
"""Memory in bytes that is added for the runtime and its probe."""
START_FACTOR = 1.2
"""Factor on the predicted memory of a start. It is a margin, as the peak was measured with one small model
(docs/design/planner.md).
"""


def _mebibytes(size_bytes: float) -> str:
    return f"{-(-int(size_bytes) // MIB)}Mi"


def _computed(plan: ModelPlan) -> tuple[dict[str, str], dict[str, str]]:
    """(requests, limits) computed from the plan, for a spec that sets none.

    With a CPU engine the container's memory holds the model; with a GPU engine the model only passes through.
    The limit includes the peak of a start; the request does not.
    """
    if plan.gpu_count:
        return {"cpu": str(plan.gpu_count), "memory": f"{4 * plan.gpu_count}Gi"}, {}
    if not plan.predicted.total_bytes:
        return {"cpu": "250m", "memory": _mebibytes(RUNTIME_BYTES)}, {}
    needed = plan.predicted.total_bytes + RUNTIME_BYTES
    limit = max(1.5 * needed, START_FACTOR * (plan.predicted.start_bytes or 0) + RUNTIME_BYTES)
    return {"cpu": "250m", "memory": _mebibytes(needed)}, {"memory": _mebibytes(limit + 2 * RUNTIME_BYTES)}


def engine_resources(resource: LLMDeployment, plan: ModelPlan) -> Manifest:
    """The engine container's resources: computed from the plan, replaced by those in spec, then the GPUs."""
    engine = resource.spec.engine
    own = engine.resources if engine else None
    requests, limits = _computed(plan)
    if own:
        # A computed request above the user's limit (or the reverse) would be refused by the API server.
        touched = set(own.requests) | set(own.limits)
        requests = {key: value for key, value in requests.items() if key not in touched} | dict(own.requests)
        limits = {key: value for key, value in limits.items() if key not in touched} | dict(own.limits)
    if plan.gpu_count:
        name = gpu_resource(resource.spec)
        requests[name] = limits[name] = str(plan.gpu_count)
    found: Manifest = {"requests": requests}
    if limits:
        found["limits"] = limits
    if own and own.claims:
        found["claims"] = [claim.model_dump(by_alias=True, exclude_none=True) for claim in own.claims]
    return found


_COPY = (
    "import os, shutil\n"
    f"for folder in {(STATE_DIR, HOME_DIR, FETCH_DIR)!r}:\n"
    "    os.makedirs(folder, exist_ok=True)\n"
    f"shutil.copyfile({ZIPAPP_IN_IMAGE!r}, {ZIPAPP + '.new'!r})\n"
    f"os.replace({ZIPAPP + '.new'!r}, {ZIPAPP!r})\n"
)

_CHECKED_COPY = (
    "import hashlib, os, sys\n"
    "wanted, refusal = sys.argv[1:]\n"
    "def is_wanted(path):\n"
    "    with open(path, 'rb') as file:\n"
    "        return hashlib.sha256(file.read()).hexdigest() == wanted\n"
    # A pod that starts again on its node keeps its runtime.
    f"if os.path.exists({ZIPAPP!r}) and is_wanted({ZIPAPP!r}):\n"
    "    sys.exit()\n"
    f"if not is_wanted({ZIPAPP_IN_IMAGE!r}):\n"
    "    sys.exit(refusal)\n"
    f"{_COPY}"
)

_MESSAGE = {"terminationMessagePath": TERMINATION_LOG, "terminationMessagePolicy": "FallbackToLogsOnError"}


def inject(runtime: RuntimeImage, pull_policy: str) -> Manifest:
    """The init container that copies the runtime into the pod; it fails with RuntimeChanged if the runtime's
    hash differs."""
    copy = [_COPY]
    if runtime.sha256:
        failure = FailedError.of(
            FailureClass.RUNTIME_CHANGED,
            f"Image {runtime.image} no longer has the runtime that this revision froze.",
        ).failure
        copy = [_CHECKED_COPY, runtime.sha256, codec.dumps(failure)]
    return {
        "name": INJECT_CONTAINER,
        "image": runtime.image,
        "imagePullPolicy": pull_policy,
        "command": ["python3", "-I", "-S", "-c", *copy],
        "resources": HELPER,
        "securityContext": container_security(),
        "volumeMounts": [{"name": volumes.TACHO_VOLUME, "mountPath": TACHO_DIR}],
        **_MESSAGE,
    }


MARKER = {"requests": {"cpu": "1m", "memory": "8Mi"}, "limits": {"memory": "32Mi"}}


def marker(tacho_image: str, pull_policy: str) -> Manifest:
    """The container of a marker pod, which only sleeps: the scheduler respects a pod until it ends."""
    return {
        "name": "marker",
        "image": tacho_image,
        "imagePullPolicy": pull_policy,
        "command": ["sleep", "infinity"],
        "resources": MARKER,
        "securityContext": container_security(),
    }


def fetch(resource: LLMDeployment, config: FetchConfig, tacho_image: str, pull_policy: str) -> Manifest:
    """The native sidecar that downloads the model while the engine's image is pulled, and then sleeps."""
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
    """The engine container: its image is the engine's own, its PID 1 the runtime, which starts the engine as
    a child."""
    source = resource.spec.model.source
    spec = resource.spec.engine
    python = (spec.custom.python if spec and spec.custom else None) or plan.python
    return {
        "name": ENGINE_CONTAINER,
        "image": plan.image,
        "imagePullPolicy": pull_policy,
        "command": [python, "-I", "-S", ZIPAPP],
        "env": engine_variables(
            codec.dumps(config),
            spec.env if spec else (),
            hub_model=isinstance(source, HubUri),
            requests_cpu=bool(spec and spec.resources and "cpu" in spec.resources.requests),
            gpus=plan.gpu_count > 0,
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
