"""hf:// models, from the tests' own hub: fetched, continued, kept to oneself, and refused with a reason."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e import hub as hubs, sidecar
from tests.e2e.claims import claim
from tests.e2e.conftest import Installed
from tests.e2e.hub import MB, REPOSITORY, TOKEN, Hub, fetched, report
from tests.e2e.refusals import refused
from tests.e2e.resource import Llmd, eventually, example

pytestmark = pytest.mark.timeout(900)
UNMEASURED = {"policy": "Disabled"}
SLOW = 3 * MB
"""Bytes a second: the model takes half a minute."""


@pytest.fixture(scope="module")
def running_hub(tacho: Installed) -> Iterator[Hub]:
    namespace = f"t-hub-{os.getpid()}"
    tacho.cluster.create_namespace(namespace)
    yield hubs.start(tacho, namespace)
    tacho.cluster.kubectl("delete", "namespace", namespace, "--wait=false")


@pytest.fixture
def hub(running_hub: Hub) -> Hub:
    """The hub, behaving."""
    running_hub.faults(**hubs.NO_FAULTS)
    return running_hub


def from_hub(hub: Hub, *, repository: str = REPOSITORY, **spec: Any) -> dict[str, Any]:
    """The example's manifest with its model on the hub. ``model`` in ``spec`` is added to."""
    model = {"uri": f"hf://{repository}", "hub": {"endpoint": hub.endpoint}, **spec.pop("model", {})}
    resources = {"requests": {"cpu": "100m", "memory": "256Mi"}, "limits": {"memory": "2Gi"}}
    return example(model=model, **{"engine": {"name": "llamacpp", "resources": resources}, **spec})


def complete(llmd: Llmd, pod: dict[str, Any]) -> dict[str, Any]:
    """The progress of the download once it is over."""

    def look() -> dict[str, Any] | None:
        found = (report(llmd, pod) or {}).get("fetch") or {}
        return found if found.get("state") == "Complete" else None

    return eventually(f"the whole model in {pod['metadata']['name']}", look, 240)


def test_fetched_measured_answered_and_its_fetch_container_may_die(hub: Hub, llmd: Llmd) -> None:
    hub.faults(rate=SLOW, cutAfter=20 * MB, cuts=1)
    since = len(hub.log())
    llmd.apply(from_hub(hub))

    llmd.await_condition("Ready", "False", "Downloading")
    told = eventually(
        "progress in Ready's message",
        lambda: re.search(
            r"downloading ([1-9][\d.]*) of ([\d.]+) MB", llmd.condition("Ready").get("message", "")
        ),
    )
    print(told[0])
    counted = eventually(
        "bytes in status.startup", lambda: (llmd.status().get("startup") or {}).get("downloadedBytes")
    )
    pod = sidecar.the_pod(llmd)
    progress = fetched(llmd, pod, 21 * MB)
    total = progress["bytesTotal"]
    assert 0 < counted < total == llmd.status()["startup"]["downloadTotalBytes"]
    hub.faults(rate=0)
    assert complete(llmd, pod)["bytesDone"] == total
    first, after_cut = hub.downloads(since)
    assert first == 0
    assert 18 * MB < after_cut <= 21 * MB, "the cut connection is continued where it ended"

    llmd.await_figures(400)
    llmd.await_condition("Ready", "True", "Serving")
    assert llmd.status()["startup"]["downloadedBytes"] == total
    assert llmd.chat().strip()
    the_fetch_container_dies(hub, llmd, pod["metadata"]["name"])


