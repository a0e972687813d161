"""The resources of a soak, their edits, and the foreign objects beside them."""

from __future__ import annotations

import copy
import random
from typing import Any

from tacho_operator.core.names import DEPLOYMENT_LABEL, ROLE_LABEL, ROLE_SERVER
from tests.e2e.claims import claim, container
from tests.e2e.conftest import Installed
from tests.e2e.hub import Hub
from tests.e2e.mocks import mock
from tests.e2e.resource import example
from tests.nightly.soak.observer import FOREIGN_ANNOTATION
from tests.nightly.soak.player import SCHEDULER
from tools.cluster import storage
from tools.harness.operating import resource

REAL, PLAYED = 8, 92
REAL_NAMESPACE, PLAYED_NAMESPACES = "soak-real", tuple(f"soak-{number}" for number in range(4))
CACHE_MEBIBYTES = 300
UNMEASURED = {"policy": "Disabled"}
FROM_HUB = "fetched"
Manifest = dict[str, Any]


def named(manifest: Manifest, namespace: str, name: str) -> Manifest:
    return {**manifest, "metadata": {"namespace": namespace, "name": name}}


def played() -> list[Manifest]:
    template = {"podTemplate": {"spec": {"schedulerName": SCHEDULER}}}
    return [
        named(resource(namespace, **copy.deepcopy(template)), namespace, f"m{number:02}")
        for number in range(PLAYED)
        for namespace in [PLAYED_NAMESPACES[number % len(PLAYED_NAMESPACES)]]
    ]


def real(tacho: Installed, hub: Hub) -> list[Manifest]:
    """The mock engine with a model on a claim, and one llama.cpp that fetches its model to a small cache."""
    requests = {"requests": {"cpu": "50m", "memory": "128Mi"}, "limits": {"memory": "2Gi"}}
    small = mock(tacho, probe=UNMEASURED)
    small["spec"]["engine"]["resources"] = requests
    fetched = example(
        model={"uri": "hf://tests/SmolLM2-135M-Instruct-GGUF", "hub": {"endpoint": hub.endpoint}},
        cache={"persistentVolumeClaim": {"claimName": "cache"}},
        engine={"name": "llamacpp", "resources": requests},
        probe=UNMEASURED,
    )
    mocks = [named(copy.deepcopy(small), REAL_NAMESPACE, f"r{number}") for number in range(REAL - 1)]
    return [*mocks, named(fetched, REAL_NAMESPACE, FROM_HUB)]


def small_cache(tacho: Installed, inside: Any) -> str:
    """The claim ``cache`` on a file system of a few mebibytes of the node; its folder."""
    folder = storage.claim_volume(tacho.cluster, REAL_NAMESPACE, "cache")
    inside(f"mount -t tmpfs -o size={CACHE_MEBIBYTES}m,mode=777 soak {folder}")
    tacho.cluster.apply(claim(REAL_NAMESPACE, "cache"))
    return str(folder)


def edited(manifest: Manifest, draw: random.Random) -> tuple[Manifest, bool]:
    """Another spec, and whether it can be served. It rests on the first spec, not on the last edit."""
    found = copy.deepcopy(manifest)
    spec = found["spec"]
    template = spec.setdefault("podTemplate", {})
    engine = spec["engine"] = copy.deepcopy(spec["engine"])
    if draw.random() < 0.3:
        wrong = draw.choice(("label", "limits", "mount", "spread"))
        if wrong == "label":
            template["metadata"] = {"labels": {"a b": "c"}}
        elif wrong == "limits":
            engine["resources"] = {"requests": {"memory": "4Gi"}, "limits": {"memory": "2Gi"}}
        elif wrong == "mount":
            template.setdefault("spec", {})["volumes"] = [{"name": "own", "emptyDir": {}}]
            engine["volumeMounts"] = [{"name": "own", "mountPath": "/tmp"}]
        else:
            equal = {"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "ScheduleAnyway"}
            template.setdefault("spec", {})["topologySpreadConstraints"] = [equal, equal]
        return found, False
    is_played = manifest["metadata"]["namespace"] in PLAYED_NAMESPACES
    match draw.choice(("replicas", "identity", "live", "first")):
        case "replicas" if is_played:
            spec["replicas"] = draw.randint(1, 3)
        case "identity" if is_played:
            spec["context"] = {**spec["context"], "concurrency": draw.randint(1, 4)}
        case "live":
            template["metadata"] = {"annotations": {"soak/edit": str(draw.random())}}
    return found, True


def foreign(namespace: str, name: str, victim: str, draw: random.Random) -> Manifest:
    """An object with tacho's labels that tacho did not make."""
    metadata = {
        "name": f"foreign-{name}",
        "namespace": namespace,
        "labels": {DEPLOYMENT_LABEL: victim, ROLE_LABEL: ROLE_SERVER},
        "annotations": {FOREIGN_ANNOTATION: "true"},
    }
    match draw.choice(("long", "pod", "service")):
        case "long":
            return {
                "apiVersion": "v1",
                "kind": "ConfigMap",
                "metadata": metadata,
                "data": {"a": "<" * 700_000},
            }
        case "service":
            spec: Manifest = {"selector": {"app": "theirs"}, "ports": [{"port": 80}]}
            return {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec}
        case _:
            security = {"runAsNonRoot": True, "runAsUser": 1, "seccompProfile": {"type": "RuntimeDefault"}}
            spec = {"schedulerName": SCHEDULER, "securityContext": security}
            spec["containers"] = [container("example/none:1")]
            return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}
