"""The cache of a repository with thousands of files: what each file costs does not grow with their number."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tacho_runtime.hub import cache as cache_module
from tacho_runtime.hub.cache import DownloadTarget, HubCache

COUNT = 500


@pytest.fixture
def cache(tmp_path: Path) -> HubCache:
    made = HubCache(str(tmp_path), "acme/many", "c" * 40)
    made.blobs.mkdir(parents=True)
    return made


def targets() -> list[DownloadTarget]:
    digests = [hashlib.sha256(str(n).encode()).hexdigest() for n in range(COUNT)]
    return [DownloadTarget(f"file-{n}", 3, digest) for n, digest in enumerate(digests)]


def counted(monkeypatch: pytest.MonkeyPatch, place: Any, name: str) -> list[object]:
    calls: list[object] = []
    original: Callable[..., Any] = getattr(place, name)

    def count(*arguments: Any) -> Any:
        calls.append(arguments)
        return original(*arguments)

    monkeypatch.setattr(place, name, count)
    return calls


def test_progress_of_all_files_lists_the_folder_once(
    cache: HubCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    some = targets()
    (cache.blobs / some[0].etag).write_bytes(b"abc")
    cache.link(some[0].path, cache.blobs / some[0].etag)
    cache.partial(some[1].etag).write_bytes(b"a")
    (cache.blobs / f"{some[2].etag}.0a1b2c3d.incomplete").write_bytes(b"ab")
    (cache.blobs / "no.digest.at.all").write_bytes(b"abc")
    listed = counted(monkeypatch, os, "scandir")
    found = cache.present(some)
    assert [found[one.path] for one in some[:4]] == [3, 1, 2, 0]
    assert len(listed) == 1
    for one in some:
        cache.drop_strays(one.etag)
    assert len(listed) == 1


def test_verified_files_are_not_written_again_for_each(
    cache: HubCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = counted(monkeypatch, cache_module, "replace_file")
    for one in targets():
        (cache.blobs / one.etag).write_bytes(b"abc")
        cache.verified.note(one.path, (cache.blobs / one.etag).stat(), one.etag)
    cache.verified.store()
    cache.verified.store()
    assert len(written) < COUNT / 10
    again = HubCache(str(cache.root.parent), "acme/many", "c" * 40)
    assert all(again.verified.holds(one.path, cache.blobs / one.etag, one.etag) for one in targets())
