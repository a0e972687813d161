"""Stories of a host with GPUs: no more at a time than it has, in order, each kept at once."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import pytest

from benchmarks.gpu import host, models, stories
from tools.cluster import state


class Host:
    """How many GPUs are taken, and the most that were."""

    def __init__(self, gpus: int) -> None:
        self.gpus, self.taken, self.most = gpus, 0, 0
        self.lock, self.order = threading.Lock(), list[str]()

    def run_and_delete(self, story: stories.Story, _: float) -> str:
        with self.lock:
            self.taken += story.gpus
            self.most = max(self.most, self.taken)
            self.order.append(story.name)
            assert self.taken <= self.gpus
        time.sleep(0.01)
        with self.lock:
            self.taken -= story.gpus
        return stories.AS_EXPECTED


def story(place: Path, name: str, gpus: int, *, beside: bool = False) -> stories.Story:
    notes = {stories.SHARES_GPUS: "true"} if beside else {}
    document: dict[str, Any] = {
        "metadata": {"name": name, "annotations": notes},
        "spec": {"gpu": {"count": gpus}},
    }
    return stories.Story(None, document, place)


def test_as_many_run_as_there_are_gpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    host, kept = Host(4), dict[str, str]()
    monkeypatch.setattr(stories, "run_and_delete", host.run_and_delete)
    wanted = [1, 1, 1, 2, 1, 2, 1, 4, 1]
    given = [story(tmp_path, f"s{index}", gpus) for index, gpus in enumerate(wanted)]
    given.append(story(tmp_path, "beside", 1, beside=True))
    stories.run_all(given, 4, time.monotonic() + 1000, kept.__setitem__)
    assert kept == dict.fromkeys([one.name for one in given], stories.AS_EXPECTED)
    assert host.most == 4
    assert host.order.index("s7") > host.order.index("s2"), "a large one is not overtaken for ever"


def test_none_begins_that_has_no_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stories, "run_and_delete", Host(1).run_and_delete)
    kept: dict[str, str] = {}
    deadline = time.monotonic() + stories.LEAST_SECONDS - 1
    stories.run_all([story(tmp_path, "late", 1)], 1, deadline, kept.__setitem__)
    assert kept == {"late": "no time left"}


def test_a_resource_has_its_gpus_share_of_the_cpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Cluster:
        def get(self, *_: str) -> dict[str, Any]:
            return {"items": [{"metadata": {"uid": "own"}}]}

    files = [tmp_path / "kubepods" / pod / "cpuset.cpus" for pod in ("podown", "podanother")]
    for file in files:
        file.parent.mkdir(parents=True)
        file.touch()
    monkeypatch.setattr(stories, "PODS", tmp_path)
    monkeypatch.setattr("os.cpu_count", lambda: 32)

    def bind(story: stories.Story, _: float) -> str:
        story.cluster = Cluster()
        story.bind()
        return stories.AS_EXPECTED

    monkeypatch.setattr(stories, "run_and_delete", bind)
    both = story(tmp_path, "both", 2)
    given = [story(tmp_path, "first", 1), story(tmp_path, "second", 1), both]
    stories.run_all(given, 2, time.monotonic() + 1000, lambda *_: None)
    assert [one.cpus for one in given] == ["0-15", "16-31", "0-15,16-31"]
    assert [file.read_text() for file in files] == ["0-15,16-31", ""]
    alone = story(tmp_path, "alone", 1)
    stories.run_all([alone], 1, time.monotonic() + 1000, lambda *_: None)
    assert not alone.cpus, "a host's only GPU has all of them"


def test_long_loops_run_on_the_measured_pod(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With `echo` for the way into the node's network, the log is the command."""

    class Cluster:
        name = "gpu"

        def get(self, *_: str) -> dict[str, Any]:
            return {"items": [{"status": {"podIP": "192.0.2.7"}}]}

        def kubectl(self, *_: str, **__: Any) -> str:
            return "kernels"

    monkeypatch.setattr("tools.cluster.namespaces.enter", lambda pid: ["echo", str(pid)])
    monkeypatch.setattr("tools.cluster.state.read", lambda name: state.State(name, holder_pid=42))
    document: dict[str, Any] = {
        "metadata": {"name": "a", "annotations": {stories.TRUTH: "48 96"}},
        "spec": {"workload": {"inputTokens": 512, "outputTokens": 64}},
    }
    one = stories.Story(Cluster(), document, tmp_path)
    one.truth(300.4)
    told = (tmp_path / "a" / "truth.log").read_text()
    assert told.startswith("42 ")
    assert "http://192.0.2.7:8000" in told
    assert "--levels 48 96 --repeat 1 --input 512 --output 64 " in told
    assert told.rstrip().endswith("--budget 300")
    assert "kernels" in (tmp_path / "a" / "engine-after-truth.log").read_text()


