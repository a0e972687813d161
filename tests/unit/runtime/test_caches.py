"""Compiled code is code: it is used where it was made for, by who made it, and nowhere else."""

from __future__ import annotations

import dataclasses
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given, strategies as st

from tacho_engines.registry import runtime_adapter
from tacho_engines.shared.default_run import compile_caches, vllm_caches
from tacho_runtime.machine import caches
from tacho_runtime.machine.gpus import Gpu, Gpus
from tacho_runtime.supervisor.machine_check import ObservedMachine
from tacho_runtime.supervisor.observed_machine import with_cache
from tests.launching import changed, runtime_config

KEY = caches.cache_key(
    engine="vllm", image="vllm:1", packages="ab", gpu="NVIDIA-L4", driver="580", cpu="EPYC"
)
CONFIG = runtime_config(
    revision="r",
    plan_key="p",
    engine="custom",
    image="registry.example/vllm:1",
    model_path="/m",
    served_name="s",
    max_model_len=1,
    concurrency=1,
)
WORDS = st.text(max_size=8)
KEYS = st.fixed_dictionaries(
    {name: WORDS for name in ("engine", "image", "packages", "gpu", "driver", "cpu")}
)


@given(first=KEYS, second=KEYS)
def test_folders_are_equal_where_keys_are(first: dict[str, str], second: dict[str, str]) -> None:
    names = [caches.folder_name(caches.cache_key(**key)) for key in (first, second)]
    assert (names[0] == names[1]) == (first == second)
    assert all(name.isalnum() for name in names)


@pytest.mark.parametrize("planted", ["pipe", "file", "link"])
def test_what_somebody_put_in_the_folders_place_is_not_used(tmp_path: Path, planted: str) -> None:
    """By whoever shares the claim; the caller then keeps its code in the pod."""
    place = tmp_path / caches.folder_name(KEY)
    if planted == "pipe":
        os.mkfifo(place)
    elif planted == "link":
        (tmp_path / "elsewhere").mkdir()
        place.symlink_to(tmp_path / "elsewhere")
    else:
        place.touch()
    with pytest.raises(NotADirectoryError):
        caches.opened(str(tmp_path), KEY)


def test_a_second_start_finds_what_the_first_left(tmp_path: Path) -> None:
    root = str(tmp_path / "cache")
    folder, warm = caches.opened(root, KEY)
    assert not warm
    assert Path(folder).stat().st_mode & 0o777 == 0o700
    Path(folder, "graph").write_text("compiled")
    assert caches.opened(root, KEY) == (folder, True)
    assert Path(folder, "graph").read_text() == "compiled"
    other, warm = caches.opened(root, {**KEY, "driver": "590"})
    assert (warm, other == folder, list(Path(other).iterdir())) == (False, False, [])


def test_many_that_start_together_share_one_folder(tmp_path: Path) -> None:
    together = threading.Barrier(8)

    def start(number: int) -> str:
        together.wait()
        folder, _ = caches.opened(str(tmp_path), KEY)
        Path(folder, f"graph-{number}").touch()
        return folder

    with ThreadPoolExecutor(8) as pool:
        folders = set(pool.map(start, range(8)))
    (folder,) = folders
    assert len(list(Path(folder).iterdir())) == 8
    assert [str(path) for path in tmp_path.iterdir()] == [folder]


def test_a_folder_that_others_could_write_is_closed(tmp_path: Path) -> None:
    folder, _ = caches.opened(str(tmp_path), KEY)
    Path(folder).chmod(0o777)
    caches.opened(str(tmp_path), KEY)
    assert Path(folder).stat().st_mode & 0o777 == 0o700


def test_somebody_elses_folder_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    caches.opened(str(tmp_path), KEY)
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    with pytest.raises(PermissionError, match=f"user {os.getuid()}"):
        caches.opened(str(tmp_path), KEY)


def test_what_nobody_uses_goes_in_time(tmp_path: Path) -> None:
    old, _ = caches.opened(str(tmp_path), {**KEY, "driver": "1"})
    young, _ = caches.opened(str(tmp_path), {**KEY, "driver": "2"})
    (tmp_path / "models").mkdir()
    long_ago = time.time() - caches.KEPT_SECONDS - 60
    for unused in (old, tmp_path / "models"):
        os.utime(unused, (long_ago, long_ago))
    kept, _ = caches.opened(str(tmp_path), KEY)
    assert {str(path) for path in tmp_path.iterdir()} == {young, kept, str(tmp_path / "models")}


def test_installed_files_make_the_digest(tmp_path: Path) -> None:
    assert caches.packages_digest([tmp_path]) == ""
    record = tmp_path / "torch-2.dist-info" / "RECORD"
    record.parent.mkdir()
    record.write_text("torch/a.py,sha256=1,1\n")
    first = caches.packages_digest([tmp_path])
    record.write_text("torch/a.py,sha256=2,1\n")
    assert "" != first != caches.packages_digest([tmp_path])


def test_a_cache_that_cannot_be_written_falls_back_to_the_pods_own(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.touch()
    config = changed(CONFIG, cache_dir=str(blocked / "x"), state_dir=str(tmp_path / "state"))
    found = with_cache(config, ObservedMachine())
    assert found.paths.cache_dir.startswith(str(tmp_path / "state" / "cache"))
    nowhere = changed(config, state_dir=str(blocked / "state"))
    assert with_cache(nowhere, ObservedMachine()).paths.cache_dir == ""


def test_another_machine_or_image_has_a_folder_of_its_own(tmp_path: Path) -> None:
    config = changed(CONFIG, cache_dir=str(tmp_path))
    l4 = Gpus(devices=(Gpu(index=0, product="NVIDIA-L4"),), driver_version="580")
    newer = dataclasses.replace(l4, driver_version="590")
    folders = {
        with_cache(config, ObservedMachine()).paths.cache_dir,
        with_cache(config, ObservedMachine(gpus=l4)).paths.cache_dir,
        with_cache(config, ObservedMachine(gpus=newer)).paths.cache_dir,
        with_cache(config, ObservedMachine(packages_digest="x")).paths.cache_dir,
        with_cache(
            dataclasses.replace(config, image="registry.example/vllm:2"), ObservedMachine()
        ).paths.cache_dir,
    }
    assert len(folders) == 5
    assert with_cache(config, ObservedMachine()).paths.cache_dir in folders


def test_transformers_has_growing_segments_on_a_gpu_alone() -> None:
    for count, value in ((0, None), (1, "expandable_segments:True")):
        config = dataclasses.replace(CONFIG, gpus=dataclasses.replace(CONFIG.gpus, count=count))
        assert runtime_adapter("transformers").environment(config).get("PYTORCH_CUDA_ALLOC_CONF") == value


def test_engines_are_told_of_the_folder() -> None:
    kept = changed(CONFIG, cache_dir="/cache/k")
    assert runtime_adapter("custom").environment(kept) == vllm_caches("/cache/k")
    on_host = dataclasses.replace(kept, gpus=dataclasses.replace(kept.gpus, count=0))
    assert runtime_adapter("transformers").environment(on_host) == compile_caches("/cache/k")
    assert {value.rpartition("/")[0] for value in vllm_caches("/cache/k").values()} == {"/cache/k"}
    assert compile_caches("") == vllm_caches("") == {}
