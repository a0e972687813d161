"""helm install and upgrade refuse a namespace that the operator of another release serves."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from tools.cluster import binaries
from tools.cluster.binaries import Binaries
from tools.cluster.controlplane import ControlPlane
from tools.cluster.handle import Cluster
from tools.cluster.paths import REPOSITORY
from tools.harness.helm import REQUIRED

CHART = str(REPOSITORY / "charts" / "tacho")
FIRST = "tacho"
SECOND = "second-tacho"
RESTRICTED = {"rbac": {"create": True, "aggregate": False}, "admissionPolicy": {"create": False}}


@pytest.fixture(scope="module")
def empty(cluster_binaries: Binaries) -> Iterator[Cluster]:
    """A cluster on which nothing was installed."""
    with ControlPlane(cluster_binaries) as cluster:
        for namespace in ("one", "two", "ml", "web"):
            cluster.create_namespace(namespace)
        yield cluster


def helm(cluster: Cluster, *arguments: str, **values: Any) -> str:
    """What helm says against it; "": it did as asked."""
    given = [] if arguments[0] == "uninstall" else ["--values=-"]
    done = subprocess.run(
        [binaries.helm(print), f"--kubeconfig={cluster.kubeconfig}", *arguments, *given],
        input=json.dumps({**REQUIRED, "crds": {"install": False}, **values}),
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stderr if done.returncode else ""


def second(cluster: Cluster, *flags: str, **values: Any) -> str:
    return helm(cluster, "install", SECOND, CHART, "--namespace=two", *flags, **values)


def upgraded(cluster: Cluster, **values: Any) -> str:
    return helm(cluster, "upgrade", FIRST, CHART, "--namespace=one", **values)


def test_a_second_release_serves_other_namespaces_alone(empty: Cluster) -> None:
    assert helm(empty, "install", FIRST, CHART, "--namespace=one", watchNamespaces=["ml"]) == ""
    for values in ({"watchNamespaces": ["web", "ml"]}, {}, {"watchNamespaces": ["ml"], **RESTRICTED}):
        refused = second(empty, "--dry-run=server", **values)
        assert "release tacho already serves ml (Role tacho): set watchNamespaces" in refused, values
    assert second(empty, watchNamespaces=["web"]) == ""
    assert upgraded(empty, watchNamespaces=["ml"], fullnameOverride="renamed") == ""
    assert upgraded(empty, watchNamespaces=["ml"]) == ""
    assert "release second-tacho already serves web" in upgraded(empty)
    assert helm(empty, "uninstall", SECOND, "--namespace=two") == ""
    assert upgraded(empty) == ""
    refused = second(empty, "--dry-run=server", watchNamespaces=["web"])
    assert "release tacho already serves all namespaces (ClusterRole tacho)" in refused
    # A chart that makes no ClusterRole lists none: who installs it may have no rights in the whole cluster.
    assert second(empty, "--dry-run=server", watchNamespaces=["web"], **RESTRICTED) == ""
    assert helm(empty, "uninstall", FIRST, "--namespace=one") == ""


def test_two_releases_of_one_name_do_not_share_a_namespace(empty: Cluster) -> None:
    """Of which no object has the name of another: a Role in ml, and a ClusterRole."""
    values = {"watchNamespaces": ["ml"], "commonLabels": {"app.kubernetes.io/part-of": "platform"}}
    assert (
        helm(empty, "install", "tacho-b", CHART, "--namespace=two", fullnameOverride="tacho-b", **values)
        == ""
    )
    refused = helm(empty, "install", "tacho-b", CHART, "--namespace=one", "--dry-run=server")
    assert "release tacho-b already serves ml (Role tacho-b)" in refused
    assert helm(empty, "uninstall", "tacho-b", "--namespace=two") == ""


def test_who_may_not_list_roles_switches_the_check_off(empty: Cluster) -> None:
    writes = {"apiGroups": ["*"], "resources": ["*"], "verbs": ["get", "create", "patch", "escalate", "bind"]}
    history = {"apiGroups": [""], "resources": ["secrets"], "verbs": ["list"]}
    group = "rbac.authorization.k8s.io"
    role = {"apiVersion": f"{group}/v1", "kind": "ClusterRole", "metadata": {"name": "installer"}}
    binding = {
        **role,
        "kind": "ClusterRoleBinding",
        "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": "installer"},
        "subjects": [{"apiGroup": group, "kind": "User", "name": "jane"}],
    }
    empty.apply({**role, "rules": [writes, history]}, binding)
    flags = ("--dry-run=server", "--kube-as-user=jane")
    refused = second(empty, *flags, watchNamespaces=["ml"], **RESTRICTED)
    assert 'User "jane" cannot list resource "roles"' in refused
    values = {"watchNamespaces": ["ml"], **RESTRICTED, "checkOtherReleases": False}
    assert second(empty, *flags, **values) == ""
