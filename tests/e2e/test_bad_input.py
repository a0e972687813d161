"""What people get wrong, on a real cluster: each has its class, a next step, and heals once it is mended."""

from __future__ import annotations

from typing import Any

import pytest

from tests.e2e.claims import filled
from tests.e2e.conftest import Installed
from tests.e2e.refusals import refused
from tests.e2e.resource import Llmd, eventually, example

pytestmark = pytest.mark.timeout(900)

LAY_OUT = """
set -e
cd /models
gguf=$(ls /model/*.gguf)
mkdir whole two half header text
ln $gguf whole/a.gguf 2>/dev/null || cp $gguf whole/a.gguf
ln -f whole/a.gguf two/a-Q4_1.gguf
ln -f whole/a.gguf two/b-Q8_0.gguf
head -c 50000000 $gguf > half/half.gguf
head -c 300000 $gguf > header/header.gguf
echo 'no model' > text/readme.txt
"""
RESOURCES = {"requests": {"cpu": "100m", "memory": "256Mi"}, "limits": {"memory": "2Gi"}}


@pytest.fixture
def folders(tacho: Installed, namespace: str) -> str:
    """The claim ``models`` with one folder for each way a model can be wrong; the namespace."""
    return filled(tacho, namespace, "sh", "-c", LAY_OUT)


def manifest(uri: str = "pvc://models/whole", engine: dict[str, Any] | None = None, **spec: Any) -> Any:
    """The example's manifest with another model, and parts of its engine replaced."""
    own = {"name": "llamacpp", "resources": RESOURCES, **(engine or {})}
    model = {"uri": uri, **spec.pop("model", {})}
    return example(**{"model": model, "engine": own, "probe": {"policy": "Disabled"}, **spec})


def no_server(llmd: Llmd) -> None:
    """Nothing was started for it, nor was anything ever made that would be."""
    assert not llmd.pods()
    assert not [child for child in llmd.children() if child.startswith("Deployment/")]


@pytest.mark.usefixtures("folders")
def test_models_that_are_not_what_spec_says(llmd: Llmd) -> None:
    """One resource, corrected until it works: each mistake has its own words."""
    mistakes = (
        (manifest("pvc://models/nothing"), "ModelNotFound", ("models/nothing", "whole", "spec.model.uri")),
        (
            manifest("pvc://models/two", model={"files": ["*Q6_K.gguf"]}),
            "ModelNotFound",
            ("'*Q6_K.gguf'", "a-Q4_1.gguf", "spec.model.files"),
        ),
        (
            manifest("pvc://models/two"),
            "ModelInvalid",
            ("2 GGUF models", "a-Q4_1.gguf", "b-Q8_0.gguf", "spec.model.files"),
        ),
        (manifest("pvc://models/text"), "ModelNotFound", ("readme.txt", "GGUF")),
        (manifest("pvc://models/half"), "ModelInvalid", ("half.gguf", "again")),
        (manifest("pvc://models/header"), "ModelInvalid", ("header.gguf", "cut short", "again")),
    )
    for document, reason, words in mistakes:
        llmd.apply(document)
        refused(llmd, reason, *words)
        assert llmd.condition("Stalled")["status"] == "True"
        no_server(llmd)
    llmd.apply(manifest("pvc://models/two", model={"files": ["*Q4_1.gguf"]}))
    llmd.await_condition("Ready", "True", seconds=240)


def test_a_claim_that_comes_later(llmd: Llmd, tacho: Installed) -> None:
    llmd.apply(manifest())
    refused(llmd, "CacheNotFound", "PersistentVolumeClaim models", llmd.namespace, "Create it")
    no_server(llmd)
    filled(tacho, llmd.namespace, "sh", "-c", LAY_OUT)
    llmd.await_condition("Planned", "True")


@pytest.mark.usefixtures("folders")
def test_more_than_any_node_has(llmd: Llmd) -> None:
    greedy = {"requests": {"cpu": "1000", "memory": "9Ti"}}
    llmd.apply(manifest(engine={"resources": greedy}))
    refused(llmd, "Unschedulable", "No node has enough cpu", "Insufficient memory", "spec.engine.resources")
    assert llmd.condition("Planned")["status"] == "True"
    assert llmd.condition("Stalled")["status"] == "False", "a node may still come"


