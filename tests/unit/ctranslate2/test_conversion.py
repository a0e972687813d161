"""A converted model is whole or not there, whatever happens while it is made."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from tacho_ctranslate2.conversion import MARKER, MARKER_LIMIT_BYTES, ensure, is_whole
from tacho_server.errors import LoadError

VERSION = "4.8.5"


def checkpoint(folder: Path, weights: bytes = b"w" * 64) -> Path:
    """A safetensors file with one tensor of ``weights``, and what stands beside it."""
    folder.mkdir(parents=True, exist_ok=True)
    tensor = {"dtype": "BF16", "shape": [len(weights) // 2], "data_offsets": [0, len(weights)]}
    header = json.dumps({"a": tensor}).encode()
    content = len(header).to_bytes(8, "little") + header + weights
    (folder / "model.safetensors").write_bytes(content)
    (folder / "config.json").write_text('{"model_type": "llama"}')
    return folder


def make(target: Path) -> None:
    target.mkdir()
    (target / "model.bin").write_bytes(b"converted")


def never(_target: Path) -> None:
    raise AssertionError("nothing was to be made")


def parts(cache: Path) -> list[str]:
    return sorted(path.name for path in (cache / "ctranslate2").iterdir() if ".part-" in path.name)


def test_a_finished_one_is_used_again(tmp_path):
    source, cache = checkpoint(tmp_path / "m"), tmp_path / "c"
    first = ensure(source, cache, "int8_float32", VERSION, make)
    again = ensure(source, cache, "int8_float32", VERSION, never)
    assert (first.cached, again.cached, first.folder) == (False, True, again.folder)
    assert (first.folder / "model.bin").read_bytes() == b"converted"
    assert parts(cache) == []


@pytest.mark.parametrize(
    "change",
    [
        lambda source: checkpoint(source, b"v" * 66),
        lambda source: (source / "config.json").write_text('{"model_type": "qwen2"}'),
        lambda source: os.utime(source / "model.safetensors", ns=(1, 1)),
        lambda source: (source / "tokenizer.json").write_text("{}"),
    ],
    ids=["weights", "config", "weights of the same size", "tokenizer"],
)
def test_another_model_is_another_conversion(tmp_path, change):
    source = checkpoint(tmp_path / "m")
    first = ensure(source, tmp_path / "c", "int8_float32", VERSION, make)
    change(source)
    assert ensure(source, tmp_path / "c", "int8_float32", VERSION, make).folder != first.folder


def test_another_model_of_the_same_size_and_time_is_another_conversion(tmp_path):
    """As images and reproducible archives have them: the former model was served."""
    found = set()
    for weights in (b"v" * 1_000_000, b"w" * 1_000_000):
        source = checkpoint(tmp_path / "m", weights)
        os.utime(source / "model.safetensors", ns=(0, 0))
        found.add(ensure(source, tmp_path / "c", "int8_float32", VERSION, make).folder)
    assert len(found) == 2


def test_a_folder_by_the_name_of_blobs_is_no_hubs_cache(tmp_path):
    found = {
        ensure(
            checkpoint(tmp_path / name / "blobs", weights), tmp_path / "c", "float32", VERSION, make
        ).folder
        for name, weights in (("a", b"v" * 64), ("b", b"w" * 64))
    }
    assert len(found) == 2


def test_another_method_or_version_is_another_conversion(tmp_path):
    source, cache = checkpoint(tmp_path / "m"), tmp_path / "c"
    asked = [("int8_float32", VERSION), ("float32", VERSION), ("int8_float32", "4.9.0")]
    assert len({ensure(source, cache, *one, make).folder for one in asked}) == 3


def test_a_hub_cache_is_known_by_its_content_wherever_it_was_fetched(tmp_path):
    """Fetched anew, a file has another time of change and the same content."""

    def fetched(name: str, seconds: int) -> Path:
        real = checkpoint(tmp_path / name / "real") / "model.safetensors"
        blob = tmp_path / name / "blobs" / "0123abcd"
        blob.parent.mkdir()
        shutil.move(real, blob)
        os.utime(blob, (seconds, seconds))
        snapshot = tmp_path / name / "snapshots"
        snapshot.mkdir()
        (snapshot / "model.safetensors").symlink_to(blob)
        return snapshot

    first = ensure(fetched("a", 1), tmp_path / "c", "float32", VERSION, make)
    assert ensure(fetched("b", 2), tmp_path / "c", "float32", VERSION, never).folder == first.folder


@pytest.mark.parametrize("damage", ["model.bin", MARKER, "shorter"])
def test_a_damaged_one_is_made_anew(tmp_path, damage):
    source, cache = checkpoint(tmp_path / "m"), tmp_path / "c"
    place = ensure(source, cache, "int8_float32", VERSION, make).folder
    if damage == "shorter":
        (place / "model.bin").write_bytes(b"con")
    else:
        (place / damage).unlink()
    assert not is_whole(place)
    assert not ensure(source, cache, "int8_float32", VERSION, make).cached
    assert is_whole(place)


SLOW = textwrap.dedent(
    """
    import sys, time
    from pathlib import Path
    from tacho_ctranslate2.conversion import ensure

    def make(target):
        target.mkdir()
        (target / "model.bin").write_bytes(b"half")
        Path(sys.argv[3]).write_text("making")
        while not Path(sys.argv[4]).exists():
            time.sleep(0.01)
        (target / "model.bin").write_bytes(b"converted")

    found = ensure(Path(sys.argv[1]), Path(sys.argv[2]), "int8_float32", "4.8.5", make)
    print("cached" if found.cached else "made")
    """
)


def start(source: Path, cache: Path, mark: Path, go: Path) -> subprocess.Popen[str]:
    """A process that converts: it makes ``mark``, and ends once ``go`` is there."""
    command = [sys.executable, "-c", SLOW, str(source), str(cache), str(mark), str(go)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def wait_for(path: Path) -> None:
    deadline = time.monotonic() + 30
    while not path.exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_what_a_killed_conversion_left_is_removed_and_nothing_of_it_served(tmp_path):
    source, cache, mark = checkpoint(tmp_path / "m"), tmp_path / "c", tmp_path / "mark"
    with start(source, cache, mark, tmp_path / "never") as killed:
        wait_for(mark)
        killed.send_signal(signal.SIGKILL)
    (left,) = parts(cache)
    assert not is_whole(cache / "ctranslate2" / left.partition(".")[0])
    made = ensure(source, cache, "int8_float32", VERSION, make)
    assert not made.cached
    assert (made.folder / "model.bin").read_bytes() == b"converted"
    assert parts(cache) == []


def test_two_at_once_make_it_once(tmp_path):
    source, cache, mark = checkpoint(tmp_path / "m"), tmp_path / "c", tmp_path / "mark"
    go = tmp_path / "go"
    with start(source, cache, mark, go) as first:
        wait_for(mark)
        with start(source, cache, tmp_path / "other", go) as second:
            assert second.stdout is not None
            assert "waiting for it" in second.stdout.readline()
            go.touch()
            said = [process.communicate(timeout=60)[0].splitlines() for process in (first, second)]
    assert [lines[-1] for lines in said] == ["made", "cached"]
    assert not (tmp_path / "other").exists()


def test_locks_that_are_lost_while_it_waits_keep_no_model_from_being_made(tmp_path, monkeypatch):
    failures = [BlockingIOError(), OSError(errno.ENOLCK, "No locks available")]

    def flock(_handle, _how):
        raise failures.pop(0)

    monkeypatch.setattr(fcntl, "flock", flock)
    found = ensure(checkpoint(tmp_path / "m"), tmp_path / "c", "float32", VERSION, make)
    assert is_whole(found.folder)
    assert failures == []


def test_too_little_space_is_said_before_anything_is_made(tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)._replace(free=1024**2)
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: usage)
    with pytest.raises(LoadError) as raised:
        ensure(checkpoint(tmp_path / "m"), tmp_path / "c", "float32", VERSION, never)
    assert raised.value.failure_class == "DiskFull"
    assert "64 MiB" in raised.value.message
    assert "1 MiB are free" in raised.value.message


@pytest.mark.parametrize(
    ("number", "failure_class"),
    [(errno.ENOSPC, "DiskFull"), (errno.EDQUOT, "DiskFull"), (errno.EROFS, "InvalidConfig")],
)
def test_a_disk_that_fails_in_the_middle_is_told_and_leaves_nothing(tmp_path, number, failure_class):
    def fail(target: Path) -> None:
        make(target)
        raise OSError(number, os.strerror(number))

    with pytest.raises(LoadError) as raised:
        ensure(checkpoint(tmp_path / "m"), tmp_path / "c", "float32", VERSION, fail)
    assert raised.value.failure_class == failure_class
    assert parts(tmp_path / "c") == []


def test_nothing_is_written_outside_of_the_cache(tmp_path):
    source, cache, outside = checkpoint(tmp_path / "m"), tmp_path / "c", tmp_path / "outside"
    place = ensure(source, cache, "int8_float32", VERSION, make).folder
    shutil.rmtree(place)
    outside.mkdir()
    victim = outside / "victim"
    victim.write_text("the pod's own")
    place.with_suffix(".lock").unlink()
    place.with_suffix(".lock").symlink_to(victim)
    with pytest.raises(LoadError, match="InvalidConfig"):
        ensure(source, cache, "int8_float32", VERSION, never)
    for folder in (cache / "ctranslate2", cache):
        shutil.rmtree(folder)
        folder.symlink_to(outside)
        with pytest.raises(LoadError, match="is a link, or no folder"):
            ensure(source, cache, "int8_float32", VERSION, never)
        folder.unlink()
        folder.mkdir()
    assert [path.name for path in outside.iterdir()] == ["victim"]
    assert victim.read_text() == "the pod's own"


@pytest.mark.parametrize("swapped", ["ctranslate2", "its part"])
def test_nothing_is_written_where_a_link_leads_that_comes_in_the_middle(tmp_path, swapped):
    source, cache, outside = checkpoint(tmp_path / "m"), tmp_path / "c", tmp_path / "outside"
    outside.mkdir()

    def make_late(target: Path) -> None:
        folder = cache / "ctranslate2"
        if swapped == "its part":
            folder /= parts(cache)[0]
        folder.rename(folder.with_name("moved"))
        folder.symlink_to(outside)
        make(target)
        assert not list(outside.iterdir())

    ensure(source, cache, "int8_float32", VERSION, make_late)
    assert not list(outside.iterdir())


def test_a_child_converts_into_the_folder_that_is_held(tmp_path):
    def make_in_child(target: Path) -> None:
        code = "import os, sys; os.mkdir(sys.argv[1]); open(sys.argv[1] + '/model.bin', 'w').write('c')"
        subprocess.run([sys.executable, "-c", code, str(target)], check=True)

    folder = ensure(checkpoint(tmp_path / "m"), tmp_path / "c", "int8_float32", VERSION, make_in_child).folder
    assert (folder / "model.bin").read_text() == "c"
    assert folder.is_relative_to(tmp_path / "c")


@pytest.mark.parametrize("kind", ["pipe", "deep", "long"])
def test_a_list_of_files_that_cannot_be_read_is_none(tmp_path, kind):
    if kind == "pipe":
        os.mkfifo(tmp_path / MARKER)
    elif kind == "deep":
        (tmp_path / MARKER).write_text("[" * 500_000)
    else:
        (tmp_path / "model.bin").touch()
        (tmp_path / MARKER).write_text('{"files": {"model.bin": 0}}' + " " * MARKER_LIMIT_BYTES + "{")
        assert is_whole(tmp_path)  # what comes after is not read
        (tmp_path / MARKER).write_text(" " * MARKER_LIMIT_BYTES + '{"files": {"model.bin": 0}}')
    assert not is_whole(tmp_path)
