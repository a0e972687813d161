from __future__ import annotations

import errno
import json
import os
import re
import shutil
import signal
import stat
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tacho_contract import codec
from tacho_contract.failure import TERMINATION_LIMIT_BYTES, Failure, FailureClass
from tacho_contract.fetch import FetchConfig, FetchProgress, snapshot_dir
from tacho_contract.inspection import InspectConfig
from tacho_runtime.hub.fetch import download, fetch as fetch_module
from tacho_runtime.hub.fetch.fetch import fetch
from tacho_runtime.hub.fetch.progress import Stall
from tacho_runtime.hub.inspect.inspect import inspect
from tests.fakes.checkpoints import write_checkpoint
from tests.unit.hub.conftest import RunningHub

MODEL = os.urandom(6_000_000)
TOKEN = "hf_not_to_be_written_anywhere"


@pytest.fixture
def config(hub: RunningHub, tmp_path: Path) -> FetchConfig:
    folder = hub.root / "acme/model"
    folder.mkdir(parents=True)
    (folder / "weights.bin").write_bytes(MODEL)
    (folder / "config.json").write_text('{"small": true}')
    (folder / "README.md").write_text("not wanted")
    return planned(hub, tmp_path)


def planned(
    hub: RunningHub, tmp_path: Path, token: str = "", files: tuple[str, ...] = ("*.bin", "config.json")
) -> FetchConfig:
    """What the operator would configure after an inspection."""
    asked = InspectConfig(uri="hf://acme/model", endpoint=hub.url, parse=False, files=files, engine="custom")
    facts = inspect(asked, token).facts
    assert facts is not None
    return FetchConfig(
        repository="acme/model",
        files=facts.files,
        cache_dir=str(tmp_path / "cache"),
        endpoint=hub.url,
        state_dir=str(tmp_path / "state"),
    )


def progress(config: FetchConfig) -> FetchProgress:
    return codec.loads(FetchProgress, Path(config.state_dir, "progress.json").read_text())


def failed(config: FetchConfig, token: str = "") -> Failure:
    result = fetch(config, token)
    assert isinstance(result, Failure)
    assert result.next_step
    assert not Path(config.state_dir, "complete").exists()
    assert progress(config).state == "Failed"
    assert progress(config).failure == result
    return result


def check_whole(config: FetchConfig, path: str) -> None:
    assert Path(path) == Path(snapshot_dir(config.cache_dir, config.repository, config.files.commit))
    assert Path(path, "weights.bin").read_bytes() == MODEL
    assert sorted(p.name for p in Path(path).iterdir()) == ["config.json", "weights.bin"]
    assert json.loads(Path(config.state_dir, "complete").read_text()) == {"path": path}
    seen = progress(config)
    assert (seen.state, seen.path, seen.failure) == ("Complete", path, None)
    assert (seen.files_done, seen.files_total) == (2, 2)
    assert seen.bytes_done == seen.bytes_total == config.files.total_bytes
    assert not list(Path(config.cache_dir).rglob("*.incomplete"))


# --- bringing ---


def test_brings_exactly_the_planned_files(config: FetchConfig) -> None:
    path = fetch(config, "")
    assert isinstance(path, str)
    check_whole(config, path)
    assert progress(config).resumed_bytes == 0
    for file in Path(config.cache_dir).rglob("*"):
        assert stat.S_IMODE(file.stat().st_mode) & 0o444 == 0o444


def test_brings_a_sharded_checkpoint_with_equal_files(hub: RunningHub, tmp_path: Path) -> None:
    folder = write_checkpoint(hub.root / "acme/sharded", "small", shard_bytes=60_000)
    facts = inspect(InspectConfig(uri="hf://acme/sharded", endpoint=hub.url)).facts
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
    again = replace(config, state_dir=f"{config.state_dir}-of-another-pod", endpoint="http://127.0.0.1:9")
    path = fetch(again, "")
    assert isinstance(path, str)
    check_whole(again, path)
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
    path = fetch(config, "")
    assert isinstance(path, str)
    check_whole(config, path)
    ranges = [e["range"] for e in hub.asked("GET", "/weights.bin") if e["range"]]
    assert len(ranges) == 2
    assert progress(config).resumed_bytes == 0


