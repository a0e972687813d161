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
    # Whoever has no rights in the cluster as a whole cannot list its roles, and installs what needs none.
    assert second(empty, "--dry-run=server", watchNamespaces=["web"], **RESTRICTED) == ""
