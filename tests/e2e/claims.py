"""Claims with what a test wants in them, filled by a pod: so that it works on any cluster."""

from __future__ import annotations

from typing import Any

from tests.e2e.conftest import Installed

SECURITY = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
}
POD_SECURITY = {
    "runAsNonRoot": True,
    "runAsUser": 10001,
    "fsGroup": 10001,
    "seccompProfile": {"type": "RuntimeDefault"},
}
FILL_SECONDS = 180


def claim(namespace: str, name: str) -> dict[str, Any]:
    """A claim several pods may mount."""
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"accessModes": ["ReadWriteMany"], "resources": {"requests": {"storage": "1Gi"}}},
    }


def container(image: str, *command: str, **more: Any) -> dict[str, Any]:
    """A container as Pod Security `restricted` wants it."""
    resources = {"requests": {"cpu": "10m", "memory": "32Mi"}}
    return (
        {"name": "main", "image": image, "securityContext": SECURITY, "resources": resources}
        | ({"command": list(command)} if command else {})
        | more
    )


def filled(tacho: Installed, namespace: str, *command: str, image: str = "smollm2") -> str:
    """The claim ``models`` after ``command`` ran in a pod that mounts it at /models; the namespace.

    Image ``smollm2`` has a shell, and the example's GGUF file below /model; ``tacho-fakes`` has Python
    and the fakes.
    """
    mount = {"volumeMounts": [{"name": "models", "mountPath": "/models"}]}
    spec = {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "securityContext": POD_SECURITY,
        "containers": [container(tacho.images[image], *command, **mount)],
        "volumes": [{"name": "models", "persistentVolumeClaim": {"claimName": "models"}}],
    }
    metadata = {"name": "fill", "namespace": namespace}
    tacho.cluster.apply(
        claim(namespace, "models"), {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}
    )
    tacho.cluster.kubectl(
        "wait", "pod/fill", "-n", namespace, "--for=jsonpath={.status.phase}=Succeeded",
        f"--timeout={FILL_SECONDS}s", timeout_seconds=FILL_SECONDS + 10,
    )  # fmt: skip
    return namespace