def the_fetch_container_dies(hub: Hub, llmd: Llmd, name: str) -> None:
    """Of a signal from inside, as anyone who may exec can send it, then of the node with the hub away."""
    asked, engine = len(hub.log()), sidecar.status(sidecar.read(llmd, name), "engine")
    pod = sidecar.restarted(llmd, sidecar.read(llmd, name), 0)
    address = llmd.cluster.get("service", llmd.name, "-n", llmd.namespace)["spec"]["clusterIP"]
    with sidecar.Outage(f"http://{address}:8000/health") as outage, sidecar.Watched(llmd) as watched:
        # SIGKILL from inside would prove nothing: the kernel keeps it from a namespace's first process.
        terminate = "import os, signal; os.kill(1, signal.SIGTERM)"
        with contextlib.suppress(subprocess.CalledProcessError):  # the container's end takes this one along
            sidecar.in_container(llmd, pod, sidecar.FETCH, "python3", "-I", "-S", "-c", terminate)
        pod = sidecar.restarted(llmd, pod, 1)
        eventually("the pod in the Service", lambda: watched.ready or None)
    again = sidecar.status(pod)
    ended = again["lastState"]["terminated"]
    assert ended["exitCode"] == 0, "it ends when it is told to"
    print(
        f"fetch container told to end: ended {ended['finishedAt']}, runs again since "
        f"{again['state']['running']['startedAt']}; no ready endpoint for {watched.seconds_out():.1f} s; "
        f"{len(outage.failed_at)} of {outage.answered + len(outage.failed_at)} requests failed, "
        f"over {outage.seconds:.1f} s"
    )
    assert len(hub.log()) == asked, "with the model there, the hub is asked nothing"

    hub.scale(0)
    try:
        sidecar.kill_container(llmd.cluster, pod)
        pod = sidecar.restarted(llmd, pod, 2)
    finally:
        hub.scale(1)
    assert sidecar.status(pod)["lastState"]["terminated"]["exitCode"] == 128 + signal.SIGKILL
    assert sidecar.status(pod, "engine")["containerID"] == engine["containerID"]
    eventually("the pod in the Service", lambda: llmd.endpoints() or None)
    assert llmd.chat().strip()


def test_a_killed_container_and_a_deleted_pod_continue_what_the_cache_holds(hub: Hub, llmd: Llmd) -> None:
    hub.faults(rate=SLOW)
    since = len(hub.log())
    llmd.cluster.apply(claim(llmd.namespace, "cache"))
    cache = {"persistentVolumeClaim": {"claimName": "cache"}}
    llmd.apply(from_hub(hub, cache=cache, probe=UNMEASURED))

    first = sidecar.the_pod(llmd)
    before_kill = fetched(llmd, first, 12 * MB)["bytesDone"]
    sidecar.kill_container(llmd.cluster, first)
    again = fetched(llmd, first, before_kill + 12 * MB)
    assert before_kill <= again["resumedBytes"] <= again["bytesDone"]

    hub.faults(rate=MB // 4)
    llmd.cluster.kubectl(
        "delete", "pod", first["metadata"]["name"], "-n", llmd.namespace, "--timeout=120s",
        timeout_seconds=130,
    )  # fmt: skip
    second = sidecar.the_pod(llmd, without=first["metadata"]["uid"])
    hub.faults(rate=0)
    done = complete(llmd, second)
    assert again["bytesDone"] <= done["resumedBytes"] < done["bytesTotal"]
    starts = hub.downloads(since)
    print(f"downloads of {done['bytesTotal']} bytes began at {starts}")
    assert starts[0] == 0
    assert starts[1] >= before_kill, "the killed container's successor asks for the rest only"
    assert starts[-1] >= again["bytesDone"], "and so does the new pod"

    asked = len(hub.log())
    llmd.cluster.kubectl("delete", "pod", second["metadata"]["name"], "-n", llmd.namespace, "--wait=false")
    third = sidecar.the_pod(llmd, without=second["metadata"]["uid"])
    assert complete(llmd, third)["resumedBytes"] == done["bytesTotal"]
    assert len(hub.log()) == asked, "with the model on the claim, the hub is asked nothing"
    llmd.await_condition("Ready", "True", seconds=240)


ENVIRONMENTS = """
import glob, json
found = {}
for path in glob.glob("/proc/[0-9]*/environ"):
    name = open(path.replace("environ", "cmdline")).read().replace("\\0", " ").strip()
    found[path.split("/")[2] + " " + name[:60]] = open(path, errors="replace").read()
print(json.dumps(found))
"""


def test_a_token_opens_the_door_and_stays_with_those_who_need_it(hub: Hub, llmd: Llmd) -> None:
    hub.faults(tokens={"*": TOKEN})
    llmd.apply(from_hub(hub, probe=UNMEASURED))
    refused(llmd, "AuthRequired", "spec.model.tokenSecretRef", "Secret")
    assert llmd.condition("Stalled")["status"] == "True"
    assert not llmd.pods()

    named = {"tokenSecretRef": {"name": "hf", "key": "HF_TOKEN"}}
    llmd.apply(from_hub(hub, model=named, probe=UNMEASURED))
    refused(llmd, "AuthRequired", 'secret "hf" not found', "Create it, or correct its name")
    (inspect,) = eventually("an inspect pod that waits for the Secret", lambda: llmd.pods("inspect") or None)
    assert _holders(inspect) == ["inspect"]

    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "hf", "namespace": llmd.namespace}}
    llmd.cluster.apply({**secret, "stringData": {"HF_TOKEN": TOKEN}})
    llmd.await_condition("Ready", "True", seconds=300)
    (pod,) = llmd.pods()
    assert _holders(pod) == ["fetch"]
    environments = json.loads(
        sidecar.in_container(llmd, pod, "engine", "python3", "-I", "-S", "-c", ENVIRONMENTS)
    )
    assert any("tacho_llamacpp" in name for name in environments), environments.keys()
    assert any("runtime.pyz" in name for name in environments), environments.keys()
    for name, environment in environments.items():
        assert TOKEN not in environment, name
        assert "HF_TOKEN" not in environment, name
    for kind in ("configmaps", "controllerrevisions", "pods", "deployments", "llmd"):
        everything = llmd.cluster.kubectl("get", kind, "-n", llmd.namespace, "-o", "yaml")
        assert TOKEN not in everything, kind


