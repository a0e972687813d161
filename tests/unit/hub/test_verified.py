"""Which files of a cache are verified, and which left over, where others change them meanwhile."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tacho_contract.fetch import FetchConfig
from tacho_contract.model import InspectConfig
from tacho_contract.uri import HubUri
from tacho_runtime.hub import cache as cache_module
from tacho_runtime.hub.cache import DownloadTarget, HubCache, content_matches
from tacho_runtime.hub.fetch import ModelFetch, fetch
from tacho_runtime.hub.inspect import inspect
from tacho_runtime.hub.remote import HubSource
from tests.unit.hub.conftest import RunningHub
from tests.unit.hub.fetching import MODEL, check_whole, fetched
from tools.mock.hub import FakeHub

CONTENT = b"weights"
TARGET = DownloadTarget("model.bin", len(CONTENT), hashlib.sha256(CONTENT).hexdigest())


@pytest.fixture
def cache(tmp_path: Path) -> HubCache:
    made = HubCache(str(tmp_path), "acme/model", "c" * 40)
    made.hold()
    (made.snapshot / TARGET.path).write_bytes(CONTENT)
    return made


def test_a_file_is_verified_with_one_digest(cache: HubCache) -> None:
    assert cache.is_intact(TARGET)
    assert cache.is_intact(TARGET)
    assert not cache.is_intact(DownloadTarget(TARGET.path, TARGET.size_bytes, "0" * 64))
    assert cache.hashed_bytes == 2 * len(CONTENT)


def test_a_file_that_changes_while_it_is_read_is_read_again(
    cache: HubCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    def replaced(path: Path, digest: str, note_bytes: Callable[[int], None]) -> bool:
        found = content_matches(path, digest, note_bytes)
        path.write_bytes(b"replace")
        os.utime(path, ns=(1, 1))
        return found

    monkeypatch.setattr(cache_module, "content_matches", replaced)
    assert cache.is_intact(TARGET)
    monkeypatch.undo()
    assert not cache.is_intact(TARGET)


def test_a_partial_file_that_another_pod_writes_is_not_left_over(cache: HubCache) -> None:
    """Where a file system honours no locks, it may be one of this moment."""
    partial = cache.blobs / f"{TARGET.etag}.0a1b2c3d.incomplete"
    for age_seconds in (0, 2 * cache_module.STRAY_AGE_SECONDS):
        partial.write_bytes(b"part")
        os.utime(partial, (time.time() - age_seconds,) * 2)
        seen = HubCache(str(cache.root.parent), "acme/model", "c" * 40)
        seen.hold()
        seen.drop_strays(TARGET.etag)
        assert partial.exists() == (age_seconds == 0)


def another_hub(tmp_path: Path, commit: str, weights: bytes, digest: str = "") -> RunningHub:
    """A hub with other weights under the same ``commit``. ``digest``: what it lists as theirs."""
    other = RunningHub(tmp_path / "other")
    folder = other.root / "acme/model"
    folder.mkdir(parents=True)
    (folder / "weights.bin").write_bytes(weights)
    (folder / "config.json").write_text('{"small": true}')
    lists(other, commit, digest)
    return other


def lists(other: RunningHub, commit: str, digest: str = "") -> None:
    found = FakeHub(other.root)._listing("acme/model")
    assert found is not None
    files = [replace(f, etag=digest) if digest and f.path == "weights.bin" else f for f in found[1]]
    other.fake._listing = lambda _: (commit, files)  # type: ignore[method-assign,assignment]  # another listing
    other.fake._commits["acme/model"] = {commit: files}


@pytest.mark.parametrize("keeps_list", [True, False])
def test_what_another_hub_brought_is_compared_with_what_this_one_lists(
    hub: RunningHub, config: FetchConfig, tmp_path: Path, *, keeps_list: bool
) -> None:
    """It said that they are the same commit's. Names and sizes are, and each blob has its digest's name."""
    other = another_hub(tmp_path, config.files.commit, bytes(len(MODEL)))
    path = fetch(replace(config, endpoint=other.url, state_dir=str(tmp_path / "its")), "")
    other.stop()
    assert isinstance(path, str)
    assert Path(path, "weights.bin").read_bytes() == bytes(len(MODEL))
    for seal in Path(config.cache_dir, "verified").rglob("*.json"):
        if not keeps_list:  # the pod ended before it had verified a file
            seal.write_text("{}")
    path, brought = fetch(config, ""), path
    assert isinstance(path, str)
    assert Path(path, "weights.bin").read_bytes() == MODEL
    # An engine that restarts loads its files again.
    assert Path(brought, "weights.bin").read_bytes() == bytes(len(MODEL))
    again = replace(config, endpoint=config.endpoint, state_dir=str(tmp_path / "again"))
    hub.fake.log.clear()
    assert (fetch(again, ""), hub.fake.log) == (path, [])


def test_a_slash_at_the_end_of_an_address_is_no_other_hub(
    hub: RunningHub, config: FetchConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor is the same address from the environment."""
    path = fetch(config, "")
    monkeypatch.setenv("HF_ENDPOINT", f"{config.endpoint}/")
    hub.fake.log.clear()
    for number, endpoint in enumerate((f"{config.endpoint}/", "")):
        again = replace(config, endpoint=endpoint, state_dir=f"{config.state_dir}-{number}")
        assert (fetch(again, ""), hub.fake.log) == (path, [])


