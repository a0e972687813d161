"""tacho on a cluster of ours, as the demo and the end-to-end tests set it up: images, chart, claim, model."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import httpx
import yaml

from tools import engines
from tools.cluster import binaries, images
from tools.cluster.handle import Cluster
from tools.cluster.named import USERS
from tools.images import catalog, push
from tools.images.__main__ import INDEX
from tools.steps import StepError, say

ROOT = Path(__file__).resolve().parent.parent
CHART = ROOT / "charts" / "tacho"
OPERATOR_NAMESPACE = "tacho-system"
RELEASE = "tacho"
INSTALL_SECONDS = 180
POST_SECONDS = 120
NODE_ENGINES = ("transformers", "ctranslate2", "vllmCpu")
"""Settings of engines of 6 GB: their packages are mounted from the node, the image has only their servers."""
NODE_IMAGE = "tacho-node-engines"
ENGINES_CLAIM = "engines"
SAFETENSORS_CLAIM = "models-safetensors"


def built_images() -> dict[str, dict[str, Any]]:
    """Image name to what ``make images`` recorded. Raises StepError when nothing was built."""
    try:
        return {item["name"]: item for item in json.loads(INDEX.read_text())}
    except OSError:
        raise StepError("ImagesMissing", "no images are built: run `make images` first") from None


def load_images(cluster: Cluster) -> dict[str, str]:
    """Imports the built images of every build into the cluster's node; returns name to content reference.

    Not those of gigabytes, which are built by name: nothing here runs them. Nor those of an earlier build
    whose archive was pruned since, maybe by a build of another checkout: they share the cache.
    """
    small = {image.name for image in catalog.choose(None)}
    kept = {name: item for name, item in built_images().items() if Path(item["archive"]).is_file()}
    built = {name: item for name, item in kept.items() if name in small}
    for item in built.values():
        images.load_into(cluster.name, Path(item["archive"]))
    return {name: item["content_reference"] for name, item in built.items()}


def images_for(cluster: Cluster) -> dict[str, str]:
    """Name to reference of the built images that the cluster can run: imported into a node of ours, else
    pushed to the registry that REGISTRY names. Raises StepError."""
    if cluster.name != USERS:
        return load_images(cluster)
    registry = os.environ.get("REGISTRY", "")
    if not registry:
        raise StepError(
            "RegistryMissing", "a cluster that was not started here pulls its images: set REGISTRY=…"
        )
    built = built_images()
    pulled = (image.name for image in catalog.choose(None) if image.name != NODE_IMAGE)
    small = [built[name] for name in pulled if name in built]
    names = [item["name"] for item in small]
    return dict(zip(names, push.pushed(small, registry, names), strict=True))


def chart_values(references: dict[str, str]) -> dict[str, Any]:
    """Values that install the images built here; those with a digest are pulled."""
    named, _, digest = references["tacho"].partition("@")
    repository, _, tag = named.rpartition(":")
    policy = "IfNotPresent" if digest else "Never"
    return {
        "image": {"repository": repository, "tag": tag, "digest": digest, "pullPolicy": policy},
        "engineImages": {
            **{engine: references[f"tacho-{engine}"] for engine in catalog.engines()},
            **{engine: references[NODE_IMAGE] for engine in NODE_ENGINES if NODE_IMAGE in references},
        },
        "logFormat": "text",
        "resyncSeconds": 60,
    }


def install_chart(
    cluster: Cluster,
    references: dict[str, str],
    values: dict[str, Any] | None = None,
    *,
    chart: Path = CHART,
) -> None:
    """helm upgrade --install, waiting until the operator is ready. Raises StepError with helm's words."""
    cluster.create_namespace(OPERATOR_NAMESPACE)
    merged = {**chart_values(references), **(values or {})}
    helm(cluster, "upgrade", "--install", RELEASE, str(chart), "--values=-", stdin=json.dumps(merged))


def helm(cluster: Cluster, *arguments: str, stdin: str = "") -> None:
    """Runs helm in the operator's namespace and waits until all is ready. Raises StepError with its words."""
    where = [f"--kubeconfig={cluster.kubeconfig}", f"--namespace={OPERATOR_NAMESPACE}"]
    command = [str(binaries.helm(say)), *arguments, *where, "--wait", f"--timeout={INSTALL_SECONDS}s"]
    done = subprocess.run(command, input=stdin, capture_output=True, text=True, check=False)
    if done.returncode:
        raise StepError("ChartNotInstalled", f"{done.stderr.strip()}\n{operator_log(cluster)}")


