"""The content is the hub's: a wrong byte is found, wherever it comes from, and brought again."""

from __future__ import annotations

import errno
import gzip
import os
import re
import shutil
import threading
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from tacho_contract.failure import FailureClass
from tacho_contract.fetch import FetchConfig, snapshot_dir
from tacho_runtime.hub import remote
from tacho_runtime.hub.fetch import fetch
from tests.unit.hub.conftest import RunningHub
from tests.unit.hub.fetching import MODEL, check_whole, failed, fetched, planned, progress
from tools.mock.hub import Stored


def gets(hub: RunningHub, name: str) -> int:
    """How often the file was downloaded."""
    return len([e for e in hub.asked("GET", "/resolve/") if str(e["path"]).endswith(name)])


def test_a_wrong_byte_is_found_and_the_file_brought_again(hub: RunningHub, config: FetchConfig) -> None:
    hub.fake.faults.corrupt = 2  # both files at once
    hub.fake.log.clear()
    fetched(config)
    assert (gets(hub, "weights.bin"), gets(hub, "config.json")) == (2, 2)


def test_content_that_stays_wrong_is_refused_and_not_kept(hub: RunningHub, config: FetchConfig) -> None:
    hub.fake.faults.corrupt = -1
    hub.fake.log.clear()
    failure = failed(config)
    assert failure.failure_class == FailureClass.MODEL_INVALID
    assert "does not have the digest that it lists" in failure.message
    assert "spec.model.hub" in failure.next_step
    assert max(gets(hub, "weights.bin"), gets(hub, "config.json")) == 2
    hub.fake.faults.corrupt = 0
    path = fetch(config, "")  # the mirror is mended: nobody has to empty the cache
    assert isinstance(path, str)
    check_whole(config, path)


def test_a_file_replaced_after_inspection_is_refused(hub: RunningHub, config: FetchConfig) -> None:
    (hub.root / "acme/model/weights.bin").write_bytes(b"y" * len(MODEL))
    assert failed(config).failure_class == FailureClass.MODEL_INVALID


