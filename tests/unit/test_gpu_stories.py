"""Stories of a host with GPUs: no more at a time than it has, in order, each kept at once."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import pytest

from benchmarks.gpu import stories


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
