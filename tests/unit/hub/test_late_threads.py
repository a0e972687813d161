"""Threads of a failed fetch that go on while its process says why it failed."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from tacho_contract.fetch import FetchConfig
from tacho_runtime.hub import download, fetch as fetch_module
from tests.unit.hub.fetching import failed


def test_a_thread_that_outlives_a_failure_writes_to_no_other_folder(
    config: FetchConfig, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    goes_on, written = threading.Event(), threading.Event()

    def late(self: download.Downloader, *_: object) -> None:
        goes_on.wait(20)
        (self._cache.blobs / "late").touch()
        written.set()

    monkeypatch.setattr(download.Downloader, "download", late)
    monkeypatch.setattr(fetch_module, "STALL_SECONDS", 0.1)
    failed(config)
    (tmp_path / "other").mkdir()
    opened = [os.open(tmp_path / "other", os.O_DIRECTORY) for _ in range(8)]
    goes_on.set()
    assert written.wait(20)
    for descriptor in opened:
        os.close(descriptor)
    assert not list((tmp_path / "other").iterdir())
