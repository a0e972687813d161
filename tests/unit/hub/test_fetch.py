"""Fetch: what it brings, how it goes on after what interrupts it, and how it fails."""

from __future__ import annotations

import errno
import itertools
import os
import shutil
import stat
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx2
import pytest
from aiohttp import web
from huggingface_hub.errors import HfHubHTTPError

from tacho_contract.failure import FailureClass
from tacho_contract.fetch import FetchConfig, FetchProgress, snapshot_dir
from tacho_contract.model import InspectConfig
from tacho_contract.uri import HubUri
from tacho_runtime.hub import download, fetch as fetch_module, remote
from tacho_runtime.hub.fetch import StallDetector, fetch
from tacho_runtime.hub.inspect import inspect
from tests.unit.hub.conftest import RunningHub
from tests.unit.hub.fetching import MODEL, TOKEN, check_whole, failed, fetched, partial_of, planned, progress
from tools.mock.checkpoints import write_checkpoint
from tools.mock.hub import MIRROR, Stored


def test_brings_exactly_the_planned_files(config: FetchConfig) -> None:
    assert fetched(config).resumed_bytes == 0
    for file in Path(config.cache_dir).rglob("*"):
        assert stat.S_IMODE(file.stat().st_mode) & 0o444 == 0o444


def test_a_mirrors_address_may_hold_the_word_of_an_api(
    hub: RunningHub, config: FetchConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file is no answer of an API, and has no bound."""
    monkeypatch.setattr(remote, "ANSWER_LIMIT_BYTES", 100_000)
    hub.url += MIRROR
    mirrored = planned(hub, tmp_path)
    assert mirrored.files == config.files
    check_whole(mirrored, str(fetch(mirrored, "")))
    assert hub.asked("GET", f"{MIRROR}/acme/model/resolve")


def test_brings_a_sharded_checkpoint_with_equal_files(hub: RunningHub, tmp_path: Path) -> None:
    folder = write_checkpoint(hub.root / "acme/sharded", "small", shard_bytes=60_000)
    facts = inspect(InspectConfig(uri=HubUri("acme/sharded"), endpoint=hub.url)).facts
    assert facts is not None
    config = FetchConfig(
        repository="acme/sharded",
        files=facts.files,
        cache_dir=str(tmp_path / "cache"),
        endpoint=hub.url,
        state_dir=str(tmp_path / "state"),
    )
    path = fetch(config, "")
    assert isinstance(path, str)
    brought = {p.name: p.read_bytes() for p in Path(path).iterdir()}
    assert brought == {p.name: p.read_bytes() for p in folder.iterdir()}
    assert len([name for name in brought if name.endswith(".safetensors")]) > 2


def test_what_is_whole_in_the_cache_asks_no_hub(hub: RunningHub, config: FetchConfig) -> None:
    fetch(config, "")
    hub.fake.log.clear()
    again = replace(config, state_dir=f"{config.state_dir}-of-another-pod")
    fetched(again)
    assert hub.fake.log == []
    assert progress(again).resumed_bytes == config.files.total_bytes


def test_damaged_file_is_brought_again(config: FetchConfig) -> None:
    path = fetch(config, "")
    assert isinstance(path, str)
    os.truncate(Path(path, "weights.bin"), 1000)
    Path(config.state_dir, "complete").unlink()
    assert fetch(config, "") == path
    check_whole(config, path)


def test_cut_connections_are_continued(hub: RunningHub, config: FetchConfig) -> None:
    hub.fake.faults.cut_after, hub.fake.faults.cuts = 2_500_000, 2
    fetched(config)
    ranges = [e["range"] for e in hub.asked("GET", "/weights.bin") if e["range"]]
    assert len(ranges) == 2
    assert progress(config).resumed_bytes == 0


def test_a_link_to_storage_that_has_expired_is_renewed(hub: RunningHub, config: FetchConfig) -> None:
    """A large file may take longer than its link is valid, and its connection breaks then."""
    faults = hub.fake.faults
    faults.redirect_to, faults.link_uses = hub.url.replace("127.0.0.1", "localhost"), 1
    faults.cut_after, faults.cuts = 2_500_000, 2
    assert fetched(config).resumed_bytes == 0
    asked = hub.asked("GET", "/_elsewhere/acme/model/resolve")
    assert [e["status"] for e in asked if "weights" in str(e["path"])] == [200, 403, 206, 403, 206]


def test_a_file_that_the_hub_itself_refuses_is_asked_for_once(
    config: FetchConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(_: object, _target: object, url: str, *_rest: object) -> bool:
        asked.append(url)
        response = httpx2.Response(403, request=httpx2.Request("GET", url))
        raise HfHubHTTPError("403 Forbidden", response=response)

    asked: list[str] = []
    monkeypatch.setattr(download.Downloader, "_stream", refused)
    assert failed(config).failure_class == FailureClass.AUTH_REQUIRED
    assert len(asked) == len(set(asked)) > 0


def test_storage_that_refuses_every_link_is_no_lack_of_a_token(
    hub: RunningHub, config: FetchConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download, "ATTEMPTS_WITHOUT_PROGRESS", 2)
    hub.fake.faults.redirect_to = hub.url.replace("127.0.0.1", "localhost")
    hub.fake.faults.link_uses = -1
    failure = failed(config)
    assert (failure.failure_class, failure.retryable) == (FailureClass.HUB_UNREACHABLE, True)
    assert "HTTP 403" in failure.message


@pytest.mark.parametrize("where", ["xet", "plain"])
def test_no_log_repeats_a_token_that_storage_answers_with(
    hub: RunningHub,
    config: FetchConfig,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    where: str,
) -> None:
    def answers(*_: object, **__: object) -> bool:
        raise httpx2.RemoteProtocolError(f"illegal status line: {TOKEN} {'x' * 170} {TOKEN}")

    hub.fake.tokens, hub.fake.faults.xet = {"acme/model": TOKEN}, where == "xet"
    monkeypatch.setattr(download, "ATTEMPTS_WITHOUT_PROGRESS", 2)
    monkeypatch.setattr("huggingface_hub.utils._runtime.is_xet_available", lambda: True)
    monkeypatch.setattr("huggingface_hub.file_download.xet_get", answers)
    monkeypatch.setattr(download.Downloader, "_stream", answers)
    failed(config, TOKEN)
    assert "illegal status line: ***" in caplog.text
    assert ("Xet storage" in caplog.text) is (where == "xet")
    assert TOKEN[:8] not in caplog.text


@pytest.mark.parametrize(
    "form", ["bytes {start}-{end}/{size}", "Bytes {start}-{end}", "bytes {start}-{size}/-1"]
)
def test_partial_file_is_continued(hub: RunningHub, config: FetchConfig, form: str) -> None:
    hub.fake.faults.content_range = form
    partial_of(config, 4_000_000)
    hub.fake.bytes_sent.clear()
    assert fetched(config).resumed_bytes == 4_000_000
    assert sum(hub.fake.bytes_sent.values()) == config.files.total_bytes - 4_000_000


def test_partial_file_with_other_content_is_not_believed(config: FetchConfig) -> None:
    partial_of(config, 4_000_000, content=b"x" * 4_000_000)
    assert fetched(config).resumed_bytes == 0


def test_partial_file_longer_than_the_whole(config: FetchConfig) -> None:
    partial_of(config, 7_000_000, content=MODEL + b"x" * 1_000_000)
    fetched(config)


@pytest.mark.parametrize("fault", ["shifted part", "no part at all"])
def test_an_answer_with_another_part_costs_the_partial_file_alone(
    hub: RunningHub, config: FetchConfig, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a second download of all that was brought together wrongly."""
    original = hub.fake._send

    async def send(request: web.Request, file: Stored, headers: dict[str, str]) -> web.StreamResponse:
        if request.method == "GET" and request.headers.get("Range") and file.large:
            if fault == "no part at all":
                raise web.HTTPRequestRangeNotSatisfiable
            hub.fake.faults.shift = 7
        else:
            hub.fake.faults.shift = 0
        return await original(request, file, headers)

    monkeypatch.setattr(hub.fake, "_send", send)
    partial_of(config, 4_000_000)
    hub.fake.log.clear()
    assert fetched(config).resumed_bytes == 0
    assert [bool(e["range"]) for e in hub.asked("GET", "/weights.bin")] == [True, False]


def test_a_file_of_more_than_the_clients_limit(
    hub: RunningHub, config: FetchConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The client refuses files of more than 50 GB that are not on Xet storage; mirrors have them."""
    monkeypatch.setattr("huggingface_hub.constants.MAX_HTTP_DOWNLOAD_SIZE", len(MODEL) - 1)
    fetched(config)


def test_server_without_ranges(hub: RunningHub, config: FetchConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    partial_of(config, 4_000_000)
    hub.fake.faults.no_ranges = True
    assert fetched(config).resumed_bytes == 0


def test_strays_of_dead_processes_are_freed(config: FetchConfig) -> None:
    partial = partial_of(config, 10)
    stray = partial.with_name(partial.name.replace(".incomplete", ".0a1b2c3d.incomplete"))
    stray.write_bytes(b"left")
    os.utime(stray, (0, 0))
    fetched(config)


def test_xet_falls_back_to_plain_http(
    hub: RunningHub, config: FetchConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.fake.faults.xet = True
    fetched(config)
    assert hub.asked("GET", "/xet-read-token")


def test_changed_repository_is_refused(config: FetchConfig) -> None:
    failure = failed(replace(config, files=replace(config.files, files_digest="0" * 64)))
    assert failure.failure_class == FailureClass.MODEL_CHANGED
    assert "changed" in failure.message
    assert "tacho.dev/replan" in failure.next_step
    assert not failure.retryable


def test_commit_that_is_gone(config: FetchConfig) -> None:
    gone = replace(config.files, commit="0" * 40)
    assert failed(replace(config, files=gone)).failure_class == FailureClass.MODEL_NOT_FOUND


@pytest.mark.parametrize(("mode", "code"), [("private", 0), ("gated", 0), ("private", 403)])
def test_token_is_wanted(hub: RunningHub, config: FetchConfig, mode: str, code: int) -> None:
    hub.fake.tokens, hub.fake.mode, hub.fake.faults.fail_always = {"acme/model": "other"}, mode, code
    failure = failed(config)
    assert failure.failure_class == FailureClass.AUTH_REQUIRED
    assert "tokenSecretRef" in failure.next_step


def test_failing_hub(hub: RunningHub, config: FetchConfig) -> None:
    hub.fake.faults.fail_always = 503
    failure = failed(config)
    assert (failure.failure_class, failure.retryable) == (FailureClass.HUB_UNREACHABLE, True)


def test_listing_that_never_ends(
    hub: RunningHub, config: FetchConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetch_module, "LISTING_SECONDS", 0.5)
    hub.fake.faults.stall_seconds = 5
    failure = failed(config)
    assert (failure.failure_class, failure.retryable) == (FailureClass.HUB_UNREACHABLE, True)
    assert "0 s" in failure.message


def test_connection_that_is_always_cut(
    hub: RunningHub, config: FetchConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time, "sleep", lambda _: None)
    monkeypatch.setattr(download, "ATTEMPTS_WITHOUT_PROGRESS", 1)
    hub.fake.faults.cut_after, hub.fake.faults.cuts = 2_500_000, -1
    hub.fake.faults.no_ranges = True  # else each connection would bring something new
    failure = failed(config)
    assert (failure.failure_class, failure.retryable) == (FailureClass.HUB_UNREACHABLE, True)


@pytest.mark.parametrize("fault", ["all again", "no part at all"])
def test_a_download_that_always_begins_again_ends(
    hub: RunningHub, config: FetchConfig, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each of its connections brings something, and some more than the one before."""
    monkeypatch.setattr(time, "sleep", lambda _: None)
    original, lengths = hub.fake._send, itertools.cycle([1_000_000, 2_000_000])
    hub.fake.faults.cuts, hub.fake.faults.no_ranges = -1, True

    async def send(request: web.Request, file: Stored, headers: dict[str, str]) -> web.StreamResponse:
        if request.headers.get("Range") and fault == "no part at all":
            raise web.HTTPRequestRangeNotSatisfiable
        hub.fake.faults.cut_after = next(lengths)
        return await original(request, file, headers)

    monkeypatch.setattr(hub.fake, "_send", send)
    hub.fake.log.clear()
    failure = failed(config)
    assert (failure.failure_class, failure.retryable) == (FailureClass.HUB_UNREACHABLE, True)
    assert "cuts weights.bin and does not continue it" in failure.message
    assert len(hub.asked("GET", "/weights.bin")) == 2 * download.ATTEMPTS_WITHOUT_PROGRESS


def test_a_proxy_that_changes_headers(
    hub: RunningHub, config: FetchConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It answers 203, with all of the file, which has no bound either."""
    monkeypatch.setattr(remote, "ANSWER_LIMIT_BYTES", 100_000)

    async def send(request: web.Request, file: Stored, headers: dict[str, str]) -> web.StreamResponse:
        return web.Response(status=203, headers=headers, body=file.file.read_bytes())

    monkeypatch.setattr(hub.fake, "_send", send)
    fetched(config)


def test_a_file_that_a_neighbour_added_is_not_loaded(config: FetchConfig) -> None:
    """Its name fits the planned patterns, and an engine would load it with the others."""
    fetched(config)
    snapshot = Path(snapshot_dir(config.cache_dir, config.repository, config.files.commit))
    (snapshot / "more.bin").write_bytes(b"x")
    Path(config.state_dir, "complete").unlink()
    failure = failed(config)
    assert failure.failure_class == FailureClass.MODEL_INVALID
    assert "is not what was planned" in failure.message


def test_disk_too_small_beforehand(
    hub: RunningHub, config: FetchConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10, 5, 2_000_000))
    hub.fake.bytes_sent.clear()
    failure = failed(config)
    assert failure.failure_class == FailureClass.DISK_FULL
    assert "6.0 MB" in failure.message
    assert "2.0 MB" in failure.message
    assert not hub.fake.bytes_sent


def test_what_is_in_the_cache_needs_no_space(config: FetchConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    partial_of(config, 5_999_000)
    for more in (500, 2000):
        room = shutil._ntuple_diskusage(10, 5, fetch_module.SPARE_BYTES + more)
        monkeypatch.setattr(shutil, "disk_usage", lambda _, room=room: room)
        assert isinstance(fetch(config, ""), str) == (more == 2000)


def test_disk_full_on_the_way(config: FetchConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_args: object, **_options: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(download.Downloader, "_stream", full)
    assert failed(config).failure_class == FailureClass.DISK_FULL


def test_hostile_etag_does_not_leave_the_cache(
    hub: RunningHub, config: FetchConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = hub.fake._commit

    def lying(repository: str, revision: str) -> Any:
        commit, files = original(repository, revision)
        return commit, [replace(f, etag="../../../../escaped") for f in files]

    monkeypatch.setattr(hub.fake, "_commit", lying)
    assert failed(config).failure_class == FailureClass.MODEL_INVALID
    assert not list(Path(config.cache_dir).parent.rglob("escaped*"))


def test_a_stall_is_told_though_its_threads_do_not_end(
    config: FetchConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such as in the pause for years that a hub may ask for by Retry-After."""
    goes_on, ended = threading.Event(), threading.Event()

    def waits(*_: object) -> None:
        goes_on.wait(20)
        ended.set()

    monkeypatch.setattr(download.Downloader, "download", waits)
    monkeypatch.setattr(fetch_module, "STALL_SECONDS", 0.1)
    failure = failed(config)
    assert not ended.is_set()
    goes_on.set()
    assert (failure.failure_class, failure.retryable) == (FailureClass.HUB_UNREACHABLE, True)


def test_stall_is_noticed() -> None:
    stall = StallDetector(300, 0)
    first = FetchProgress(state="Downloading", bytes_done=1, elapsed_seconds=1)
    assert not stall.stalled(first, 10)
    assert not stall.stalled(replace(first, bytes_done=2), 290)
    assert not stall.stalled(replace(first, bytes_done=2, elapsed_seconds=500), 580)
    assert stall.stalled(replace(first, bytes_done=2, elapsed_seconds=900), 591)
