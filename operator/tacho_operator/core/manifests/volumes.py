"""Volumes of a model pod and the mounts of its containers."""

from __future__ import annotations

from tacho_contract.pod import CACHE_DIR, CACHE_FOLDER, LIVE_DIR, MODEL_DIR, TACHO_DIR
from tacho_contract.uri import ClaimUri, ModelUri
from tacho_engines.registry import engine_profile
from tacho_operator.api.spec.sources import CacheClaim
from tacho_operator.api.types import LLMDeployment
from tacho_operator.core.names import live_config_name
from tacho_operator.core.planner.types import ModelPlan
from tacho_operator.core.types import Manifest

TACHO_VOLUME = "tacho-runtime"
MODEL_VOLUME = "tacho-model"
CACHE_VOLUME = "tacho-cache"
LIVE_VOLUME = "tacho-live"
SHM_VOLUME = "tacho-shm"
TMP_VOLUME = "tacho-tmp"


def shared_memory_size(gpu_count: int) -> str:
    """Size of /dev/shm (shared memory) as a quantity; processes of a GPU engine exchange tensors there."""
    return f"{2 * max(1, gpu_count)}Gi" if gpu_count else "256Mi"


def mounted_path(source: ModelUri) -> str:
    """Path in the pod of a model on a claim; "" for a hub's model, whose path is known after the download."""
    return f"{MODEL_DIR}/{source.path}".rstrip("/") if isinstance(source, ClaimUri) else ""


def model_volume(resource: LLMDeployment, source: ModelUri) -> Manifest:
    """The volume with the model: the claim of a pvc:// URI, the cache claim, or an emptyDir."""
    if isinstance(source, ClaimUri):
        return {"name": MODEL_VOLUME, "persistentVolumeClaim": {"claimName": source.claim}}
    cache = resource.spec.cache
    if cache and (claim := cache.persistent_volume_claim):
        return {"name": MODEL_VOLUME, "persistentVolumeClaim": {"claimName": claim.claim_name}}
    return {"name": MODEL_VOLUME, "emptyDir": {}}


def model_mount(resource: LLMDeployment, source: ModelUri, *, writable: bool) -> Manifest:
    """The volume mount of the model. ``writable`` only for fetch; a claim that the user marked readOnly is
    never written."""
    mount: Manifest = {"name": MODEL_VOLUME, "mountPath": MODEL_DIR}
    cache = resource.spec.cache if not isinstance(source, ClaimUri) else None
    claim = cache.persistent_volume_claim if cache else None
    if claim and claim.sub_path:
        mount["subPath"] = claim.sub_path
    if not writable or (claim and claim.read_only):
        mount["readOnly"] = True
    return mount


def cache_claim(resource: LLMDeployment, engine: str) -> CacheClaim | None:
    """The claim where ``engine`` keeps compiled and converted files; None: spec has none, or it is
    read-only."""
    claim = resource.spec.cache.persistent_volume_claim if resource.spec.cache else None
    return None if claim is None or claim.read_only or not engine_profile(engine).keeps else claim


def cache_volume(resource: LLMDeployment, source: ModelUri, engine: str) -> list[Manifest]:
    """The volume of the cache claim, where the model is on another claim; a hub's model is on the cache claim
    itself."""
    claim = cache_claim(resource, engine)
    if claim is None or not isinstance(source, ClaimUri) or claim.claim_name == source.claim:
        return []
    return [{"name": CACHE_VOLUME, "persistentVolumeClaim": {"claimName": claim.claim_name}}]


def cache_mount(resource: LLMDeployment, source: ModelUri, engine: str) -> list[Manifest]:
    """The mount of the engine's own folder of the cache claim, apart from the models."""
    claim = cache_claim(resource, engine)
    if claim is None:
        return []
    own = bool(cache_volume(resource, source, engine))
    folder = "/".join(part for part in (claim.sub_path, CACHE_FOLDER) if part)
    return [{"name": CACHE_VOLUME if own else MODEL_VOLUME, "mountPath": CACHE_DIR, "subPath": folder}]


def pod_volumes(resource: LLMDeployment, source: ModelUri, plan: ModelPlan) -> list[Manifest]:
    return [
        {"name": TACHO_VOLUME, "emptyDir": {}},
        model_volume(resource, source),
        *cache_volume(resource, source, plan.engine),
        {"name": LIVE_VOLUME, "configMap": {"name": live_config_name(resource.metadata.name)}},
        {
            "name": SHM_VOLUME,
            "emptyDir": {"medium": "Memory", "sizeLimit": shared_memory_size(plan.gpu_count)},
        },
        {"name": TMP_VOLUME, "emptyDir": {}},
    ]


def engine_mounts(resource: LLMDeployment, source: ModelUri, engine_name: str) -> list[Manifest]:
    own = [
        {"name": TACHO_VOLUME, "mountPath": TACHO_DIR},
        model_mount(resource, source, writable=False),
        *cache_mount(resource, source, engine_name),
        {"name": LIVE_VOLUME, "mountPath": LIVE_DIR, "readOnly": True},
        {"name": SHM_VOLUME, "mountPath": "/dev/shm"},  # noqa: S108 - the pod's own emptyDir
        {"name": TMP_VOLUME, "mountPath": "/tmp"},  # noqa: S108 - the pod's own emptyDir
    ]
    engine = resource.spec.engine
    for item in engine.volume_mounts if engine else []:
        mount: Manifest = {"name": item.name, "mountPath": item.mount_path}
        if item.read_only:
            mount["readOnly"] = True
        if item.sub_path:
            mount["subPath"] = item.sub_path
        own.append(mount)
    return own
