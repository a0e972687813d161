"""The cache of thousands of files, of which none costs more for their number, and that others write to."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import subprocess
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NoReturn
from unittest.mock import MagicMock

import httpx2
import pytest

from tacho_contract.failure import FailedError, FailureClass
from tacho_contract.fetch import FetchConfig
from tacho_runtime.headers import source
from tacho_runtime.headers.digests import files_digest
from tacho_runtime.headers.source import FolderSource
from tacho_runtime.hub import cache as cache_module, download
from tacho_runtime.hub.cache import DownloadTarget, HubCache, content_matches, is_digest
from tacho_runtime.hub.download import Downloader
from tacho_runtime.hub.fetch import fetch
from tests.unit.hub.conftest import RunningHub
from tests.unit.hub.fetching import failed, fetched, partial_of

COUNT = 500


@pytest.fixture
def cache(tmp_path: Path) -> HubCache:
    made = HubCache(str(tmp_path), "acme/many", "c" * 40)
    made.hold()
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


def planted(config: FetchConfig) -> tuple[Path, Path]:
    """The partial file of the weights, where whoever shares the cache's claim puts something; a file of the
    pod's own."""
    partial = partial_of(config, 0)
    partial.unlink()
    victim = Path(config.cache_dir).parent / "runtime.pyz"
    victim.write_text("the pod's own")
    return partial, victim


def plant(kind: str, place: Path, victim: Path) -> None:
    if kind == "pipe":
        os.mkfifo(place)
    else:
        (os.symlink if kind == "symlink" else os.link)(victim, place)


@pytest.mark.parametrize("kind", ["symlink", "hard link", "pipe"])
def test_a_planted_partial_file_is_not_written_to(config: FetchConfig, kind: str) -> None:
    partial, victim = planted(config)
    plant(kind, partial, victim)
    fetched(config)
    assert victim.read_text() == "the pod's own"


