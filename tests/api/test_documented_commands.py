"""Every command of docs/ ends with 0 on a real API server, where the chart is installed.

No pod runs there. make says what it would do; what it does is what CI runs.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from tacho_cli.problems import ExitCode
from tests.api.documented_commands import NOT_RUN, PAGES, README, commands, excused, to_run
from tests.api.test_plan_command import LABELS
from tools.cluster import binaries
from tools.cluster.binaries import Binaries
from tools.cluster.controlplane import ControlPlane
from tools.cluster.handle import Cluster
from tools.cluster.paths import REPOSITORY
from tools.cluster.processes import NO_PROXY
from tools.harness.operator_process import NAMESPACE
from tools.mock.checkpoints import write_checkpoint

CLI = REPOSITORY / "docs/reference/cli.md"
RECORDED = "benchmarks/lab/h200/longer/llama-8b-bnb-nf4/resource.yaml"
MANIFEST, MODEL = "llama.yaml", "llama-3.1-8b"
"""Of cli.md, which shows the one and names the other."""
NAME, NS = "llama-8b-bnb-nf4", "models"
WORDS = {"NAME": NAME, "NS": NS, "NODE": "gpu-1", "CLAIM": "models", "REGISTRY": "registry.example.com/team"}
WORDS["FILE"] = f"{MANIFEST} --pvc models=models"
"""What a reader puts in the place of each word in capitals."""
EXPECTED = {r"tacho doctor": {ExitCode.OK, ExitCode.NOT_MET}, r"tacho plan .* --gpu T4": {ExitCode.NOT_MET}}
"""Exit codes of answers that are no error: checks may fail where nothing runs, and a model may not fit."""
INSTALL = (
    "helm install tacho charts/tacho -n tacho-system --create-namespace --set image.repository=r.example/t"
)
PLACES = ((NS, NAME), ("default", NAME), ("default", "smollm2"), ("demo", "smollm2"))


def definition(kind: str) -> dict[str, Any]:
    """A definition of the Prometheus Operator's, without its schema."""
    plural, group = f"{kind.lower()}s", "monitoring.coreos.com"
    schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    version = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{group}"},
        "spec": {
            "group": group,
            "scope": "Namespaced",
            "names": {"kind": kind, "plural": plural},
            "versions": [version],
        },
    }


SIZE: dict[str, Any] = {"storageClassName": "grows", "accessModes": ["ReadWriteMany"]}
OBJECTS: list[dict[str, Any]] = [
    {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "gpu-1", "labels": LABELS}},
    {
        "apiVersion": "storage.k8s.io/v1",
        "kind": "StorageClass",
        "metadata": {"name": "grows"},
        "provisioner": "none.example.com",
        "allowVolumeExpansion": True,
    },
    {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": "models"},
        "spec": {
            **SIZE,
            "capacity": {"storage": "1Gi"},
            "csi": {"driver": "none.example.com", "volumeHandle": "models"},
            "claimRef": {"namespace": NS, "name": "models"},
        },
    },
    {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": "models", "namespace": NS},
        "spec": {**SIZE, "volumeName": "models", "resources": {"requests": {"storage": "1Gi"}}},
    },
    definition("ServiceMonitor"),
    definition("PodMonitor"),
    definition("PrometheusRule"),
]
"""What the pages take for granted: a node, a claim that may grow, the Prometheus Operator."""


@dataclass(frozen=True, slots=True)
class Shell:
    """A reader's shell: in a folder like the repository's, with the programs that the pages name."""

    cluster: Cluster
    folder: Path

    def run(self, command: str) -> subprocess.CompletedProcess[str]:
        environment = {
            **{key: value for key, value in os.environ.items() if not key.startswith(("TACHO_", "MAKE"))},
            **NO_PROXY,
            "KUBECONFIG": str(self.cluster.kubeconfig),
            "PATH": f"{self.folder / 'bin'}:{os.environ['PATH']}",
        }
        return subprocess.run(
            ["bash", "-o", "pipefail", "-c", command],
            cwd=self.folder,
            env=environment,
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )


