"""helm upgrade from an earlier commit, and helm rollback, while requests come in all the time.

Two replicas of the operator: for a while one of each version runs, and one of them leads."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import INSECURE_HUB, Installed
from tests.e2e.faults import OPERATOR
from tests.e2e.load import Load, service_url
from tests.e2e.mocks import fill_model, mock
from tests.e2e.resource import Llmd, eventually
from tests.earlier import checked_out
from tools import lab
from tools.cluster import images

pytestmark = [pytest.mark.nightly, pytest.mark.alone, pytest.mark.timeout(900)]

CLIENTS, PAUSE_SECONDS = 4, 0.05
VALUES = {**INSECURE_HUB, "replicas": 2}
ENOUGH = 100
"""Requests that show that all is well."""


@pytest.fixture
def before(tacho: Installed, tmp_path: Path) -> Iterator[Path]:
    """The sources of that commit, whose chart and operator are installed."""
    sources = checked_out(tmp_path)
    build = [sys.executable, "-m", "tools.images", "build", "--only", "tacho"]
    subprocess.run(build, cwd=sources, check=True)
    (image,) = json.loads((sources / "build/images/images.json").read_text())
    images.load_into(tacho.cluster.name, Path(image["archive"]))
    references = {**tacho.images, "tacho": image["content_reference"]}
    lab.install_chart(tacho.cluster, references, VALUES, chart=sources / "charts/tacho")
    yield sources
    lab.install_chart(tacho.cluster, tacho.images, INSECURE_HUB)


def serving(llmd: Llmd) -> set[tuple[str, int]]:
    """(uid, restarts of its containers) of each pod that serves."""
    return {(pod["metadata"]["uid"], restarts(pod)) for pod in llmd.pods()}


def restarts(pod: dict[str, Any]) -> int:
    kinds = ("containerStatuses", "initContainerStatuses")
    return sum(item["restartCount"] for kind in kinds for item in pod["status"].get(kind) or ())


def settled(llmd: Llmd) -> None:
    """The operator that runs now has looked at every child: it has made one again that was deleted."""
    where = ("networkpolicies", "-n", llmd.namespace)
    llmd.cluster.kubectl("delete", *where, "--all")
    eventually("it is made again", lambda: llmd.cluster.get(*where)["items"] or None)
    llmd.await_condition("Ready", "True", "Serving")


def operator_image(tacho: Installed) -> str:
    where = ("deployment", lab.RELEASE, "-n", lab.OPERATOR_NAMESPACE)
    return image_of(tacho.cluster.get(*where)["spec"]["template"])


def image_of(pod: dict[str, Any]) -> str:
    return str(pod["spec"]["containers"][0]["image"])


def changed(tacho: Installed, change: Callable[[], None]) -> None:
    """Until the change has ended; versions of the operator run beside each other meanwhile."""
    where = ("pods", "-n", lab.OPERATOR_NAMESPACE, "-l", OPERATOR)
    before, beside = operator_image(tacho), False
    with ThreadPoolExecutor(1) as pool:
        change_ends = pool.submit(change)
        while not change_ends.done():
            found = [pod for pod in tacho.cluster.get(*where)["items"] if pod["status"]["phase"] == "Running"]
            beside = beside or len({image_of(pod) for pod in found}) == 2
            time.sleep(0.2)
        change_ends.result()
    assert beside
    assert operator_image(tacho) != before


def test_every_request_is_answered_by_the_pods_of_before(
    tacho: Installed, llmd: Llmd, namespace: str, before: Path
) -> None:
    fill_model(tacho, namespace)
    llmd.apply(mock(tacho, replicas=2, probe={"policy": "Disabled"}))
    eventually("both serve", lambda: len(llmd.endpoints()) == 2 or None)
    settled(llmd)
    pods, old = serving(llmd), operator_image(tacho)
    assert sum(count for _, count in pods) == 0
    body = {"model": "mine", "prompt": "Once upon a time", "max_tokens": 4}
    load = Load(service_url(llmd, "/v1/completions"), body, clients=CLIENTS, pause_seconds=PAUSE_SECONDS)

    def answered(what: str) -> None:
        already = load.answered
        eventually("more answers", lambda: load.answered >= already + ENOUGH or None)
        print(f"{what}: {load.answered} requests answered, {len(load.lost)} lost")
        assert load.lost == []
        assert serving(llmd) == pods

    with load.running():
        answered("before")
        changed(tacho, lambda: lab.install_chart(tacho.cluster, tacho.images, VALUES))
        settled(llmd)
        answered("upgraded")
        changed(tacho, lambda: lab.helm(tacho.cluster, "rollback", lab.RELEASE))
        assert operator_image(tacho) == old
        settled(llmd)
        answered("rolled back")
    assert load.lost == []
