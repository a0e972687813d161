"""The demo, the pages' commands word for word, end-to-end tests: on a cluster that was not started here."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.api.documented_commands import FENCE
from tests.nightly.install import stranger
from tests.nightly.install.stranger import HOW_TO, Stranger
from tools import engines, lab
from tools.cluster import binaries
from tools.cluster.binaries import Binaries
from tools.cluster.ports import free_port
from tools.cluster.processes import NO_PROXY
from tools.harness.operator_process import eventually
from tools.steps import say

pytestmark = pytest.mark.timeout(1500)

README, REMOVE = lab.ROOT / "README.md", lab.ROOT / "docs/start/remove.md"
WATCH = "kubectl get llmd --watch"
READY = re.compile(r"^smollm2-hub .* True +Serving ", re.MULTILINE)
CHOSEN = {
    "test_a_claim_that_comes_later": "passed",
    "test_somebody_elses_service": "passed",
    "test_a_plugged_device_is_given_to_one_pod_at_a_time": "skipped",
}
"""End-to-end tests, and how each ends where the node is not for tests."""
KEPT = {"validatingadmissionpolicy.admissionregistration.k8s.io/tacho-lease-cache.tacho-system"}
"""What stays after `helm uninstall` and refuses nothing, as the how-to says."""
OWNED = "crd,namespaces,clusterroles,clusterrolebindings,validatingadmissionpolicies,persistentvolumes"
REPOSITORY = "HuggingFaceTB/SmolLM2-1.7B-Instruct-GGUF"


@pytest.fixture(scope="module")
def cluster(cluster_binaries: Binaries, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stranger]:
    with stranger.running(tmp_path_factory.mktemp("stranger")) as found:
        yield found


@pytest.fixture
def shell(cluster: Stranger, cluster_binaries: Binaries) -> dict[str, str]:
    """The environment of the cluster's user, whose PATH has kubectl and helm."""
    folders = [str(binaries.helm(say).parent), str(cluster_binaries.folder), os.environ["PATH"]]
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("MAKE", "PYTEST"))}
    return {**kept, **NO_PROXY, "PATH": os.pathsep.join(folders), "KUBECONFIG": str(cluster.kubeconfig)}


@pytest.fixture
def mirror(cluster: Stranger, tmp_path: Path) -> Iterator[str]:
    """A mirror of the hub with a small model in the place of the example's."""
    folder = tmp_path / REPOSITORY
    folder.mkdir(parents=True)
    shutil.copy(engines.gguf_model(), folder / "smollm2-q4_k_m.gguf")
    port = free_port()
    options = ["--root", str(tmp_path), "--host", cluster.address, "--port", str(port)]
    with subprocess.Popen([sys.executable, "-m", "tools.mock.hub", *options], cwd=lab.ROOT) as server:
        yield f"http://{cluster.address}:{port}"
        server.terminate()