@pytest.fixture(scope="module")
def shell(cluster_binaries: Binaries, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    folder = tmp_path_factory.mktemp("reader")
    for item in ("charts", "examples", "docs", "crds", "Makefile", ".venv"):
        (folder / item).symlink_to(REPOSITORY / item)
    (shown,) = re.findall(r"```yaml\n(.*?)```", CLI.read_text(), re.S)
    (folder / MANIFEST).write_text(shown)
    write_checkpoint(folder / "models" / MODEL, MODEL)
    programs = folder / "bin"
    programs.mkdir()
    (programs / "kubectl").symlink_to(cluster_binaries.path("kubectl"))
    (programs / "helm").symlink_to(binaries.helm(print))
    (programs / "tacho").symlink_to(REPOSITORY / ".venv/bin/tacho")
    for name, text in {"sudo": 'exec "$@"', "make": f'exec /usr/bin/make -n -C {REPOSITORY} "$@"'}.items():
        (programs / name).write_text(f"#!/bin/sh\n{text}\n")
        (programs / name).chmod(0o755)
    with ControlPlane(cluster_binaries) as cluster:
        found = Shell(cluster, folder)
        for namespace in (NS, "demo"):
            cluster.create_namespace(namespace)
        cluster.apply(*OBJECTS)
        bound = ("pvc/models", "-n", NS, "--for=jsonpath={.status.phase}=Bound", "--timeout=100s")
        cluster.kubectl("wait", *bound, timeout_seconds=110)
        yield found


def prepare(shell: Shell) -> None:
    """The chart is installed, and measured resources are there."""
    if shell.run(f"helm status tacho -n {NAMESPACE}").returncode:
        assert_ok(shell.run(INSTALL), INSTALL)
    recorded = yaml.safe_load((REPOSITORY / RECORDED).read_text())
    for namespace, name in PLACES:
        kept = {"name": name, "namespace": namespace}
        shell.cluster.apply(
            {**{key: recorded[key] for key in ("apiVersion", "kind", "spec")}, "metadata": kept}
        )
        shell.cluster.patch_status("LLMDeployment", namespace, name, recorded["status"])
    lease = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease"}
    shell.cluster.apply({**lease, "metadata": {"name": "tacho", "namespace": NAMESPACE}})


def filled(command: str) -> str:
    """The command as a reader types it; a watch ends after a second."""
    for word, value in WORDS.items():
        command = re.sub(rf"\b{word}\b(?!=)", value, command)
    return command.replace("--watch", "--watch --request-timeout=1s")


def assert_ok(done: subprocess.CompletedProcess[str], command: str) -> None:
    allowed = next((codes for pattern, codes in EXPECTED.items() if re.match(pattern, command)), {0})
    assert done.returncode in allowed, f"{command}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"


@pytest.mark.nightly
@pytest.mark.parametrize(
    "page",
    [page for page in (README, *PAGES) if to_run(page)],
    ids=lambda page: str(page.relative_to(REPOSITORY)),
)
def test_the_commands_of_a_page_end_well(page: Path, shell: Shell) -> None:
    prepare(shell)
    for command in to_run(page):
        if command.startswith("helm install"):
            shell.run(f"helm uninstall tacho -n {NAMESPACE}")
        assert_ok(shell.run(filled(command)), command)


def test_few_commands_are_not_run_and_each_reason_is_needed() -> None:
    shown = [command for page in PAGES for command in commands(page)]
    assert len(shown) > 60
    assert to_run(README) == [], "tests/nightly/install runs what it has, word for word"
    reasons = [reason for command in shown if (reason := excused(command))]
    assert len(reasons) <= 10
    assert set(reasons) == set(NOT_RUN.values())