@pytest.mark.usefixtures("folders")
def test_an_image_nobody_has(llmd: Llmd) -> None:
    llmd.apply(manifest(engine={"image": "registry.invalid/no/such-engine:1"}))
    refused(llmd, "ImagePullError", "registry.invalid/no/such-engine:1", "imagePullSecrets")
    eventually("it is stalled", lambda: llmd.condition("Stalled")["status"] == "True" or None)


@pytest.mark.usefixtures("folders")
def test_somebody_elses_service(llmd: Llmd) -> None:
    metadata = {"name": llmd.name, "namespace": llmd.namespace}
    theirs = {"selector": {"app": "theirs"}, "ports": [{"port": 80}]}
    llmd.cluster.apply({"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": theirs})
    llmd.apply(manifest())
    refused(llmd, "NameConflict", f"Service {llmd.name}")
    found = llmd.cluster.get("service", llmd.name, "-n", llmd.namespace)
    assert found["spec"]["selector"] == {"app": "theirs"}, "it is left as it was"
    assert "ownerReferences" not in found["metadata"]
    llmd.cluster.kubectl("delete", "service", llmd.name, "-n", llmd.namespace)
    llmd.await_condition("Ready", "True", seconds=240)
    assert llmd.endpoints() != set()


@pytest.mark.usefixtures("folders")
def test_a_model_that_does_not_fit_starts_nothing(llmd: Llmd) -> None:
    tight = {"requests": {"cpu": "100m", "memory": "64Mi"}, "limits": {"memory": "128Mi"}}
    llmd.apply(manifest(engine={"resources": tight}))
    refused(llmd, "DoesNotFit", "of memory", "the memory limit of engine.resources", "weights")
    assert llmd.condition("Planned")["reason"] == "DoesNotFit"
    assert llmd.condition("Stalled")["reason"] == "DoesNotFit"
    no_server(llmd)
    events = llmd.cluster.get("events", "-n", llmd.namespace)["items"]
    assert [event for event in events if event["reason"] == "DoesNotFit"]


CHECKPOINT = (
    "import sys; from tools.mock.checkpoints import write_checkpoint; write_checkpoint(*sys.argv[1:])"
)


@pytest.fixture
def checkpoint(tacho: Installed, namespace: str) -> str:
    """A claim with Llama-3.1-8B: real configuration and headers, holes for weights; the namespace."""
    command = ("python", "-c", CHECKPOINT, "/models/llama", "llama-3.1-8b")
    return filled(tacho, namespace, *command, image="tacho-fakes")


def on_gpu(product: str) -> dict[str, Any]:
    """Llama-3.1-8B in vLLM on one GPU."""
    document: dict[str, Any] = example(
        model={"uri": "pvc://models/llama"},
        engine={"name": "vllm"},
        quantization={"method": "none"},
        gpu={"products": [product], "count": 1},
        context={"maxModelLen": 4096, "concurrency": 4},
    )
    return document


@pytest.mark.usefixtures("checkpoint")
def test_a_gpu_it_fits_and_no_node_has(llmd: Llmd) -> None:
    llmd.apply(on_gpu("NVIDIA-L4"))
    llmd.await_condition("Ready", "False", "Unschedulable")
    assert llmd.condition("Planned")["status"] == "True"
    plan = llmd.status()["plan"]
    assert (plan["engine"]["name"], plan["gpu"]["product"]) == ("vllm", "NVIDIA-L4")
    assert plan["predicted"]["weightsBytes"] > 15 * 10**9
    (pod,) = llmd.pods()
    assert pod["spec"]["nodeSelector"]["nvidia.com/gpu.product"] == "NVIDIA-L4"


@pytest.mark.usefixtures("checkpoint")
def test_a_gpu_it_does_not_fit(llmd: Llmd) -> None:
    llmd.apply(on_gpu("NVIDIA-T4"))
    refused(llmd, "DoesNotFit", "Tesla-T4", "weights")
    assert llmd.condition("Planned")["reason"] == "DoesNotFit"
    no_server(llmd)