def partial_of(config: FetchConfig, size: int, content: bytes = MODEL) -> Path:
    """What a killed download leaves behind."""
    import hashlib

    blobs = Path(config.cache_dir, "hub/models--acme--model/blobs")
    blobs.mkdir(parents=True)
    partial = blobs / f"{hashlib.sha256(MODEL).hexdigest()}.incomplete"
    partial.write_bytes(content[:size])
    return partial


def test_partial_file_is_continued(hub: RunningHub, config: FetchConfig) -> None:
    partial_of(config, 4_000_000)
    hub.fake.bytes_sent.clear()
    path = fetch(config, "")
    assert isinstance(path, str)
    check_whole(config, path)
    assert progress(config).resumed_bytes == 4_000_000
    assert sum(hub.fake.bytes_sent.values()) == config.files.total_bytes - 4_000_000


def test_partial_file_with_other_content_is_not_believed(config: FetchConfig) -> None:
    partial_of(config, 4_000_000, content=b"x" * 4_000_000)
    path = fetch(config, "")
    assert isinstance(path, str)
    check_whole(config, path)
    assert progress(config).resumed_bytes == 0


def test_partial_file_longer_than_the_whole(config: FetchConfig) -> None:
    partial_of(config, 7_000_000, content=MODEL + b"x" * 1_000_000)
    path = fetch(config, "")
    assert isinstance(path, str)
    check_whole(config, path)


def test_server_without_ranges(hub: RunningHub, config: FetchConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    partial_of(config, 4_000_000)
    hub.fake.faults.no_ranges = True
    path = fetch(config, "")
    assert isinstance(path, str)
    check_whole(config, path)
    assert progress(config).resumed_bytes == 0


def test_strays_of_dead_processes_are_freed(config: FetchConfig) -> None:
    partial = partial_of(config, 10)
    stray = partial.with_name(partial.name.replace(".incomplete", ".0a1b2c3d.incomplete"))
    stray.write_bytes(b"left")
    os.utime(stray, (0, 0))
    path = fetch(config, "")
    assert isinstance(path, str)
    check_whole(config, path)


def test_xet_falls_back_to_plain_http(
    hub: RunningHub, config: FetchConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.fake.faults.xet = True
    path = fetch(config, "")
    assert isinstance(path, str)
    check_whole(config, path)
    assert hub.asked("GET", "/xet-read-token")


# --- the content is the hub's ---


def gets(hub: RunningHub, name: str) -> int:
    """How often the file was downloaded."""
    return len([e for e in hub.asked("GET", "/resolve/") if str(e["path"]).endswith(name)])


def test_a_wrong_byte_is_found_and_the_file_brought_again(hub: RunningHub, config: FetchConfig) -> None:
    hub.fake.faults.corrupt = 2  # both files at once
    hub.fake.log.clear()
    path = fetch(config, "")
    assert isinstance(path, str)
    check_whole(config, path)
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


def test_a_file_that_is_shorter_than_listed(hub: RunningHub, config: FetchConfig) -> None:
    hub.fake.faults.truncate = 5
    failure = failed(config)
    assert failure.failure_class == FailureClass.MODEL_INVALID
    assert re.search(r"lists \S+ with (\d+) bytes and delivers (\d+)", failure.message)
    assert not Path(snapshot_dir(config.cache_dir, config.repository, config.files.commit)).exists()


def test_a_mirrors_own_etag_is_not_taken_for_the_digest(hub: RunningHub, config: FetchConfig) -> None:
    hub.fake.faults.etag = "e" * 64
    (hub.root / "acme/model/config.json").unlink()
    config = planned(hub, Path(config.cache_dir).parent, files=("*.bin",))
    path = fetch(config, "")
    assert isinstance(path, str)
    assert Path(path, "weights.bin").read_bytes() == MODEL
    assert Path(path, "weights.bin").resolve().name == "e" * 64
    again = replace(config, state_dir=f"{config.state_dir}-of-another-pod", endpoint="http://127.0.0.1:9")
    assert fetch(again, "") == path


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


# --- failing ---


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
    hub.fake.faults.cut_after, hub.fake.faults.cuts = 1, -1
    failure = failed(config)
    assert (failure.failure_class, failure.retryable) == (FailureClass.HUB_UNREACHABLE, True)


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
    room = fetch_module.SPARE_BYTES + 2000
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10, 5, room))
    assert isinstance(fetch(config, ""), str)


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


