"""The chart's other ways into a cluster: a definition that it does not manage, Helm 3, and waiting."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest

from tests.api.test_upgrade import WORK, before, cluster, helm  # noqa: F401 - fixtures
from tools.cluster import binaries
from tools.cluster.handle import Cluster
from tools.cluster.paths import REPOSITORY
from tools.harness.operating import NAME, resource
from tools.harness.operator_process import NAMESPACE, eventually

pytestmark = pytest.mark.nightly

CHART = REPOSITORY / "charts" / "tacho"
UNMANAGED = "--set=crds.install=false"
Find = Callable[[Callable[[str], None]], Path]


def applied(cluster: Cluster) -> tuple[object, ...] | None:  # noqa: F811
    """What an upgrade must not change of the resource; None while its type is not served."""
    if "llmdeployments" not in cluster.kubectl("api-resources", "--api-group=tacho.dev"):
        return None
    cluster.apply(resource(WORK))
    found = cluster.get("llmd", NAME, "-n", WORK)
    return found["metadata"]["uid"], found["spec"]


@pytest.mark.parametrize(
    ("find", "forced"),
    [(binaries.helm, ("--force-conflicts",)), (binaries.helm3, ())],  # kubectl owns the definition's fields
    ids=["Helm 4", "Helm 3"],
)
def test_a_definition_that_the_chart_does_not_manage_loses_nothing(
    cluster: Cluster,  # noqa: F811
    before: Path,  # noqa: F811
    find: Find,
    forced: tuple[str, ...],
) -> None:
    run = partial(helm, cluster, values=True, program=find(print))
    cluster.kubectl("apply", "--server-side", "-f", str(before / "crds"))
    run("install", "tacho", str(before / "charts" / "tacho"), UNMANAGED)
    first = eventually("it is served", lambda: applied(cluster))
    cluster.kubectl("apply", "--server-side", "-f", str(REPOSITORY / "crds"))
    run("upgrade", "tacho", str(CHART), UNMANAGED)
    (definition,) = cluster.get("crds")["items"]
    assert definition["status"]["storedVersions"] == ["v1alpha1"]
    assert "meta.helm.sh/release-name" not in definition["metadata"].get("annotations", {})
    for flag, owner in (("--set=crds.install=true", "tacho"), (UNMANAGED, None)):  # taken over, given back
        run("upgrade", "tacho", str(CHART), "--take-ownership", *forced, flag)
        found = cluster.get("llmd", NAME, "-n", WORK)
        assert (found["metadata"]["uid"], found["spec"]) == first, flag
        if owner:
            (definition,) = cluster.get("crds")["items"]
            assert definition["metadata"]["annotations"]["meta.helm.sh/release-name"] == owner


def test_a_release_of_helm_3_goes_on_with_helm_4_by_server_side_apply(cluster: Cluster) -> None:  # noqa: F811
    """Helm 4 keeps the way of applying that a release began with, unless it is told."""
    helm(cluster, "install", "tacho", str(CHART), values=True, program=binaries.helm3(print))
    first = eventually("it is served", lambda: applied(cluster))
    chosen = ("--server-side=true", "--force-conflicts", "--set=workers=7")
    helm(cluster, "upgrade", "tacho", str(CHART), *chosen, values=True)
    managers = {
        item["manager"]
        for item in cluster.get("deployment", "tacho", "-n", NAMESPACE, "--show-managed-fields")["metadata"][
            "managedFields"
        ]
        if item["operation"] == "Apply"
    }
    assert "helm" in managers
    helm(cluster, "rollback", "tacho", "1")
    found = cluster.get("llmd", NAME, "-n", WORK)
    assert (found["metadata"]["uid"], found["spec"]) == first


@pytest.mark.parametrize("find", [binaries.helm, binaries.helm3])
def test_each_helm_waits_until_the_operator_is_available(
    cluster: Cluster,  # noqa: F811
    find: Find,
) -> None:
    program = find(print)
    with played_operator(cluster):
        for verb in ("install", "upgrade"):
            flags = ("--wait", "--timeout=120s")
            helm(cluster, verb, "tacho", str(CHART), *flags, values=True, program=program)
    assert cluster.get("deployment", "tacho", "-n", NAMESPACE)["status"]["availableReplicas"] == 1


@contextmanager
def played_operator(cluster: Cluster) -> Iterator[None]:  # noqa: F811
    """Marks the operator's pods as ready, as a node would."""
    ended = threading.Event()
    ready = {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}
    patch = ("--subresource=status", "-p", json.dumps({"status": ready}))

    def play() -> None:
        while not ended.wait(0.5):
            for pod in cluster.get("pods", "-n", NAMESPACE)["items"]:
                if pod["status"]["phase"] == "Pending":
                    cluster.kubectl("patch", "pod", pod["metadata"]["name"], "-n", NAMESPACE, *patch)

    player = threading.Thread(target=play)
    player.start()
    try:
        yield
    finally:
        ended.set()
        player.join()