def _holders(pod: dict[str, Any]) -> list[str]:
    """The containers that are given the Secret, in any way."""
    spec = pod["spec"]
    assert not [volume for volume in spec["volumes"] if "secret" in json.dumps(volume).lower()]
    containers = (*spec.get("initContainers", ()), *spec["containers"])
    return [item["name"] for item in containers if "secret" in json.dumps(item).lower()]


@pytest.mark.parametrize(
    ("repository", "revision", "words"),
    [
        ("tests/nothing", "main", ("tests/nothing does not exist", "spec.model.uri")),
        (REPOSITORY, "v9", ("has no revision 'v9'", "spec.model.revision")),
    ],
)
def test_what_the_hub_does_not_have(
    hub: Hub, llmd: Llmd, repository: str, revision: str, words: tuple[str, ...]
) -> None:
    llmd.apply(from_hub(hub, repository=repository, model={"revision": revision}))
    refused(llmd, "ModelNotFound", *words)
    assert llmd.condition("Stalled")["status"] == "True"
    assert not llmd.pods()


def test_a_hub_that_is_away_is_waited_for(hub: Hub, llmd: Llmd) -> None:
    hub.scale(0)
    try:
        llmd.apply(from_hub(hub, probe=UNMEASURED))
        refused(llmd, "HubUnreachable", hub.endpoint, "spec.model.hub", "will be retried")
        assert llmd.condition("Stalled")["status"] == "False"
    finally:
        hub.scale(1)
    llmd.await_condition("Ready", "True", seconds=400)


def test_a_download_that_fails_says_why_and_goes_on_when_it_can(hub: Hub, llmd: Llmd) -> None:
    hub.faults(rate=SLOW, cutAfter=60 * MB, cuts=1)
    since = len(hub.log())
    llmd.apply(from_hub(hub, probe=UNMEASURED))
    pod = sidecar.the_pod(llmd)
    fetched(llmd, pod, 4 * MB)
    hub.faults(failAlways=503, rate=0)
    refused(llmd, "HubUnreachable", "fetch in pod", "HTTP 503", "spec.model.hub", seconds=400)
    hub.faults(failAlways=0)
    assert complete(llmd, pod)["state"] == "Complete"
    first, *rest = hub.downloads(since)
    assert first == 0
    assert rest, "there was a second download"
    assert min(rest) > 56 * MB, "what had arrived before the failure is not asked for again"
    llmd.await_condition("Ready", "True", seconds=300)


def test_an_inspection_that_takes_too_long_is_ended_and_tried_again(
    hub: Hub, llmd: Llmd, tacho: Installed, namespace: str
) -> None:
    """The kubelet ends it by the pod's own deadline, which may be made shorter while it runs."""
    hub.faults(stallSeconds=8)
    llmd.apply(example(model={"uri": f"hf://{REPOSITORY}", "hub": {"endpoint": hub.endpoint}}))
    pod = eventually("the inspect pod runs", lambda: running(llmd))
    change = json.dumps({"spec": {"activeDeadlineSeconds": 3}})
    tacho.cluster.kubectl("patch", "pod", pod, "-n", namespace, "--type=merge", "-p", change)
    refused(llmd, "InspectionTimeout", pod, "exceeded its deadline", "retried")
    assert llmd.condition("Stalled")["status"] == "False", "no person is needed"
    assert llmd.condition("Reconciling")["status"] == "True"
    hub.faults(stallSeconds=0)
    llmd.await_condition("Planned", "True")


def running(llmd: Llmd) -> str | None:
    """The inspect pod, once its container has started."""
    for pod in llmd.pods("inspect"):
        for status in pod["status"].get("containerStatuses") or ():
            if "running" in status["state"]:
                return str(pod["metadata"]["name"])
    return None
