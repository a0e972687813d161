"""Whom the chart lets write LLMDeployments, asked of a real API server."""

from __future__ import annotations

import subprocess
import time

from tools.cluster import binaries
from tools.cluster.handle import Cluster
from tools.harness.helm import Helm, kinds

PATIENCE_SECONDS = 60.0
"""The controller manager copies the rules into view, edit and admin some time after they are made."""


def may(api: Cluster, user: str, namespace: str, verb: str, *what: str) -> bool:
    try:
        return api.kubectl("auth", "can-i", verb, *what, f"--as={user}", "-n", namespace).strip() == "yes"
    except subprocess.CalledProcessError as error:
        if error.stdout.strip() != "no":
            raise
        return False


def test_who_edits_a_namespace_edits_its_resources_and_not_their_status(api: Cluster, namespace: str) -> None:
    roles = kinds(Helm(binaries.helm(print)).template(), "ClusterRole")
    api.apply(*(role for role in roles if role["metadata"]["name"] in ("tacho-view", "tacho-edit")))
    for role, user in (("view", "viewer"), ("edit", "editor")):
        api.kubectl("create", "rolebinding", role, f"--clusterrole={role}", f"--user={user}", "-n", namespace)
    resource, deadline = "llmdeployments.tacho.dev", time.monotonic() + PATIENCE_SECONDS
    while not may(api, "editor", namespace, "create", resource) and time.monotonic() < deadline:
        time.sleep(0.2)
    verbs = ("get", "list", "watch", "create", "update", "patch", "delete")
    assert [may(api, "editor", namespace, verb, resource) for verb in verbs] == [True] * 7
    assert may(api, "editor", namespace, "update", resource, "--subresource=scale")
    assert not may(api, "editor", namespace, "update", resource, "--subresource=status")
    assert not may(api, "editor", "default", "create", resource)
    assert [may(api, "viewer", namespace, verb, resource) for verb in verbs] == [True] * 3 + [False] * 4


def test_tenants_forge_neither_revisions_nor_the_addresses_of_pods(api: Cluster, namespace: str) -> None:
    """The operator makes pods of a revision's template, and reads load and reports from a pod's address."""
    for role in ("edit", "admin"):
        api.kubectl(
            "create", "rolebinding", role, f"--clusterrole={role}", f"--user={role}or", "-n", namespace
        )
    for user in ("editor", "adminor"):
        assert may(api, user, namespace, "update", "services")
        for verb in ("create", "update", "patch"):
            assert not may(api, user, namespace, verb, "controllerrevisions.apps")
            assert not may(api, user, namespace, verb, "pods", "--subresource=status")
