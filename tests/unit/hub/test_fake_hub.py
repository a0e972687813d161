"""The fake hub against the real client: what other tests build on."""

from __future__ import annotations

import contextlib
import hashlib
import json
import socket
import ssl
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import HfApi, get_hf_file_metadata, hf_hub_url, snapshot_download
from huggingface_hub.errors import (
    GatedRepoError,
    RemoteEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from tests.unit.hub.conftest import RunningHub

LARGE = bytes(range(256)) * 8192


@pytest.fixture
def repository(hub: RunningHub) -> str:
    folder = hub.root / "acme/model"
    (folder / "sub").mkdir(parents=True)
    (folder / "config.json").write_text('{"a": 1}')
    (folder / "sub/notes.txt").write_text("notes")
    (folder / "weights.bin").write_bytes(LARGE)
    return "acme/model"


def test_client_lists(hub: RunningHub, repository: str) -> None:
    api = HfApi(endpoint=hub.url, token=False)
    info = api.model_info(repository)
    assert len(info.sha or "") == 40
    files = {f.path: f for f in api.list_repo_tree(repository, recursive=True, revision=info.sha)}
    assert set(files) == {"config.json", "sub", "sub/notes.txt", "weights.bin"}
    weights: Any = files["weights.bin"]
    assert weights.size == len(LARGE)
    assert weights.lfs.sha256 == hashlib.sha256(LARGE).hexdigest()
    config: Any = files["config.json"]
    assert config.lfs is None
    assert config.blob_id == hashlib.sha1(b'blob 8\0{"a": 1}').hexdigest()


def test_client_downloads(hub: RunningHub, repository: str, tmp_path: Path) -> None:
    path = Path(snapshot_download(repository, endpoint=hub.url, token=False, cache_dir=tmp_path / "cache"))
    assert (path / "weights.bin").read_bytes() == LARGE
    assert (path / "sub/notes.txt").read_text() == "notes"
    url = hf_hub_url(repository, "weights.bin", endpoint=hub.url)
    metadata = get_hf_file_metadata(url, token=False)
    assert metadata.size == len(LARGE)
    assert metadata.etag == hashlib.sha256(LARGE).hexdigest()
    assert metadata.xet_file_data is None


def test_commit_follows_files_and_stays(hub: RunningHub, repository: str) -> None:
    api = HfApi(endpoint=hub.url, token=False)
    before = api.model_info(repository).sha
    assert before == api.model_info(repository).sha
    (hub.root / repository / "config.json").write_text('{"a": 2}')
    after = api.model_info(repository).sha
    assert after != before
    assert api.model_info(repository, revision=before).sha == before


@pytest.mark.parametrize("token", [False, "wrong"])
def test_private(hub: RunningHub, repository: str, token: Any) -> None:
    hub.fake.tokens, hub.fake.mode = {"*": "right"}, "private"
    with pytest.raises(Exception, match=r"401|404"):
        HfApi(endpoint=hub.url, token=token).model_info(repository)
    assert HfApi(endpoint=hub.url, token="right").model_info(repository).sha


def test_gated(hub: RunningHub, repository: str) -> None:
    hub.fake.tokens, hub.fake.mode = {repository: "right"}, "gated"
    url = hf_hub_url(repository, "config.json", endpoint=hub.url)
    assert HfApi(endpoint=hub.url, token=False).model_info(repository).sha
    for token in (False, "wrong"):
        with pytest.raises(GatedRepoError):
            get_hf_file_metadata(url, token=token)
    assert get_hf_file_metadata(url, token="right").size == 8


def test_errors_are_the_clients_own(hub: RunningHub, repository: str) -> None:
    api = HfApi(endpoint=hub.url, token=False)
    with pytest.raises(RepositoryNotFoundError):
        api.model_info("acme/absent")
    with pytest.raises(RevisionNotFoundError):
        api.model_info(repository, revision="absent")
    with pytest.raises(RemoteEntryNotFoundError):
        get_hf_file_metadata(hf_hub_url(repository, "absent", endpoint=hub.url), token=False)


def test_counts_and_faults_over_http(hub: RunningHub, repository: str) -> None:
    def post(document: dict[str, Any]) -> None:
        data = json.dumps(document).encode()
        urllib.request.urlopen(urllib.request.Request(f"{hub.url}/_faults", data=data)).close()

    post({"fail": [503], "cutAfter": 10, "cuts": 2, "rate": 0})
    assert (hub.fake.faults.fail, hub.fake.faults.cut_after, hub.fake.faults.cuts) == ([503], 10, 2)
    with pytest.raises(Exception, match="503"):
        HfApi(endpoint=hub.url, token="seen").model_info(repository)
    assert HfApi(endpoint=hub.url, token=False).model_info(repository).sha
    with urllib.request.urlopen(f"{hub.url}/_stats") as response:
        stats = json.load(response)
    path = f"GET /api/models/{repository}"
    assert (stats["requests"][path], stats["authorized"][path]) == (2, 1)
    with pytest.raises(urllib.error.HTTPError) as caught:
        post({"unheardOf": 1})
    caught.value.close()


def test_the_client_itself_does_not_notice_a_wrong_byte(
    hub: RunningHub, repository: str, tmp_path: Path
) -> None:
    """Over plain HTTP it compares sizes only: this is why fetch reads back what it brought."""
    hub.fake.faults.corrupt = -1
    path = snapshot_download(repository, endpoint=hub.url, token=False, cache_dir=tmp_path / "cache")
    assert len(Path(path, "weights.bin").read_bytes()) == len(LARGE)
    assert Path(path, "weights.bin").read_bytes() != LARGE


def test_cut_connection_is_continued_by_the_client(hub: RunningHub, repository: str, tmp_path: Path) -> None:
    hub.fake.faults.cut_after, hub.fake.faults.cuts = 1_000_000, 1
    path = snapshot_download(repository, endpoint=hub.url, token=False, cache_dir=tmp_path / "cache")
    assert Path(path, "weights.bin").read_bytes() == LARGE


def test_its_end_ends_the_connection_of_a_client_that_reads_no_more(tmp_path: Path) -> None:
    """It was left open, and failed whichever test ran when it was collected."""
    folder = tmp_path / "acme/model"
    folder.mkdir(parents=True)
    (folder / "weights.bin").write_bytes(bytes(50_000_000))
    running = RunningHub(tmp_path)
    host, _, port = running.url.removeprefix("http://").partition(":")
    with socket.create_connection((host, int(port)), timeout=10) as client:
        client.sendall(b"GET /acme/model/resolve/main/weights.bin HTTP/1.1\r\nHost: hub\r\n\r\n")
        assert client.recv(40).startswith(b"HTTP/1.1 200")
        running.stop()
        with contextlib.suppress(ConnectionError):
            while client.recv(1_000_000):
                pass


def test_its_end_ends_a_connection_on_which_nobody_has_begun_tls(tmp_path: Path) -> None:
    running = RunningHub(tmp_path, ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))
    host, _, port = running.url.removeprefix("https://").partition(":")
    with socket.create_connection((host, int(port)), timeout=5) as client:
        running.stop()
        with contextlib.suppress(ConnectionError):
            assert client.recv(1) == b""
