"""A disk that is really full: a file system of a few megabytes, which only root can mount."""

from __future__ import annotations

import errno
import os
import resource
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tacho_contract.failure import Failure
from tacho_contract.fetch import FetchConfig
from tacho_runtime.hub import fetch as fetch_module
from tacho_runtime.hub.failures import classify
from tests.unit.hub.conftest import RunningHub
from tests.unit.hub.fetching import MODEL, failed, fetched, planned


def mounted(path: Path, size: str, *, again: bool = False) -> None:
    options = f"{'remount,' if again else ''}size={size}"
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(path)], check=True)


@pytest.fixture
def config(hub: RunningHub, tmp_path: Path) -> Iterator[FetchConfig]:
    folder = hub.root / "acme/model"
    folder.mkdir(parents=True)
    (folder / "weights.bin").write_bytes(MODEL)
    (folder / "config.json").write_text('{"small": true}')
    small = tmp_path / "small"
    small.mkdir()
    mounted(small, "4m")
    yield replace(planned(hub, tmp_path), cache_dir=str(small))
    subprocess.run(["umount", str(small)], check=True)


def test_too_small_from_the_start(config: FetchConfig) -> None:
    assert failed(config).failure_class == "DiskFull"


def test_full_on_the_way_and_continued_when_there_is_room(
    hub: RunningHub, config: FetchConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when others fill a disk that had room when the download began."""
    monkeypatch.setattr(fetch_module.ModelFetch, "_check_space", lambda *_: None)
    failure = failed(config)
    assert failure.failure_class == "DiskFull"
    assert "spec.cache" in failure.next_step
    mounted(Path(config.cache_dir), "64m", again=True)
    fetched(config)


def test_a_full_state_folder_is_no_full_cache(config: FetchConfig) -> None:
    """It is on the node's disk, and a larger claim is of no use."""
    full = Path(config.cache_dir)
    (full / "state").mkdir()
    with pytest.raises(OSError, match="No space"):
        (full / "others").write_bytes(bytes(5 << 20))
    result = fetch_module.fetch(replace(config, state_dir=str(full / "state"), cache_dir=f"{full}-cache"), "")
    assert isinstance(result, Failure)
    assert result.failure_class == "DiskFull"
    assert str(full / "state") in result.message
    assert "spec.cache" not in result.next_step


def test_a_write_that_fails_is_no_silent_hub(config: FetchConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    """Such an error names no file. A limit of file sizes is one; a broken disk has others."""
    monkeypatch.setattr(fetch_module.ModelFetch, "_check_space", lambda *_: None)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2_000_000, limits[1]))
    try:
        failure = failed(config)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert (failure.failure_class, failure.retryable) == ("InvalidConfig", False)
    assert "The cache cannot be used: File too large." in failure.message


@pytest.mark.parametrize("number", [errno.EIO, errno.EROFS, errno.ESTALE])
def test_a_broken_disk_is_no_silent_hub(number: int) -> None:
    error = OSError(number, os.strerror(number))
    failure = classify(error, repository="a/b", revision="main", endpoint="https://h", token="").failure
    assert failure.failure_class == "InvalidConfig"
