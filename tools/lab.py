"""tacho on a cluster of ours, as the demo and the end-to-end tests set it up: images, chart, claim, model."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import yaml

from tests.cluster import binaries, images
from tests.cluster.handle import Cluster
from tools.images import catalog
from tools.images.__main__ import INDEX
from tools.steps import StepError, say

ROOT = Path(__file__).resolve().parent.parent
CHART = ROOT / "charts" / "tacho"
OPERATOR_NAMESPACE = "tacho-system"
RELEASE = "tacho"
INSTALL_SECONDS = 180


def built_images() -> dict[str, dict[str, Any]]:
    """Image name to what ``make images`` recorded. Raises StepError when nothing was built."""
    try:
        return {item["name"]: item for item in json.loads(INDEX.read_text())}
    except OSError:
        raise StepError("ImagesMissing", "no images are built: run `make images` first") from None


def load_images(cluster: Cluster) -> dict[str, str]:
    """Imports every built image into the cluster's node; returns name to content reference."""
    built = built_images()
    for item in built.values():
        images.load_into(cluster.name, Path(item["archive"]))
    return {name: item["content_reference"] for name, item in built.items()}


def chart_values(references: dict[str, str]) -> dict[str, Any]:
    """Values that install the images built here."""
    repository, _, tag = references["tacho"].rpartition(":")
    return {
        "image": {"repository": repository, "tag": tag, "pullPolicy": "Never"},
        "engineImages": {engine: references[f"tacho-{engine}"] for engine in catalog.engines()},
        "logFormat": "text",
        "resyncSeconds": 60,
    }


def install_chart(cluster: Cluster, references: dict[str, str], values: dict[str, Any] | None = None) -> None:
    """helm upgrade --install, waiting until the operator is ready. Raises StepError with helm's words."""
    cluster.create_namespace(OPERATOR_NAMESPACE)
    command = [
        str(binaries.helm(say)),
        f"--kubeconfig={cluster.kubeconfig}",
        "upgrade",
        "--install",
        RELEASE,
        str(CHART),
        f"--namespace={OPERATOR_NAMESPACE}",
        "--values=-",
        "--wait",
        f"--timeout={INSTALL_SECONDS}s",
    ]
    merged = {**chart_values(references), **(values or {})}
    done = subprocess.run(command, input=json.dumps(merged), capture_output=True, text=True, check=False)
    if done.returncode:
        raise StepError("ChartNotInstalled", f"{done.stderr.strip()}\n{operator_log(cluster)}")


def operator_log(cluster: Cluster, lines: int = 30) -> str:
    """The end of the operator's log, or why there is none."""
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


def post(cluster: Cluster, namespace: str, service: str, path: str, body: dict[str, Any]) -> Any:
    """POSTs JSON to a Service through the API server's proxy, as kubectl can from anywhere."""
    url = f"/api/v1/namespaces/{namespace}/services/{service}:http/proxy{path}"
    return json.loads(
        cluster.kubectl("create", "--raw", url, "-f", "-", stdin=json.dumps(body), timeout_seconds=120)
    )