def test_another_commit_than_the_planned_one_is_refused(
    hub: RunningHub, config: FetchConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A mirror may know the newest commit alone, and lists its digests: they would fit its files."""
    (hub.root / "acme/model/weights.bin").write_bytes(b"y" * len(MODEL))
    newest = hub.fake._commit
    monkeypatch.setattr(hub.fake, "_commit", lambda repository, _revision: newest(repository, "main"))
    failure = failed(config)
    assert failure.failure_class == FailureClass.MODEL_NOT_FOUND
    assert f"in place of {config.files.commit}" in failure.message
    assert not any(Path(config.cache_dir).rglob("*.bin"))


def test_what_follows_a_files_end_is_not_kept(hub: RunningHub, config: FetchConfig) -> None:
    hub.fake.faults.surplus = 20_000_000
    failure = failed(config)
    assert failure.failure_class == FailureClass.MODEL_INVALID
    assert re.search(r"lists \S+ with \d+ bytes and delivers more", failure.message)
    assert sum(file.stat().st_size for file in Path(config.cache_dir).rglob("*.incomplete")) <= (
        config.files.total_bytes
    )


def test_a_file_that_is_shorter_than_listed(hub: RunningHub, config: FetchConfig) -> None:
    hub.fake.faults.truncate = 5
    failure = failed(config)
    assert failure.failure_class == FailureClass.MODEL_INVALID
    assert re.search(r"lists \S+ with (\d+) bytes and delivers (\d+)", failure.message)
    assert not any(Path(snapshot_dir(config.cache_dir, config.repository, config.files.commit)).iterdir())


def test_files_with_one_etag_are_kept_apart(hub: RunningHub, tmp_path: Path) -> None:
    """As of a mirror that makes it from size and time."""
    folder = hub.root / "acme/model"
    folder.mkdir(parents=True)
    content = {f"part-{n}.bin": bytes([n]) * 2_000_000 for n in range(6)}
    for name, data in content.items():
        (folder / name).write_bytes(data)
    config = planned(hub, tmp_path, files=("*.bin",))
    hub.fake.faults.etag = "65f0-1e8480"
    path = fetch(config, "")
    assert isinstance(path, str)
    assert {file.name: file.read_bytes() for file in Path(path).iterdir()} == content
    hub.fake.log.clear()
    again = replace(config, state_dir=f"{config.state_dir}-of-another-pod")
    assert fetch(again, "") == path
    assert hub.fake.log == []


@pytest.mark.parametrize("honest", [0, 1, 2])
def test_a_hostile_etag_names_no_file(
    hub: RunningHub, config: FetchConfig, honest: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whichever answer has it: the first ones, ``honest`` of a file, may have the listed digest."""
    blobs, outside = Path(config.cache_dir, "hub/models--acme--model/blobs"), Path(config.state_dir)
    hostile = os.path.relpath(outside / "planted", blobs)
    original, answered = hub.fake._send, Counter[str]()

    async def send(request: web.Request, file: Stored, headers: dict[str, str]) -> web.StreamResponse:
        answered[file.path] += 1
        if answered[file.path] > honest:
            headers = headers | {"ETag": f'"{hostile}"'}
        return await original(request, file, headers)

    monkeypatch.setattr(hub.fake, "_send", send)
    path = fetch(config, "")
    assert not list(outside.glob("planted*"))
    assert isinstance(path, str)
    check_whole(config, path)


def test_a_listing_without_digests_is_refused(
    hub: RunningHub, config: FetchConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = hub.fake._commit

    def silent(repository: str, revision: str) -> Any:
        commit, files = original(repository, revision)
        return commit, [replace(f, etag="") for f in files]

    monkeypatch.setattr(hub.fake, "_commit", silent)
    failure = failed(config)
    assert failure.failure_class == FailureClass.MODEL_INVALID
    assert "without a digest" in failure.message


@pytest.mark.parametrize("reachable", [True, False])
def test_content_that_changed_in_the_cache_is_found_by_the_next_pod(
    hub: RunningHub, config: FetchConfig, reachable: bool
) -> None:
    path = fetch(config, "")
    assert isinstance(path, str)
    Path(path, "weights.bin").write_bytes(b"z" * len(MODEL))
    again = replace(config, state_dir=f"{config.state_dir}-of-another-pod")
    if not reachable:
        assert failed(replace(again, endpoint="http://127.0.0.1:9")).failure_class == "HubUnreachable"
        return
    assert fetch(again, "") == path
    check_whole(again, path)


def test_what_was_verified_is_not_read_again(config: FetchConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    fetch(config, "")
    assert progress(config).verified_bytes == config.files.total_bytes
    again = replace(config, state_dir=f"{config.state_dir}-of-another-pod")
    path = fetch(again, "")
    assert isinstance(path, str)
    assert progress(again).verified_bytes == 0
    seals = next(Path(config.cache_dir, "verified").rglob("*.json"))
    seals.write_text('{"weights.bin": "not a seal"}')
    assert fetch(again, "") == path
    assert progress(again).verified_bytes == config.files.total_bytes


def test_a_cache_that_cannot_be_written_is_verified_all_the_same(config: FetchConfig) -> None:
    path = fetch(config, "")
    shutil.rmtree(Path(config.cache_dir, "verified"))
    Path(config.cache_dir, "verified").write_text("in the way, like a read-only mount")
    again = replace(config, state_dir=f"{config.state_dir}-of-another-pod")
    assert fetch(again, "") == path
    assert progress(again).verified_bytes == config.files.total_bytes


@pytest.mark.parametrize(
    "text",
    ['{"weights.bin": [1e999, 0, ""]}', "[" * 100_000, '{"weights.bin": [NaN, 1, 1]}', "\x00", '"text"'],
)
def test_a_list_of_verified_files_that_nobody_wrote_counts_for_nothing(
    config: FetchConfig, text: str
) -> None:
    path = fetch(config, "")
    next(Path(config.cache_dir, "verified").rglob("*.json")).write_text(text)
    again = replace(config, state_dir=f"{config.state_dir}-of-another-pod")
    assert fetch(again, "") == path
    assert progress(again).verified_bytes == config.files.total_bytes


def test_a_pipe_in_place_of_that_list_is_not_waited_for(config: FetchConfig) -> None:
    path = fetch(config, "")
    seals = next(Path(config.cache_dir, "verified").rglob("*.json"))
    seals.unlink()
    os.mkfifo(seals)
    assert fetch(replace(config, state_dir=f"{config.state_dir}-of-another-pod"), "") == path


def test_a_cache_that_cannot_be_written_is_no_silent_hub(config: FetchConfig) -> None:
    Path(config.cache_dir).mkdir()
    Path(config.cache_dir, "hub").write_text("in the way")
    failure = failed(config)
    assert failure.failure_class == FailureClass.INVALID_CONFIG
    assert re.search("cache cannot be used: is a link, or no folder: .*hub", failure.message)
    assert "spec.cache" in failure.next_step


def test_a_folder_that_cannot_be_made_is_named_by_its_whole_path(
    config: FetchConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a cache that is mounted read-only: of what is made below a descriptor, an error has a name
    alone."""
    made = os.mkdir

    def refused(name: str, *given: Any, **more: Any) -> None:
        if name == "blobs":
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), name)
        made(name, *given, **more)

    monkeypatch.setattr(os, "mkdir", refused)
    message = failed(config).message
    assert f"Read-only file system: {config.cache_dir}/hub/models--acme--model/blobs." in message


def test_compressed_files_are_refused_unread(
    hub: RunningHub, config: FetchConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """64 KiB that were packed twice unpack to gigabytes."""
    bomb = gzip.compress(gzip.compress(bytes(100_000_000)))

    async def send(request: web.Request, file: Stored, headers: dict[str, str]) -> web.StreamResponse:
        if request.method == "HEAD":
            return web.Response(headers=headers | {"Content-Length": str(file.size)})
        return web.Response(body=bomb, headers=headers | {"Content-Encoding": "gzip, gzip"})

    monkeypatch.setattr(hub.fake, "_send", send)
    assert "compresses its answers" in failed(config).message


@pytest.mark.parametrize("digits", [11, 400, 5000])
def test_a_pause_that_no_number_holds_is_a_busy_hub(
    hub: RunningHub, config: FetchConfig, monkeypatch: pytest.MonkeyPatch, digits: int
) -> None:
    """The hub's client fails at it; it counted as no model hub, which is not tried again."""
    original = hub.fake._send

    async def send(request: web.Request, file: Stored, headers: dict[str, str]) -> web.StreamResponse:
        if request.method == "HEAD":
            return await original(request, file, headers)
        return web.Response(status=429, headers={"Retry-After": "9" * digits})

    monkeypatch.setattr(hub.fake, "_send", send)
    failure = failed(config)
    assert (failure.failure_class, failure.retryable) == ("HubUnreachable", True)
    assert "is limiting requests" in failure.message


def test_xet_storages_address_answers_without_end(
    hub: RunningHub,
    config: FetchConfig,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The hub names it, so it may look like a file's."""
    monkeypatch.setattr(remote, "ANSWER_LIMIT_BYTES", 100_000)
    original = hub.fake._send

    async def send(request: web.Request, file: Stored, headers: dict[str, str]) -> web.StreamResponse:
        xet = {"X-Xet-Hash": file.etag, "Link": f'<{hub.url}/acme/model/flood>; rel="xet-auth"'}
        return await original(request, file, {**headers, **xet})

    monkeypatch.setattr(hub.fake, "_send", send)
    hub.fake.faults.flood_bytes, hub.fake.faults.flood_path = 200_000, "/acme/model/flood"
    fetched(config)
    assert "answers with more than" in caplog.text


def test_an_error_of_storage_without_end_is_not_read_to_its_end(
    hub: RunningHub, config: FetchConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file has no bound; what is said in its place does."""
    monkeypatch.setattr(remote, "ANSWER_LIMIT_BYTES", 100_000)
    original = hub.fake._send

    async def send(request: web.Request, file: Stored, headers: dict[str, str]) -> web.StreamResponse:
        if request.method == "HEAD":
            return await original(request, file, headers)
        return web.Response(body=b" " * 3_000_000, status=500)

    monkeypatch.setattr(hub.fake, "_send", send)
    assert "answers with more than" in failed(config).message


def test_native_code_that_writes_without_end_is_ended(
    hub: RunningHub, config: FetchConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Xet storage is whatever the hub names, and the client's native code has no bound of its own."""

    over, before = threading.Event(), set(threading.enumerate())

    def endless(*, incomplete_path: Path, **_: object) -> None:
        ends = time.monotonic() + 20
        with incomplete_path.open("ab", buffering=0) as file:
            while incomplete_path.stat().st_nlink and time.monotonic() < ends and not over.wait(0.02):
                file.write(bytes(1_000_000))

    hub.fake.faults.xet = True
    monkeypatch.setattr("huggingface_hub.file_download.xet_get", endless)
    try:
        failure = failed(config)
    finally:
        over.set()  # the other file is still written: in a pod its process ends now
        for thread in set(threading.enumerate()) - before:
            thread.join(20)
    assert failure.failure_class == FailureClass.MODEL_INVALID
    assert re.search(r"lists weights.bin with \d+ bytes and delivers more", failure.message)
    assert not list(Path(config.cache_dir).rglob("*.incomplete"))


def test_native_code_writes_to_no_link_that_takes_its_files_place(
    hub: RunningHub, config: FetchConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    victim = Path(config.cache_dir).parent / "runtime.pyz"
    victim.write_text("the pod's own")

    def late(*, incomplete_path: Path, **_: object) -> None:
        fresh = incomplete_path.readlink()  # other files of the model may arrive at the same time
        fresh.unlink()
        fresh.symlink_to(victim)
        incomplete_path.write_bytes(MODEL)

    hub.fake.faults.xet = True
    monkeypatch.setattr("huggingface_hub.file_download.xet_get", late)
    failed(config)
    assert victim.read_text() == "the pod's own"


def test_the_native_code_of_xet_writes_to_a_descriptor(tmp_path: Path) -> None:
    """So it neither replaces the file nor changes the path that it gets."""
    import hf_xet

    (tmp_path / "store").mkdir()
    (tmp_path / "source").write_bytes(MODEL)
    session, store = hf_xet.XetSession(), f"local://{tmp_path}/store"
    with session.new_upload_commit(endpoint=store) as upload:
        sent = upload.start_upload_file(str(tmp_path / "source"))
    with (tmp_path / "got").open("xb") as file, session.new_file_download_group(endpoint=store) as group:
        group.start_download_file(sent.result().xet_info, f"/proc/self/fd/{file.fileno()}")
    assert (tmp_path / "got").read_bytes() == MODEL