def operator_log(cluster: Cluster, lines: int = 30) -> str:
    """The last lines of the operator's log, or the reason why it is not available."""
    try:
        return cluster.kubectl(
            "logs", f"deployment/{RELEASE}", "-n", OPERATOR_NAMESPACE, f"--tail={lines}", "--all-containers"
        )
    except subprocess.CalledProcessError as error:
        return str(error.stderr)


def fill_claim(
    cluster: Cluster, namespace: str, references: dict[str, str], timeout_seconds: int = 180
) -> None:
    """Creates the example's claim and runs the Job that puts the model there."""
    documents = list(yaml.safe_load_all((ROOT / "examples" / "smollm2" / "claim.yaml").read_text()))
    for document in documents:
        document["metadata"]["namespace"] = namespace
        if document["kind"] == "Job":
            document["spec"]["template"]["spec"]["containers"][0]["image"] = references["smollm2"]
    cluster.apply(*documents)
    wait = ("wait", "--for=condition=Complete", "job/fill-models", "-n", namespace)
    cluster.kubectl(*wait, f"--timeout={timeout_seconds}s", timeout_seconds=timeout_seconds + 10)


def claim_of_node(namespace: str, name: str, folder: Path) -> list[dict[str, Any]]:
    """A claim that shows a folder of the node read-only. Pod Security `restricted` allows claims, not
    hostPath; a user who may create a PersistentVolume decides which folders of a node are visible."""
    volume = f"{namespace}-{name}"
    size = {"storage": "10Gi"}
    return [
        {
            "apiVersion": "v1",
            "kind": "PersistentVolume",
            "metadata": {"name": volume},
            "spec": {
                "capacity": size,
                "accessModes": ["ReadOnlyMany"],
                "persistentVolumeReclaimPolicy": "Retain",
                "storageClassName": "",
                "claimRef": {"namespace": namespace, "name": name},
                "hostPath": {"path": str(folder), "type": "Directory"},
            },
        },
        {
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "metadata": {"name": name, "namespace": namespace},
            "spec": {
                "accessModes": ["ReadOnlyMany"],
                "storageClassName": "",
                "volumeName": volume,
                "resources": {"requests": size},
            },
        },
    ]


def bring_engines(cluster: Cluster, namespace: str) -> str:
    """Claims with the engines of this machine and a model as safetensors; returns the model's URI.

    Raises StepError where they cannot be installed.
    """
    place = engines.environment().parent.parent
    model = engines.safetensors_model()
    cluster.apply(*claim_of_node(namespace, ENGINES_CLAIM, place))
    cluster.apply(*claim_of_node(namespace, SAFETENSORS_CLAIM, model.parent))
    return f"pvc://{SAFETENSORS_CLAIM}/{model.name}"


def with_engines(resource: dict[str, Any], uri: str) -> dict[str, Any]:
    """The resource on the node's engines: the model's URI, and their packages where the image looks."""
    told: dict[str, Any] = json.loads(json.dumps(resource))
    spec = told["spec"]
    spec["model"]["uri"] = uri
    mount = {"name": ENGINES_CLAIM, "mountPath": "/opt/engines", "readOnly": True}
    spec["engine"]["volumeMounts"] = [mount]
    claim = {"claimName": ENGINES_CLAIM, "readOnly": True}
    volume = {"name": ENGINES_CLAIM, "persistentVolumeClaim": claim}
    spec.setdefault("podTemplate", {}).setdefault("spec", {})["volumes"] = [volume]
    return told


def post(cluster: Cluster, namespace: str, service: str, path: str, body: dict[str, Any]) -> Any:
    """POSTs JSON to a Service through the API server, as anyone with a kubeconfig can from anywhere."""
    return json.loads(post_text(cluster, namespace, service, path, body))


def post_text(cluster: Cluster, namespace: str, service: str, path: str, body: dict[str, Any]) -> str:
    """POSTs JSON to a Service through the API server; returns the raw response text, for answers that are a
    stream of events. Raises httpx.HTTPError.

    Not `kubectl create --raw`: it sends no content type, which vLLM requires.
    """
    with cluster.proxy() as api, httpx.Client(trust_env=False, timeout=POST_SECONDS) as client:
        url = f"{api}/api/v1/namespaces/{namespace}/services/{service}:http/proxy{path}"
        return client.post(url, json=body).raise_for_status().text