@pytest.mark.parametrize(
    ("asked", "measured", "levels"),
    [
        ("48 capacity", {"capacity": {"concurrency": 168}}, ["48", "168"]),
        ("48 capacity 16", {"capacity": {"concurrency": 48}}, ["48", "16"]),
        ("capacity 16", {}, ["16"]),
    ],
    ids=["beside others", "once", "not found"],
)
def test_a_loop_may_have_the_streams_that_the_probe_found(
    asked: str, measured: dict[str, Any], levels: list[str], tmp_path: Path
) -> None:
    class Cluster:
        def get(self, *_: str) -> dict[str, Any]:
            return {"status": {"measurements": [measured] if measured else []}}

    document = {"metadata": {"name": "a", "annotations": {stories.TRUTH: asked}}, "spec": {}}
    assert stories.Story(Cluster(), document, tmp_path).loops() == levels


def test_a_story_has_loops_where_its_cell_asks_for_them(tmp_path: Path) -> None:
    matrix = tmp_path / "matrix.yaml"
    matrix.write_text("common: {}\ncells: [{name: a, model: m, truth: 48 96}, {name: b, model: m}]")
    asked, plain = models.cells(matrix)
    assert stories.Story(None, asked, tmp_path).truth_levels == ["48", "96"]
    assert stories.Story(None, plain, tmp_path).truth_levels == []


def test_ctranslate2_finds_the_cublas_of_the_host(tmp_path: Path) -> None:
    found = tmp_path / "python/lib/python3.12/site-packages/nvidia/cu13/lib"
    found.mkdir(parents=True)
    for name in ("libcublas.so.13", "libcublasLt.so.13"):
        (found / name).touch()
    (libraries := tmp_path / "ctranslate2.libs").mkdir()
    host.link_cublas(libraries, tmp_path / "python")
    links = {link.name: link.resolve().name for link in libraries.iterdir()}
    assert links == {"libcublas.so.12": "libcublas.so.13", "libcublasLt.so.13": "libcublasLt.so.13"}


@pytest.mark.parametrize(("probe", "seconds"), [({}, 370), ({"budgetSeconds": 180}, 430)])
def test_a_story_has_time_to_load_and_for_its_probe(
    probe: dict[str, int], seconds: int, tmp_path: Path
) -> None:
    document = {"metadata": {"name": "a"}, "spec": {"probe": probe}}
    assert stories.Story(None, document, tmp_path).seconds == seconds


def test_the_log_of_the_start_is_kept_before_its_lines_are_rotated_away(tmp_path: Path) -> None:
    class Cluster:
        def get(self, *_: str) -> dict[str, Any]:
            return {"status": {"conditions": [{"type": "Measured", "reason": "Measuring"}]}}

        def kubectl(self, *_: str, **__: Any) -> str:
            return "loading took 12.9 GiB"

    one = stories.Story(Cluster(), {"metadata": {"name": "a"}, "spec": {}}, tmp_path)
    one.refresh()
    assert "loading took" in (tmp_path / "a" / "engine-start.log").read_text()