def test_a_partial_file_that_another_pod_writes_too_is_told(
    hub: RunningHub, config: FetchConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on NFS that is mounted without locks."""
    original = hub.fake._stream

    async def stream(*arguments: Any) -> None:
        for found in Path(config.cache_dir).rglob("*.incomplete"):
            with found.open("ab") as file:
                file.write(bytes(100_000))
        await original(*arguments)

    partial_of(config, 1_000_000)
    monkeypatch.setattr(hub.fake, "_stream", stream)
    failure = failed(config)
    assert failure.failure_class == FailureClass.INVALID_CONFIG
    assert "honours no locks" in failure.message


def test_a_folder_that_leads_to_itself_has_a_class(config: FetchConfig) -> None:
    folder = Path(config.cache_dir, "hub/models--acme--model")
    folder.parent.mkdir(parents=True)
    folder.symlink_to(folder.name)
    failure = failed(config)
    assert failure.failure_class == FailureClass.INVALID_CONFIG
    assert f"is a link, or no folder: {folder}." in failure.message


@pytest.mark.parametrize("folder", ["blobs", "snapshots", "../.locks", ".", "../../verified"])
def test_folders_that_lead_out_of_the_cache_are_refused(config: FetchConfig, folder: str) -> None:
    outside = Path(config.cache_dir).parent / "outside"
    outside.mkdir()
    place = Path(os.path.normpath(Path(config.cache_dir, "hub/models--acme--model", folder)))
    place.parent.mkdir(parents=True)
    place.symlink_to(outside)
    failure = failed(config)
    assert failure.failure_class == FailureClass.MODEL_INVALID
    assert "links to a place outside of the cache" in failure.message
    assert not list(outside.iterdir())


SWAPPING = threading.Lock()
"""Several files are downloaded at once."""


def swap(folder: Path, outside: Path) -> None:
    """As a neighbour: a link in place of a folder of the cache."""
    with SWAPPING:
        outside.mkdir(exist_ok=True)
        if not folder.is_symlink():
            folder.parent.mkdir(parents=True, exist_ok=True)
            if folder.exists():
                folder.rename(folder.with_name("moved"))
            folder.symlink_to(outside)


@pytest.mark.parametrize("name", ["hub/models--acme--model/blobs", "verified/models--acme--model"])
def test_a_folder_that_leads_out_from_the_next_file_on_is_refused(
    config: FetchConfig, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    outside, found = Path(config.cache_dir).parent / "outside", Downloader._metadata

    def late(*arguments: Any) -> Any:
        swap(Path(config.cache_dir, name), outside)
        return found(*arguments)

    monkeypatch.setattr(Downloader, "_metadata", late)
    if name.startswith("verified"):
        assert isinstance(fetch(config, ""), str)
    else:
        assert f"{name} links to a place outside of the cache" in failed(config).message
    assert not list(outside.iterdir())


@pytest.mark.parametrize("when", ["lock", "continued", "written"])
def test_a_folder_that_leads_out_in_the_middle_of_a_file_is_not_written_to(
    config: FetchConfig, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    outside, blobs = Path(config.cache_dir).parent / "outside", partial_of(config, 0).parent
    opened = download.open_theirs

    @contextlib.contextmanager
    def released_late(_: Path) -> Iterator[None]:
        swap(blobs, outside)
        yield

    def cut(*_: Any) -> bool:
        swap(blobs, outside)
        raise httpx2.ReadError("cut")

    def open_late(*arguments: Any) -> Any:
        swap(blobs, outside)
        return opened(*arguments)

    if when == "written":
        monkeypatch.setattr(download, "open_theirs", open_late)
    elif when == "lock":
        monkeypatch.setattr("huggingface_hub.utils._fixes.WeakFileLock", released_late)
    else:
        monkeypatch.setattr(Downloader, "_stream", cut)
        monkeypatch.setattr("time.sleep", lambda _: None)
    expected = "did not answer: cut" if when == "continued" else "blobs links to a place outside of the cache"
    assert expected in failed(config).message
    assert not list(outside.iterdir())


def test_a_file_that_cannot_be_written_is_named_by_its_place(
    config: FetchConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(path: Path, _: str) -> NoReturn:
        raise OSError(errno.EROFS, "Read-only file system", str(path))

    monkeypatch.setattr(download, "open_theirs", refused)
    blobs = Path(config.cache_dir, "hub/models--acme--model/blobs")
    assert f"Read-only file system: {blobs}/" in failed(config).message


def test_a_planted_list_of_verified_files_is_not_written_through(config: FetchConfig) -> None:
    _, victim = planted(config)
    folder = Path(config.cache_dir, "verified/models--acme--model")
    folder.mkdir(parents=True)
    (folder / f".{config.files.commit}.json.{os.getpid()}.new").symlink_to(victim)
    assert isinstance(fetch(config, ""), str)
    assert victim.read_text() == "the pod's own"


def test_a_folder_of_the_model_that_leads_out_is_refused(cache: HubCache, tmp_path: Path) -> None:
    outside = tmp_path.parent / f"{tmp_path.name}-outside"
    outside.mkdir()
    (outside / "file").touch()
    target = DownloadTarget("sub/file", 1, "a" * 64)
    for sub in (outside, "sub"):
        (cache.snapshot / "sub").symlink_to(sub)
        for write in (partial(cache.link, target.path, cache.blobs / target.etag),
                      partial(cache.drop, target), partial(cache.drop_damaged, target)):  # fmt: skip
            with pytest.raises(NotADirectoryError, match="is a link, or no folder"):
                write()
        (cache.snapshot / "sub").unlink()
    assert [path.name for path in outside.iterdir()] == ["file"]


@pytest.mark.parametrize("place", ["snapshot", "blob"])
def test_a_pipe_in_place_of_an_empty_file_is_not_waited_for(cache: HubCache, place: str) -> None:
    empty = DownloadTarget("__init__.py", 0, hashlib.sha1(b"blob 0\0").hexdigest())
    pipe = cache.snapshot / empty.path if place == "snapshot" else cache.blobs / empty.etag
    os.mkfifo(pipe)
    assert not cache.whole(empty)
    cache.drop_damaged(empty)
    assert not os.path.lexists(pipe)


@pytest.mark.parametrize("kind", ["symlink", "hard link", "pipe"])
def test_nor_is_one_that_is_planted_at_the_last_moment(
    config: FetchConfig, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    partial, victim = planted(config)
    stream = Downloader._stream

    def late(*arguments: Any) -> bool:
        with SWAPPING:
            if not os.path.lexists(partial):
                plant(kind, partial, victim)
        return stream(*arguments)

    monkeypatch.setattr(Downloader, "_stream", late)
    found = failed(config)
    assert found.failure_class == FailureClass.INVALID_CONFIG, found
    assert victim.read_text() == "the pod's own"


def test_a_pipe_that_takes_a_files_place_is_not_waited_for(cache: HubCache, tmp_path: Path) -> None:
    (tmp_path / "a.gguf").write_bytes(b"abc")
    source = FolderSource(tmp_path, name="m")
    (entry,) = (entry for entry in source.files() if entry.path == "a.gguf")
    (tmp_path / "a.gguf").unlink()
    os.mkfifo(tmp_path / "a.gguf")
    with pytest.raises(FailedError, match="cannot be read"):
        source.read(entry.path, 0, 3)
    with pytest.raises(OSError, match="is no file"):
        content_matches(tmp_path / "a.gguf", "a" * 64, lambda _size: None)


@pytest.mark.parametrize("listed", [None, 5, ["a"] * 40, "A" * 40, "a" * 39, "../" + "a" * 37])
def test_what_is_no_digest_is_known_whatever_a_hub_lists(listed: object) -> None:
    assert not is_digest(listed)
    assert is_digest("a" * 40)


def test_a_folder_of_millions_is_not_read_to_its_end(
    cache: HubCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their names were more than the container's memory."""
    monkeypatch.setattr(source, "ENTRY_LIMIT", 10)
    monkeypatch.setattr(cache_module, "ENTRY_LIMIT", 10)
    folder = FolderSource(cache.snapshot, name="m")
    for number in range(10):
        (cache.snapshot / f".hidden-{number}").touch()
    assert (folder.files(), len(cache.entries())) == ((), 10)
    for number in range(2):
        (cache.snapshot / f".more-{number}").mkdir()
    for read in (folder.files, cache.entries):
        with pytest.raises(FailedError, match="more than 10 entries"):
            read()
    with pytest.raises(FailedError, match="and 2 more") as absent:
        FolderSource(cache.snapshot / "absent", name="m")
    assert absent.value.failure.failure_class == "ModelNotFound"


def test_folders_in_folders_thousands_deep_end_no_download(cache: HubCache) -> None:
    place = os.open(cache.snapshot, os.O_RDONLY)
    try:
        for _ in range(2000):
            os.mkdir("d", dir_fd=place)
            place, above = os.open("d", os.O_RDONLY, dir_fd=place), place
            os.close(above)
    finally:
        os.close(place)
    (cache.snapshot / "a.gguf").touch()
    try:
        assert [entry.path for entry in cache.entries()] == ["a.gguf"]
    finally:  # as pytest could not
        subprocess.run(["rm", "-r", cache.path / "d"], check=True)


def test_names_that_are_no_utf_8_have_a_digest(tmp_path: Path) -> None:
    """A neighbour may put such a file beside a model."""
    digests = set()
    for name in (b"tokenizer-\xff.json", b"tokenizer-\xfe.json"):
        folder = tmp_path / name.hex()
        folder.mkdir()
        Path(os.fsdecode(os.path.join(os.fsencode(folder), name))).touch()
        digests.add(files_digest(FolderSource(folder, name="m").files()))
    assert len(digests) == 2


def test_of_millions_of_partial_files_some_are_looked_at(
    cache: HubCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache_module, "ENTRY_LIMIT", 10)
    for number in range(12):
        (cache.blobs / f"{number:040x}.aa.incomplete").touch()
    assert len(cache._partials()) == 10


@pytest.mark.parametrize("at", ["listing", "size"])
def test_a_folder_that_changes_while_it_is_listed_has_a_class(
    at: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A neighbour on another node removes folders and files of the claim."""

    def stale(*_arguments: object, **_options: object) -> NoReturn:
        raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))

    (tmp_path / "a.gguf").touch()
    folder = FolderSource(tmp_path, name="pvc://models/m")
    if at == "listing":
        listing = MagicMock()
        listing.__enter__.return_value = iter(stale, None)
        monkeypatch.setattr(os, "scandir", lambda _path: listing)
    else:
        monkeypatch.setattr(Path, "stat", stale)
        monkeypatch.setattr(Path, "is_file", lambda _path: True)
    with pytest.raises(FailedError, match="pvc://models/m cannot be listed: Stale file handle") as failed:
        folder.files()
    assert failed.value.failure.failure_class == "ModelInvalid"
    assert "claim" in failed.value.failure.next_step


def test_files_of_a_folder_are_found_below_it_and_through_links_to_files_alone(tmp_path: Path) -> None:
    for name in ("a/b/c.bin", "a/.hidden/d.bin", ".git/e.bin", "tacho-compiled/f.bin", "g.bin"):
        (tmp_path / "m" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "m" / name).touch()
    (tmp_path / "m" / "to-file").symlink_to(tmp_path / "m" / "g.bin")
    (tmp_path / "m" / "to-folder").symlink_to(tmp_path / "m" / "a")
    (tmp_path / "m" / "broken").symlink_to("nowhere")
    os.mkfifo(tmp_path / "m" / "pipe")
    found = FolderSource(tmp_path / "m", name="m").files()
    assert [file.path for file in found] == ["a/b/c.bin", "g.bin", "to-file"]
