"""``make demo``: from nothing to a measured model that answers, on a cluster started here.

    python -m tools.demo [--cluster NAME] [--engine vllm] [--transcript FILE]
    TACHO_KUBECONFIG=… REGISTRY=… python -m tools.demo

Where this machine cannot run a node it says why and runs the same example through ``tacho run``.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from benchmarks.probe.results import header
from tools import engines, lab
from tools.cluster import binaries, named, node, preflight
from tools.cluster.handle import Cluster
from tools.images.__main__ import build as build_images
from tools.steps import StepError, say, step

EXAMPLES = {
    "llamacpp": lab.ROOT / "examples" / "smollm2.yaml",
    "vllm": lab.ROOT / "examples" / "vllm-cpu.yaml",
    "transformers": lab.ROOT / "examples" / "transformers-nf4-cpu.yaml",
}
IMAGES = {
    "llamacpp": ("tacho", "tacho-llamacpp", "smollm2"),
    "vllm": ("tacho", "tacho-llamacpp", lab.NODE_IMAGE),
    "transformers": ("tacho", "tacho-llamacpp", lab.NODE_IMAGE),
}
NAMESPACE = "demo"
MEASURED_SECONDS = 600
QUESTION = "Name three colours."
NEXT = f"""\
  kubectl describe llmd {{model}} -n {NAMESPACE}       # conditions, plan, the measured curve, events
  kubectl explain llmd.spec                      # every field
  kubectl scale llmd {{model}} -n {NAMESPACE} --replicas=2"""
WANTED = {"Ready": "True", "Measured": "True", "Reconciling": "False"}


def main() -> int:
    parser = argparse.ArgumentParser(prog="make demo", description=__doc__)
    parser.add_argument("--cluster", default="tacho")
    parser.add_argument("--engine", default="llamacpp", choices=EXAMPLES)
    parser.add_argument("--transcript", type=Path, help="a file that keeps what is printed")
    arguments = parser.parse_args()
    name, engine = arguments.cluster, arguments.engine
    if arguments.transcript:
        return kept(arguments.transcript, [f"--cluster={name}", f"--engine={engine}"])
    started = time.monotonic()
    try:
        if os.environ.get(named.VARIABLE):
            return with_users_cluster(engine, started)
        say("==> looking at this machine …")
        missing = [finding for finding in preflight.check() if not finding.ok]
        if missing:
            say("    a Kubernetes node cannot run here:")
            for finding in missing:
                say(f"    - {finding.name}: {finding.detail}. {finding.next_step}")
            say("    running the same example without Kubernetes instead")
            return without_cluster(engine)
        return with_cluster(name, engine, started)
    except StepError as error:
        say(f"\ndemo: {error}")
        return 1


def kept(path: Path, arguments: Sequence[str]) -> int:
    """The demo in a process of its own. What it prints is shown, and kept below what it ran on."""
    ran_on = header()
    path.parent.mkdir(parents=True, exist_ok=True)
    with (
        path.open("w") as file,
        subprocess.Popen(
            [sys.executable, "-u", "-m", "tools.demo", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        ) as process,
    ):
        told = ", ".join(f"{name} {ran_on[name]}" for name in ("began", "commit", "cpus", "loadavg"))
        file.write(f"# {told}\n")
        for line in process.stdout or ():
            print(line, end="", flush=True)
            file.write(line.replace(str(Path.home()), "~"))
    return process.returncode


def with_cluster(name: str, engine: str, started: float) -> int:
    with step("the cluster's programs (built once, about seven minutes on two cores)"):
        programs = binaries.find(say)
        helm = binaries.helm(say)
    with step("images"):
        build_images(*IMAGES[engine])
    with step(f"cluster {name}"):
        cluster = node.up(name, programs, say)
    serve(cluster, engine)
    model = resource_of(engine)["metadata"]["name"]
    show(cluster, model, time.monotonic() - started)
    print(to_go_on(name, model, (cluster.binaries.folder, helm.parent)))
    return 0


def to_go_on(name: str, model: str, folders: Iterable[Path]) -> str:
    """The pages begin with kubectl or helm, in one of the ``folders`` each."""
    path = ":".join([*map(str, folders), "$PWD/.venv/bin", "$PATH"])
    return f"""To go on:
  export KUBECONFIG=$(make -s kubeconfig CLUSTER={name}) PATH={path}
{NEXT.format(model=model)}
To clean up, so that nothing is left:
  make cluster-down CLUSTER={name}"""


def with_users_cluster(engine: str, started: float) -> int:
    """On the cluster of TACHO_KUBECONFIG, with images that it pulls from REGISTRY."""
    if engine != "llamacpp":
        raise StepError("EngineNotSupported", "the demo of this engine mounts packages of a node of its own")
    with step("kubectl and helm (built once)"):
        programs = binaries.find(say)
        binaries.helm(say)
    with tempfile.TemporaryDirectory(prefix="tacho-demo-") as folder:
        cluster = named.named_cluster(programs, Path(folder), say, confirmed=True)
        assert cluster is not None
        with step("images"):
            build_images(*IMAGES[engine])
        serve(cluster, engine)
        model = resource_of(engine)["metadata"]["name"]
        show(cluster, model, time.monotonic() - started)
    print(
        f"""To go on:
{NEXT.format(model=model)}
To clean up (docs/start/remove.md has what stays):
  kubectl delete namespace {NAMESPACE}
  helm uninstall {lab.RELEASE} -n {lab.OPERATOR_NAMESPACE}"""
    )
    return 0


def resource_of(engine: str) -> dict[str, Any]:
    """The example of that engine."""
    found: dict[str, Any] = yaml.safe_load(EXAMPLES[engine].read_text())
    return found


def serve(cluster: Cluster, engine: str) -> None:
    """Installs tacho and the engine's example, and follows it until it has measured values."""
    with step("images for its nodes"):
        references = lab.images_for(cluster)
    with step("helm install"):
        lab.install_chart(cluster, references)
    with step("a claim with the model in it"):
        cluster.create_namespace(NAMESPACE)
        resource = resource_of(engine)
        if engine == "llamacpp":
            lab.fill_claim(cluster, NAMESPACE, references)
        else:
            resource = lab.with_engines(resource, lab.bring_engines(cluster, NAMESPACE))
    say(f"==> kubectl apply -n {NAMESPACE} -f {EXAMPLES[engine].relative_to(lab.ROOT)}")
    if engine != "llamacpp":
        say(f"    with {resource['spec']['model']['uri']} and the engine's packages from this machine")
    resource["metadata"]["namespace"] = NAMESPACE
    cluster.apply(resource)
    follow(cluster, resource["metadata"]["name"])


