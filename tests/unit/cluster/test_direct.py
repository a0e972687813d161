"""What is asked of the API server without kubectl is what kubectl would ask and print."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tools.cluster import direct

ROOT = "/api/v1/namespaces/n"
TACHO = "/apis/tacho.dev/v1alpha1"


@pytest.mark.parametrize(
    ("arguments", "path"),
    [
        (("pods", "-n", "n"), f"{ROOT}/pods"),
        (("pod", "p", "-n", "n"), f"{ROOT}/pods/p"),
        (("pods", "-n", "n", "-l", "a/b=c,d=e"), f"{ROOT}/pods?labelSelector=a%2Fb%3Dc%2Cd%3De"),
        (("llmd", "x", "-n", "n"), f"{TACHO}/namespaces/n/llmdeployments/x"),
        (("deployments", "-n", "n"), "/apis/apps/v1/namespaces/n/deployments"),
        (("nodes",), "/api/v1/nodes"),
    ],
)
def test_a_plain_read_has_a_path(arguments: tuple[str, ...], path: str) -> None:
    found = direct.read_of(arguments)
    assert found is not None
    assert found[1] == path


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("--raw", "/metrics"),
        ("pods",),
        ("pods", "--all-namespaces"),
        ("pods,services", "-n", "n"),
        ("ingresses", "-n", "n"),
        ("pods", "-n", "n", "--watch"),
        ("pods", "p", "q", "-n", "n"),
        ("pod", "p", "-n", "n", "-l", "a=b"),
        ("llmd", "x", "-n", "n", "--show-managed-fields"),
    ],
)
def test_all_else_is_kubectls(arguments: tuple[str, ...]) -> None:
    assert direct.read_of(arguments) is None


def test_an_answer_looks_as_kubectl_prints_it() -> None:
    pod = {"metadata": {"name": "p", "managedFields": [{}]}}
    shown = direct.as_kubectl_prints("Pod", {"kind": "PodList", "items": [pod], "metadata": {}})
    assert shown["kind"] == "List"
    assert shown["items"] == [{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}}]
    alone = direct.as_kubectl_prints("Pod", {"kind": "Pod", "metadata": {"name": "p", "managedFields": []}})
    assert alone == {"kind": "Pod", "metadata": {"name": "p"}}


def test_where_an_object_is_written() -> None:
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "namespace": "n"}}
    applied = "fieldManager=kubectl&force=true&fieldValidation=Strict"
    assert direct.apply_path(pod) == f"{ROOT}/pods/p?{applied}"
    assert (
        direct.apply_path({**pod, "metadata": {"name": "p"}})
        == f"/api/v1/namespaces/default/pods/p?{applied}"
    )
    tried = "dryRun=All&fieldManager=kubectl-create&fieldValidation=Strict"
    assert direct.create_path(pod) == f"{ROOT}/pods?{tried}"
    for other in ({"apiVersion": "v2"}, {"kind": "Unheard"}):
        assert direct.apply_path({**pod, **other}) is None
        assert direct.create_path({**pod, **other}) is None


def test_only_who_speaks_by_a_certificate_of_its_own_is_spoken_for(tmp_path: Path) -> None:
    file = tmp_path / "kubeconfig"
    user: dict[str, str] = {"client-certificate-data": ""}
    file.write_text(json.dumps({"users": [{"name": "a", "user": user}]}))
    assert direct.has_certificate(file)
    for name, text in (("token", json.dumps({"users": [{"user": {"token": "t"}}]})), ("yaml", "users: []\n")):
        other = tmp_path / name
        other.write_text(text)
        assert not direct.has_certificate(other)
