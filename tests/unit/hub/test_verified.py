"""Which files of a cache count as verified, where others change them meanwhile."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tacho_runtime.hub import cache as cache_module
from tacho_runtime.hub.cache import DownloadTarget, HubCache, content_matches

CONTENT = b"weights"
TARGET = DownloadTarget("model.bin", len(CONTENT), hashlib.sha256(CONTENT).hexdigest())


@pytest.fixture
def cache(tmp_path: Path) -> HubCache:
    made = HubCache(str(tmp_path), "acme/model", "c" * 40)
    made.hold()
    (made.snapshot / TARGET.path).write_bytes(CONTENT)
    return made


def test_a_file_is_verified_with_one_digest(cache: HubCache) -> None:
    assert cache.sound(TARGET)
    assert cache.sound(TARGET)
    assert not cache.sound(DownloadTarget(TARGET.path, TARGET.size_bytes, "0" * 64))
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
    assert cache.sound(TARGET)
    monkeypatch.undo()
    assert not cache.sound(TARGET)