def follow(cluster: Cluster, name: str) -> None:
    """Prints every change of the conditions until the resource is Ready and has measured values: on a busy
    machine these may stay provisional. Raises StepError."""
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
        if seen_by_operator and told.get("Ready") == "True" and _provisional(conditions):
            say("    Something disturbed the measurement; it serves, and is measured again by itself.")
            return
        if conditions.get("Stalled", {}).get("status") == "True":
            raise StepError(conditions["Stalled"]["reason"], conditions["Stalled"]["message"])
        if time.monotonic() - started > MEASURED_SECONDS:
            raise StepError(
                "NotMeasured", f"not measured after {MEASURED_SECONDS} s\n{lab.operator_log(cluster)}"
            )
        time.sleep(0.5)


def _provisional(conditions: Mapping[str, Any]) -> bool:
    return bool(conditions.get("Measured", {}).get("reason") == "MeasurementProvisional")


def show(cluster: Cluster, model: str, seconds: float) -> None:
    body = {"model": model, "messages": [{"role": "user", "content": QUESTION}], "max_tokens": 48}
    answer = lab.post(cluster, NAMESPACE, model, "/v1/chat/completions", body)
    print(f"\n$ kubectl get llmd -n {NAMESPACE}")
    print(cluster.kubectl("get", "llmd", "-n", NAMESPACE), end="")
    print(f"\nQ: {QUESTION}\nA: {answer['choices'][0]['message']['content'].strip()}")
    print(f"\nThat took {seconds:.0f} s.", end=" ")


def without_cluster(engine: str) -> int:
    """The same example through ``tacho run``, with a folder standing in for the claim. Raises StepError."""
    python, site = Path(sys.executable), ""
    with tempfile.TemporaryDirectory(prefix="tacho-demo-") as folder:
        resource = yaml.safe_load(EXAMPLES[engine].read_text())
        target = Path(folder) / Path(resource["spec"]["model"]["uri"]).name
        if engine == "llamacpp":
            target.mkdir()
            shutil.copy(engines.gguf_model(), target)
        else:
            target.symlink_to(engines.safetensors_model())
            python = engines.environment()
            site = os.pathsep.join([str(lab.ROOT / "operator"), str(lab.ROOT / "runtime"), *sys.path])
        command = [python, "-m", "tacho_cli.main", "run", "-f", str(EXAMPLES[engine]), "--once"]
        environment = {**os.environ, **({"PYTHONPATH": site} if site else {})}
        done = subprocess.run([*command, "--pvc", f"models={folder}"], env=environment, check=False)
        return done.returncode


if __name__ == "__main__":
    sys.exit(main())