def bash(command: str, environment: dict[str, str], **more: str) -> str:
    """What the command prints; its processes end with it."""
    print(f"$ {command}", flush=True)
    with subprocess.Popen(
        ["bash", "-euc", f"trap 'kill $(jobs -p) 2> /dev/null || true' EXIT\n{command}"],
        cwd=lab.ROOT,
        env=environment | more,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        printed = process.communicate()[0]
    print(printed, flush=True)
    assert process.returncode == 0, command
    return printed


def blocks(page: Path, heading: str, registry: str) -> list[str]:
    """The blocks of commands below a heading of the page; "": before the first heading."""
    start = rf"^## {heading}\n" if heading else r"\A"
    (section,) = re.findall(rf"{start}(.*?)(?=^## |\Z)", page.read_text(), re.DOTALL | re.MULTILINE)
    plain = [text for language, text in FENCE.findall(section) if not language]
    found = [text for text in plain if text.startswith(("make", "helm", "kubectl"))]
    assert found, f"{page}: {heading} has no commands"
    named = (text.replace("=REGISTRY\n", f"=http://{registry}\n") for text in found)
    return [text.replace("REGISTRY/", f"{registry}/") for text in named]


def test_the_demo_ends_with_an_answer_and_leaves_nothing(cluster: Stranger, shell: dict[str, str]) -> None:
    where = {"TACHO_KUBECONFIG": str(cluster.kubeconfig), "REGISTRY": f"http://{cluster.registry}"}
    printed = bash("make demo", shell, **where)
    assert re.search(r"^smollm2 .* True +Serving ", printed, re.MULTILINE)
    assert re.search(r"^A: \w", printed, re.MULTILINE)
    bash(printed.partition("what stays):\n")[2], shell)
    assert bash("kubectl get llmd --all-namespaces --output name", shell) == ""


def test_the_readme_leads_to_an_answer(cluster: Stranger, shell: dict[str, str], mirror: str) -> None:
    install, chat = blocks(README, "On your cluster", cluster.registry)
    before, watch, after = install.partition(WATCH)
    assert (watch, after) == (WATCH, "\n")
    (shown,) = blocks(HOW_TO, "", cluster.registry)
    assert before.startswith(shown)
    own = f"--set hub.endpoint={mirror} --set hub.allowInsecure=true --wait"
    bash(before.replace("helm install ", f"helm install {own} "), shell)
    watch_until_ready(shell)
    answer = re.search(r"\{.*\}", bash(chat, shell))
    assert answer
    assert json.loads(answer[0])["choices"][0]["message"]["content"]

    for heading in ("Serve a first model", "Change a value"):
        bash("\n".join(blocks(HOW_TO, heading, cluster.registry)), shell)
    pods = "kubectl get pods --selector tacho.dev/role --output jsonpath='{..restartCount}'"
    assert set(bash(pods, shell).split()) <= {"0"}
    for heading in ("", "Remove the rest"):
        bash("\n".join(blocks(REMOVE, heading, cluster.registry)), shell)
    assert "tacho" not in bash("kubectl get crd,namespaces,clusterroles --output name", shell)


def watch_until_ready(environment: dict[str, str]) -> None:
    """The watch, which a person ends."""
    command = ["bash", "-c", f"exec {WATCH}"]
    with subprocess.Popen(
        command, cwd=lab.ROOT, env=environment, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            print(line, end="", flush=True)
            if READY.match(line):
                break
        process.terminate()


def test_the_end_to_end_tests_run_there_once_that_is_confirmed(
    cluster: Stranger, shell: dict[str, str]
) -> None:
    before = names(shell)
    machine = {key: value for key, value in shell.items() if key not in ("CI", "CONFIRM")}
    where = {"TACHO_KUBECONFIG": str(cluster.kubeconfig), "REGISTRY": f"http://{cluster.registry}"}
    chosen = f"-p no:cacheprovider -rs -v -k '{' or '.join(CHOSEN)}'"

    refused = bash("! make e2e", machine, PYTEST_ADDOPTS=chosen, **where)
    assert "NotConfirmedError: context " in refused
    assert " passed" not in refused
    assert names(shell) == before

    printed = bash("make e2e", machine, PYTEST_ADDOPTS=chosen, CONFIRM="1", **where)
    ended = dict(re.findall(r"::(\w+) (PASSED|SKIPPED|FAILED|ERROR)", printed))
    assert {name: state.lower() for name, state in ended.items()} == CHOSEN
    assert "the cluster was not started here: its node is not for tests" in printed
    bash("helm uninstall tacho -n tacho-system && kubectl delete crd llmdeployments.tacho.dev", shell)
    bash("kubectl delete namespace tacho-system", shell)
    eventually("what the tests made is gone", lambda: names(shell) - before <= KEPT or None)
    assert before - names(shell) == set()


def names(shell: dict[str, str]) -> set[str]:
    """What the cluster has that is in no namespace."""
    command = ["bash", "-c", f"kubectl get {OWNED} --output name"]
    done = subprocess.run(command, env=shell, stdout=subprocess.PIPE, text=True, check=True)
    return set(done.stdout.split())
