"""KEDA as its own manifests install it: rendered from the pinned module, images made of what was built."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import yaml

from tools.cluster import images
from tools.cluster.builds import KEDA, source_of
from tools.cluster.handle import Cluster
from tools.steps import Say

MODULE = "github.com/kedacore/keda/v2"
NAMESPACE = "keda"
PROGRAMS = {"keda-operator": ("operator", "keda"), "keda-metrics-apiserver": ("adapter", "keda-adapter")}
"""Deployment to the program as Go names it, and as the manifests call it."""
IMAGE = "docker.io/local/{}:dev"
READY_SECONDS = 180
API_SERVICE = "v1beta1.external.metrics.k8s.io"


def install(cluster: Cluster, programs: Path, say: Say) -> None:
    """Images, manifests, and the wait until the API server answers for external metrics."""
    with tempfile.TemporaryDirectory() as folder:
        for deployment, (built, called) in PROGRAMS.items():
            program = Path(folder) / called
            program.symlink_to(programs / built)
            archive = Path(folder) / f"{deployment}.tar"
            images.write_single_program_image(archive, program, IMAGE.format(deployment))
            images.load_into(cluster.name, archive)
            archive.unlink()
    objects = manifests(cluster, source_of(KEDA, MODULE, say))
    definitions = [item for item in objects if item["kind"] == "CustomResourceDefinition"]
    cluster.apply(*definitions, *(item for item in objects if item["kind"] == "Namespace"))
    cluster.apply(
        *(item for item in objects if item["kind"] not in ("CustomResourceDefinition", "Namespace"))
    )
    for deployment in PROGRAMS:
        _wait(cluster, f"deployment/{deployment}", "Available")
    _wait(cluster, f"apiservice/{API_SERVICE}", "Available")


def _wait(cluster: Cluster, what: str, condition: str) -> None:
    cluster.kubectl(
        "wait", what, "-n", NAMESPACE, f"--for=condition={condition}", f"--timeout={READY_SECONDS}s",
        timeout_seconds=READY_SECONDS + 10,
    )  # fmt: skip


def manifests(cluster: Cluster, source: Path) -> list[dict[str, Any]]:
    """What `config/default` of the module renders to, without the admission webhooks: they check what people
    write, and are a third program."""
    rendered = cluster.kubectl("kustomize", str(source / "config" / "default"))
    objects = [item for item in yaml.safe_load_all(rendered) if not _of_webhooks(item)]
    for item in objects:
        if item["kind"] == "Deployment":
            _ours(item)
    return objects


def _of_webhooks(item: dict[str, Any]) -> bool:
    name = str(item["metadata"]["name"])
    return item["kind"] == "ValidatingWebhookConfiguration" or "admission" in name


def _ours(deployment: dict[str, Any]) -> None:
    name = deployment["metadata"]["name"]
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    container["image"] = IMAGE.format(name)
    container["imagePullPolicy"] = "Never"
    if name == "keda-operator":
        container["args"].append("--enable-webhook-patching=false")