def test_stall_is_noticed() -> None:
    stall = Stall(300, 0)
    first = FetchProgress(state="Downloading", bytes_done=1, elapsed_seconds=1)
    assert not stall.stalled(first, 10)
    assert not stall.stalled(replace(first, bytes_done=2), 290)
    assert not stall.stalled(replace(first, bytes_done=2, elapsed_seconds=500), 580)
    assert stall.stalled(replace(first, bytes_done=2, elapsed_seconds=900), 591)


# --- the process ---


class Sidecar:
    """The fetch container."""

    def __init__(self, config: FetchConfig | str, log: Path, **environment: str) -> None:
        text = config if isinstance(config, str) else codec.dumps(config)
        self.log = log
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tacho_runtime.hub.fetch"],
            env={**os.environ, "TACHO_FETCH_CONFIG": text, "TACHO_TERMINATION_LOG": str(log), **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def wait_for(self, what: Any) -> None:
        deadline = time.monotonic() + 60
        while not what():
            assert self.process.poll() is None, self.process.communicate()
            assert time.monotonic() < deadline, "nothing happened for 60 s"
            time.sleep(0.05)

    def sleeping(self) -> bool:
        return b"sigwait" in Path(f"/proc/{self.process.pid}/cmdline").read_bytes()

    def end(self, with_signal: int) -> tuple[int, str]:
        self.process.send_signal(with_signal)
        output = "".join(self.process.communicate(timeout=20))
        return self.process.returncode, output


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "termination-log"
    path.write_text("")
    return path


def test_sidecar_downloads_then_sleeps_small(hub: RunningHub, config: FetchConfig, log: Path) -> None:
    hub.fake.tokens = {"acme/model": TOKEN}
    sidecar = Sidecar(config, log, HF_TOKEN=TOKEN)
    sidecar.wait_for(sidecar.sleeping)
    check_whole(config, progress(config).path)
    status = Path(f"/proc/{sidecar.process.pid}/status").read_text()
    resident_kib = int(status.split("VmRSS:")[1].split()[0])
    assert resident_kib < 20_000
    assert TOKEN.encode() not in Path(f"/proc/{sidecar.process.pid}/environ").read_bytes()
    code, output = sidecar.end(signal.SIGTERM)
    assert code == 0
    assert TOKEN not in output + log.read_text()
    written = [
        p
        for p in Path(config.cache_dir).parent.rglob("*")
        if p.is_file() and TOKEN.encode() in p.read_bytes()
    ]
    assert written == []


def test_restarted_when_complete_touches_no_network(hub: RunningHub, config: FetchConfig, log: Path) -> None:
    fetch(config, "")
    hub.fake.log.clear()
    broken = codec.to_dict(config) | {"endpoint": "http://127.0.0.1:9", "totalBytes": "not a number"}
    sidecar = Sidecar(json.dumps(broken), log)
    sidecar.wait_for(sidecar.sleeping)
    assert sidecar.end(signal.SIGTERM)[0] == 0
    assert hub.fake.log == []


@pytest.mark.parametrize("with_signal", [signal.SIGKILL, signal.SIGTERM])
def test_killed_container_continues(
    hub: RunningHub, config: FetchConfig, log: Path, with_signal: int
) -> None:
    hub.fake.faults.rate = 2_000_000
    first = Sidecar(config, log)
    first.wait_for(
        lambda: Path(config.state_dir, "progress.json").exists() and progress(config).bytes_done > 2_000_000
    )
    first.end(with_signal)
    assert first.process.returncode == (-9 if with_signal == signal.SIGKILL else 143)
    before = progress(config).bytes_done
    hub.fake.faults.rate = 0
    hub.fake.bytes_sent.clear()
    second = Sidecar(config, log)
    second.wait_for(second.sleeping)
    check_whole(config, progress(config).path)
    assert progress(config).resumed_bytes >= before
    assert sum(hub.fake.bytes_sent.values()) == config.files.total_bytes - progress(config).resumed_bytes
    second.end(signal.SIGTERM)


def test_file_system_without_links(config: FetchConfig, log: Path) -> None:
    sidecar = Sidecar(config, log, HF_HUB_DISABLE_SYMLINKS="1")
    sidecar.wait_for(sidecar.sleeping)
    check_whole(config, progress(config).path)
    files = [p for p in Path(config.cache_dir).rglob("*") if p.is_file() and p.stat().st_size == len(MODEL)]
    assert len(files) == 1
    sidecar.end(signal.SIGTERM)


def test_two_pods_on_one_cache_download_once(hub: RunningHub, config: FetchConfig, log: Path) -> None:
    hub.fake.faults.rate = 4_000_000
    hub.fake.bytes_sent.clear()
    configs = [replace(config, state_dir=f"{config.state_dir}{n}") for n in (1, 2)]
    sidecars = [Sidecar(c, log.with_name(f"log{n}")) for n, c in enumerate(configs)]
    for sidecar, own in zip(sidecars, configs, strict=True):
        sidecar.wait_for(sidecar.sleeping)
        check_whole(own, progress(own).path)
    for sidecar in sidecars:
        sidecar.end(signal.SIGTERM)
    assert hub.fake.bytes_sent[next(p for p in hub.fake.bytes_sent if p.endswith("weights.bin"))] == len(
        MODEL
    )


def test_failing_sidecar_says_why(hub: RunningHub, config: FetchConfig, log: Path) -> None:
    hub.fake.tokens = {"acme/model": "other"}
    sidecar = Sidecar(config, log, HF_TOKEN=TOKEN)
    output = "".join(sidecar.process.communicate(timeout=60))
    assert sidecar.process.returncode == 1
    failure = codec.loads(Failure, log.read_text())
    assert failure.failure_class == FailureClass.MODEL_NOT_FOUND
    assert len(log.read_bytes()) <= TERMINATION_LIMIT_BYTES
    assert failure.failure_class in output
    assert TOKEN not in output + log.read_text()


def test_a_long_failure_in_any_script_stays_readable(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond ASCII a character takes six bytes or twelve, and the kubelet cuts without asking."""
    monkeypatch.setenv(fetch_module.ENV_TERMINATION_LOG, str(log))
    text = "模型" * 2000
    failure = Failure(failure_class=FailureClass.MODEL_INVALID, message=text, next_step=text)
    assert fetch_module._fail(failure) == 1
    assert len(log.read_bytes()) <= TERMINATION_LIMIT_BYTES
    failure = codec.loads(Failure, log.read_text())
    assert failure.failure_class == FailureClass.MODEL_INVALID
    assert text.startswith(failure.message[:50])


def test_broken_configuration(log: Path, tmp_path: Path) -> None:
    sidecar = Sidecar(json.dumps({"stateDir": str(tmp_path)}), log)
    sidecar.process.communicate(timeout=60)
    assert sidecar.process.returncode == 1
    assert codec.loads(Failure, log.read_text()).failure_class == FailureClass.INVALID_CONFIG
