"""A namespace that is being deleted while a finalizer keeps a pod of it."""

from __future__ import annotations

import copy
from typing import cast

import pytest

from tacho_operator.core import names
from tacho_operator.shell.api_errors import Forbidden
from tacho_operator.shell.child_backoff import REFUSED_SECONDS
from tacho_operator.shell.dry_run import Trials
from tacho_operator.shell.kube import Kube
from tests.wiring.reconciling import KEY, Server, conditions, reconciler
from tools.harness.resources import NOW
from tools.harness.world import MOCK_SPEC, World

TERMINATING = Forbidden(
    403,
    'pods "smol-trial" is forbidden: unable to create new content in namespace ml because it is being '
    "terminated",
)


def held_world() -> World:
    """All its pods are ending."""
    world = World(MOCK_SPEC, resourceVersion="1")
    world.come_up()
    for pod in world.pods("server"):
        pod["metadata"] |= {"deletionTimestamp": f"{NOW:%Y-%m-%dT%H:%M:%SZ}", "finalizers": ["a/b"]}
    return world


async def test_it_is_said_although_no_child_is_to_be_created() -> None:
    """ReplicaSets say nothing of it: "Pods are being created" stayed."""
    server = Server(held_world())
    server.refuses, server.refuses_trial_of, server.error = False, "Pod", TERMINATING
    reconcile = reconciler(server)
    for _ in range(3):
        await reconcile(KEY)
    status, reason, message = conditions(server)["Ready"]
    assert (status, reason) == ("False", "NamespaceTerminating")
    assert message.startswith("The namespace is being deleted")
    assert server.tried == ["Pod"], "once, until its pause is over"


async def test_pods_that_are_replaced_are_tried_once() -> None:
    world = held_world()
    server = Server(world)
    server.refuses = False
    reconcile = reconciler(server)
    for _ in range(3):
        await reconcile(KEY)
    assert conditions(server)["Ready"][1] == "Starting"
    assert server.tried == ["Pod"]
    for pod in world.pods("server"):
        del pod["metadata"]["deletionTimestamp"]
    await reconcile(KEY)
    assert server.tried == ["Pod"]


async def test_an_accepted_trial_is_repeated_after_a_pause() -> None:
    """The namespace was deleted after its pods: the first answer stayed for as long as they ended."""
    server, now = Server(held_world()), 0.0
    server.refuses = False
    reconcile = reconciler(server)
    reconcile._trials = Trials(cast(Kube, server), clock=lambda: now)
    await reconcile(KEY)
    server.refuses_trial_of, server.error = "Pod", TERMINATING
    await reconcile(KEY)
    assert conditions(server)["Ready"][1] == "Starting"
    assert server.tried == ["Pod"]
    now = REFUSED_SECONDS
    await reconcile(KEY)
    assert conditions(server)["Ready"][1] == "NamespaceTerminating"
    assert server.tried == ["Pod", "Pod"]


@pytest.mark.parametrize("change", ["one pod lives", "pods of another revision", "no replicas"])
async def test_no_pod_is_tried_where_others_serve_or_none_is_needed(change: str) -> None:
    world = held_world()
    server = Server(world)
    server.refuses = False
    pods = world.pods("server")
    if change == "one pod lives":
        alive = copy.deepcopy(pods[0])
        alive["metadata"] |= {"name": "alive", "uid": "alive"}
        del alive["metadata"]["deletionTimestamp"]
        world.objects["Pod", "alive"] = alive
    for pod in pods if change == "pods of another revision" else ():
        pod["metadata"]["labels"][names.REVISION_LABEL] = "smol-0000000000"
    if change == "no replicas":
        world.change(replicas=0)
    await reconciler(server)(KEY)
    assert server.tried == []
