"""``tacho status``, ``doctor`` and ``report`` with a real API server: its objects, rights and refusals."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tacho_cli.problems import ExitCode
from tests.api.test_plan_command import gpu_node  # noqa: F401 - a fixture
from tests.unit.cli.commands import Told, call
from tools.cluster.handle import Cluster

OPERATOR_LABELS = {"app.kubernetes.io/part-of": "tacho", "app.kubernetes.io/component": "operator"}


@pytest.fixture
def ask(
    api: Cluster, namespace: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Any:
    """The command in a namespace with two LLMDeployments."""
    monkeypatch.setenv("PATH", f"{Path(api.binaries.path('kubectl')).parent}:/usr/bin:/bin")
    for name in ("llama", "mistral"):
        api.apply(
            {
                "apiVersion": "tacho.dev/v1alpha1",
                "kind": "LLMDeployment",
                "metadata": {"name": name, "namespace": namespace},
                "spec": {"model": {"uri": "pvc://models/demo"}},
            }
        )

    def told(*arguments: str, kubeconfig: Path | None = None) -> Told:
        where = ("-n", namespace, "--kubeconfig", str(kubeconfig or api.kubeconfig))
        return call(capsys, *arguments, *where)

    return told


def findings(told: Told) -> dict[str, list[str]]:
    """States by check."""
    states: dict[str, list[str]] = {}
    for item in json.loads(told.out)["findings"]:
        states.setdefault(item["check"], []).append(item["state"])
    return states


def test_resources_are_listed(ask: Any) -> None:
    assert ask("status", "-o", "name").out.split() == [
        "llmdeployment.tacho.dev/llama",
        "llmdeployment.tacho.dev/mistral",
    ]
    assert [line.split()[0] for line in ask("status", "-o", "wide").out.splitlines()] == [
        "NAME",
        "llama",
        "mistral",
    ]


@pytest.mark.usefixtures("ask")
def test_kubectl_runs_it_as_a_plugin_and_completes_it(api: Cluster, namespace: str) -> None:
    programs = f"{Path(sys.executable).parent}:{Path(api.binaries.path('kubectl')).parent}:/usr/bin:/bin"

    def printed(*arguments: str) -> list[str]:
        command = ["kubectl", *arguments]
        environment = {**os.environ, "PATH": programs, "KUBECONFIG": str(api.kubeconfig)}
        return subprocess.run(
            command, env=environment, capture_output=True, text=True, check=True
        ).stdout.split()

    asked = ("tacho", "status", "-n", namespace)
    assert printed(*asked, "-o", "name") == [
        "llmdeployment.tacho.dev/llama",
        "llmdeployment.tacho.dev/mistral",
    ]
    assert printed("__complete", *asked, "mis") == ["mistral", ":4"]


def test_pages_are_written_of_real_objects(namespace: str, ask: Any) -> None:
    fleet, one = ask("report").out, ask("report", "llama").out
    assert f"{namespace}/mistral" in fleet
    assert "0 of 2 models ready." in fleet
    assert f"<h1>{namespace}/llama</h1>" in one
    assert "Ready=Unknown WaitingForOperator" in one


def test_a_cluster_is_examined_with_the_rights_of_the_user(
    api: Cluster,
    namespace: str,
    ask: Any,
    gpu_node: None,  # noqa: F811
) -> None:
    told = ask("doctor", "-o", "json")
    assert told.code == ExitCode.NOT_MET, told
    found = findings(told)
    assert found["claims"] == ["fail", "fail"], "the claim does not exist"
    assert "ok" in found["GPUs"], "2 x NVIDIA-L4"
    assert found["driver"] == ["unknown"], "no label has the CUDA version"
    assert found["Prometheus"] == ["warn"], "this cluster has no such type"
    assert found["rights"] == ["ok"]

    api.kubectl("create", "role", "pods", "--verb=get,list", "--resource=pods", "-n", namespace)
    subject = f"--serviceaccount={namespace}:default"
    api.kubectl("create", "rolebinding", "pods", "--role=pods", subject, "-n", namespace)
    told = ask("doctor", "-o", "json", kubeconfig=api.service_account_kubeconfig(namespace, "default"))
    found = findings(told)
    assert "get pods/log" in told.out
    assert "list pods" not in told.out, "the role has that"
    assert found["GPUs"] == found["storage"] == found["operator"] == ["unknown"]
    assert "nodes is forbidden" in told.out
    assert found["rights"] == ["warn"]
