"""A cluster that was not started here: its nodes pull what was pushed to REGISTRY."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest

from tests.cluster_fixtures import state_of
from tools import lab
from tools.cluster.binaries import Binaries
from tools.cluster.handle import Cluster
from tools.cluster.named import USERS
from tools.images import buildah
from tools.steps import StepError

BUILT = {
    name: {"name": name, "content_reference": f"{name}:1"} for name in ("tacho", "tacho-llamacpp", "smollm2")
}


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cluster:
    monkeypatch.setattr(lab, "built_images", lambda: BUILT)
    return Cluster(name=USERS, directory=tmp_path, kubeconfig=tmp_path / "k", binaries=cast(Binaries, None))


def test_a_registry_is_asked_for(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("REGISTRY", raising=False)
    with pytest.raises(StepError, match="set REGISTRY"):
        lab.images_for(cluster)


def test_the_chart_installs_what_was_pushed_by_its_digest(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    digest = "sha256:" + "0" * 64
    monkeypatch.setenv("REGISTRY", "localhost:5000/team")
    monkeypatch.setattr(buildah, "exists", lambda reference: True)
    monkeypatch.setattr(buildah, "push", lambda built, to, **_: digest)
    references = lab.images_for(cluster)
    assert set(references) == set(BUILT)
    assert references["smollm2"].startswith("localhost:5000/team/smollm2:")
    values: dict[str, Any] = lab.chart_values(references)
    assert values["image"] == {
        "repository": "localhost:5000/team/tacho",
        "tag": references["tacho"].rpartition("@")[0].rpartition(":")[2],
        "digest": digest,
        "pullPolicy": "IfNotPresent",
    }
    assert values["engineImages"] == {"llamacpp": references["tacho-llamacpp"]}


def test_tests_of_the_node_do_not_run_there(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match="not started here"):
        state_of(cluster)


def test_an_imported_image_is_never_pulled() -> None:
    values = lab.chart_values({"tacho": "docker.io/tacho/tacho:abc", "tacho-llamacpp": "docker.io/tacho/l:1"})
    image = {"repository": "docker.io/tacho/tacho", "tag": "abc", "digest": "", "pullPolicy": "Never"}
    assert values["image"] == image