def test_two_hubs_that_began_at_the_same_time_are_both_asked(hub: RunningHub, config: FetchConfig) -> None:
    """Each found no list of another, so that they have one folder."""
    assert isinstance(fetch(config, ""), str)
    own = next(Path(config.cache_dir, "verified").rglob("*.json"))
    for seal in (own, own.with_name(f"{config.files.commit}-other.json")):
        seal.write_text("{}")
    hub.fake.log.clear()
    fetched(replace(config, state_dir=f"{config.state_dir}-again"))
    assert hub.asked("GET", "/tree/")


def test_a_hub_that_lists_late_replaces_no_files_of_another(
    hub: RunningHub, config: FetchConfig, tmp_path: Path
) -> None:
    """Neither had brought anything when both began."""
    other = another_hub(tmp_path, config.files.commit, bytes(len(MODEL)))
    late = ModelFetch(replace(config, endpoint=other.url, state_dir=str(tmp_path / "its")), "")
    planned, brought = late._planned, []

    def slow(source: HubSource) -> tuple[DownloadTarget, ...]:
        brought.append(fetch(config, ""))
        return planned(source)

    late._planned = slow  # type: ignore[method-assign]  # another fetch comes first
    path = late.run()
    other.stop()
    assert Path(path, "weights.bin").read_bytes() == bytes(len(MODEL))
    check_whole(config, str(brought[0]))


@pytest.mark.parametrize("size_bytes", [len(MODEL), len(MODEL) + 1])
@pytest.mark.parametrize("is_same_commit", [True, False])
def test_what_a_hub_lists_removes_no_sound_file_of_another(
    hub: RunningHub, config: FetchConfig, tmp_path: Path, size_bytes: int, *, is_same_commit: bool
) -> None:
    """It lists the digest of another's file, with another size or until the file is there."""
    path = fetch(config, "")
    commit = config.files.commit if is_same_commit else "d" * 40
    other = another_hub(tmp_path, commit, bytes(size_bytes), hashlib.sha256(MODEL).hexdigest())
    planned = inspect(
        InspectConfig(uri=HubUri("acme/model"), endpoint=other.url, parse=False, engine="custom")
    )
    assert planned.facts is not None
    for number, digest in enumerate(("", hashlib.sha256(bytes(size_bytes)).hexdigest())):
        its = replace(config, endpoint=other.url, files=planned.facts.files, state_dir=f"{tmp_path}/{number}")
        fetch(its, "")
        lists(other, commit, digest)
        for file in Path(config.cache_dir, "hub").rglob("snapshots/*/config.json"):
            if str(file.parent) != path:
                file.unlink()  # so that the hub is asked again
    other.stop()
    check_whole(config, str(path))
