"""The machine looked at by the runtime itself: before the model is there, and while the engine runs."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tacho_contract.failure import FailedError, Failure, FailureClass
from tacho_contract.fetch import COMPLETE_FILE
from tacho_contract.measurement import MemoryActual
from tacho_engines.base import EngineStartup
from tacho_runtime import files
from tacho_runtime.machine import caches, processes
from tacho_runtime.machine.gpus import Gpus, gpus_of, read_gpus
from tacho_runtime.supervisor import engine_memory, observed_machine
from tacho_runtime.supervisor.machine_check import ObservedMachine, machine_failure
from tacho_runtime.supervisor.supervise import Supervisor
from tests.unit.runtime.running import custom_config, running
from tools.harness.documents import plain_measurement
from tools.mock.nvml import GIB, FakeGpu, FakeNvml, process

MEASURED = plain_measurement(memory=MemoryActual(kv_cache_tokens=77), flags=("NotSteady",))


def test_a_plan_for_a_gpu_ends_here_before_the_model_is_waited_for(tmp_path: Path) -> None:
    """No machine has so many GPUs. The model never comes, and nobody waits for it."""
    config = custom_config(
        tmp_path, gpu_count=64, gpu_product="NVIDIA-L4", fetch_dir=str(tmp_path / "fetch"), model_path=""
    )
    with running(config, tmp_path) as runtime:
        assert runtime.ended() == 1
    failure = runtime.failure()
    assert failure.failure_class == "UnsupportedGPU"
    assert "64 x NVIDIA-L4, but this container has" in failure.message
    assert "WaitingForModel" not in runtime.log()


async def test_nvml_without_a_gpu_says_nothing_of_other_makers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A mixed node: NVML starts, and the pod's GPU is Intel's."""
    config = custom_config(tmp_path, gpu_count=1, gpu_product="i915")
    monkeypatch.setitem(sys.modules, "pynvml", FakeNvml(FakeGpu(denied=True)))
    for given, refused in ((True, False), (False, True)):
        monkeypatch.setattr(observed_machine.gpus, "device_nodes", lambda given=given: given)
        failure = machine_failure(observed_machine.observe(config, {"PATH": os.defpath}), config)
        assert (failure is not None) is refused


async def test_memory_that_comes_free_in_time_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gpu = FakeGpu("NVIDIA L4", memory=(24 * GIB, GIB, 23 * GIB))
    module = FakeNvml(gpu)
    monkeypatch.setitem(sys.modules, "pynvml", module)
    monkeypatch.setattr(observed_machine, "SETTLE_POLL_SECONDS", 0.01)
    monkeypatch.setattr(observed_machine, "SETTLE_SECONDS", 0.05)
    config = custom_config(tmp_path, gpu_count=1, gpu_product="NVIDIA-L4", gpu_needed_bytes=20 * GIB)

    async def check() -> tuple[ObservedMachine, Failure | None]:
        seen, _, why = await observed_machine.check_machine(config, {"PATH": os.defpath})
        return seen, why

    _, failure = await check()
    assert failure is not None
    assert failure.failure_class == FailureClass.GPU_OUT_OF_MEMORY
    looks = iter([GIB, 22 * GIB])
    monkeypatch.setattr(observed_machine.gpus, "read_gpus", lambda: gpus_with(module, gpu, next(looks)))
    machine, failure = await check()
    assert failure is None
    assert machine.gpus is not None
    assert machine.gpus.devices[0].free_bytes == 22 * GIB
    assert module.open == 0


@pytest.mark.parametrize("silent", ["observe", "with_cache"])
async def test_a_driver_or_a_claim_that_never_answers_ends_with_the_budget(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, silent: str
) -> None:
    """Nothing else told why the pod did not start."""
    answers = threading.Event()
    monkeypatch.setattr(files, "POLL_SECONDS", 0.01)
    monkeypatch.setattr(observed_machine, silent, lambda *_arguments: answers.wait(20))

    def check_budget() -> None:
        raise FailedError(Failure(failure_class="StartupTimeout", message="m", next_step="n"))

    monkeypatch.setattr(Supervisor, "_check_budget", lambda _self: check_budget())
    try:
        with pytest.raises(FailedError, match="StartupTimeout"):
            await Supervisor(custom_config(tmp_path))._check_machine()
    finally:
        answers.set()


def gpus_with(module: FakeNvml, gpu: FakeGpu, free_bytes: int) -> Gpus:
    gpu.answers["memory"] = (24 * GIB, free_bytes, 24 * GIB - free_bytes)
    return gpus_of(module)


async def test_a_cache_is_marked_as_used_again_and_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, _ = caches.opened(str(tmp_path), {"gpu": "L4"})
    mark = Path(folder)
    monkeypatch.setattr(observed_machine, "IN_USE_SECONDS", 0.01)
    async with observed_machine.marked_in_use(folder), asyncio.timeout(20):
        for _ in range(2):
            os.utime(mark, (0, 0))
            while not mark.stat().st_mtime:
                await asyncio.sleep(0.01)
    async with observed_machine.marked_in_use(str(tmp_path / "gone")):
        await asyncio.sleep(0.05)  # what cannot be marked stops nobody
    async with observed_machine.marked_in_use(""):
        pass


def test_a_claim_that_hangs_does_not_keep_the_process_from_ending(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, answers = threading.Event(), threading.Event()

    def touch(_folder: Path) -> None:
        begun.set()
        answers.wait(20)

    async def serve() -> None:
        async with observed_machine.marked_in_use(str(tmp_path)), asyncio.timeout(20):
            while not begun.is_set():
                await asyncio.sleep(0.01)

    monkeypatch.setattr(caches, "touch", touch)
    ending = threading.Thread(target=asyncio.run, args=(serve(),))
    ending.start()
    try:
        ending.join(10)
        assert not ending.is_alive(), "it waits for the disk"
    finally:
        answers.set()
        ending.join()


def test_a_serving_runtime_marks_its_cache(tmp_path: Path) -> None:
    fetch = tmp_path / "fetch"
    fetch.mkdir()
    config = custom_config(
        tmp_path, cache_dir=str(tmp_path / "c"), fetch_dir=str(fetch), model_path="", gpu_count=0
    )
    with running(config, tmp_path) as runtime:
        runtime.until(lambda: "waiting for the model" in runtime.log(), "the wait for the model")
        (mark,) = (tmp_path / "c").iterdir()
        os.utime(mark, (0, 0))
        (fetch / COMPLETE_FILE).write_text(json.dumps({"path": str(tmp_path)}))
        runtime.until_ready()
        runtime.until(lambda: mark.stat().st_mtime > 0, "the mark")
        assert runtime.stop() == 0


async def test_a_measurement_gets_the_memory_of_the_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    """This very process stands for the engine; only the GPU is played."""
    gpu = FakeGpu(memory=(140 * GIB, 139 * GIB, GIB))
    module = FakeNvml(gpu)
    monkeypatch.setitem(sys.modules, "pynvml", module)
    monkeypatch.setattr(engine_memory, "SAMPLE_SECONDS", 0.01)
    seen = engine_memory.MemoryWatch(ObservedMachine(gpus=read_gpus()), os.getpid())
    async with seen.running():
        gpu.answers["memory"] = (140 * GIB, 40 * GIB, 101 * GIB)
        gpu.answers["nvmlDeviceGetComputeRunningProcesses"] = [process(os.getpid(), 99 * GIB)]
        gpu.answers["asked"] = 0
        while gpu.answers["asked"] < 2:  # one sample was taken with these answers from its beginning
            await asyncio.sleep(0.01)
    gpu.answers["memory"] = (140 * GIB, 60 * GIB, 81 * GIB)
    gpu.answers["nvmlDeviceGetComputeRunningProcesses"] = [process(os.getpid(), 79 * GIB)]
    found = await seen.recorded_in(MEASURED, EngineStartup(weights_bytes=50))
    assert module.open == 0, "closed again"
    processes = found.memory
    assert (processes.gpu_used_bytes, processes.gpu_peak_bytes) == (79 * GIB, 99 * GIB)
    assert (processes.gpu_source, processes.weights_bytes, processes.kv_cache_tokens) == ("Process", 50, 77)
    assert found.flags == ("NotSteady", "SharedGPU"), "a GiB was in use before the engine"
    assert 0 < (processes.host_used_bytes or 0) <= (processes.host_peak_bytes or 0)
    assert dataclasses.replace(found, memory=MEASURED.memory, flags=MEASURED.flags) == MEASURED


SHARING = (
    "import os, time\n"
    "block = bytearray(os.urandom(1) * (64 << 20))\n"
    "for _ in range(3):\n"
    "    if os.fork() == 0: time.sleep(60)\n"
    "print('ready', flush=True)\n"
    "time.sleep(60)\n"
)


async def test_what_processes_share_counts_once_in_the_peak_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """Four real processes with the same 64 MiB."""
    monkeypatch.setattr(engine_memory, "SAMPLE_SECONDS", 0.01)
    looks = []
    added = engine_memory.with_sample
    monkeypatch.setattr(engine_memory, "with_sample", lambda *given: looks.append(given) or added(*given))
    with subprocess.Popen([sys.executable, "-c", SHARING], stdout=subprocess.PIPE) as parent:
        try:
            assert parent.stdout is not None
            assert parent.stdout.readline() == b"ready\n"
            seen = engine_memory.MemoryWatch(ObservedMachine(), parent.pid)
            async with seen.running():
                while len(looks) < 3:
                    await asyncio.sleep(0.01)
            found = (await seen.recorded_in(MEASURED, EngineStartup())).memory
            each = processes.resident_bytes(processes.process_tree(parent.pid)) or 0
        finally:
            subprocess.run(["kill", "-9", *map(str, processes.process_tree(parent.pid))], check=False)
    assert each > 256 << 20, "or the test shows nothing"
    assert 64 << 20 < (found.host_used_bytes or 0) <= (found.host_peak_bytes or 0) < 160 << 20


def test_a_kernel_that_takes_long_to_tell_is_asked_seldom(monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter([100.0, 101.0, 101.0, 102.0, 130.0, 131.0, 131.0, 140.0, 140.5, 140.5])
    monkeypatch.setattr(engine_memory, "time", SimpleNamespace(monotonic=lambda: next(times)))
    monkeypatch.setattr(engine_memory.processes, "proportional_bytes", lambda _: 7)
    seen = engine_memory.MemoryWatch(ObservedMachine(), os.getpid())
    assert seen._host_bytes((1,), last=False) == 7
    assert seen._host_bytes((1,), last=False) is None, "a second of asking is twenty of rest"
    assert seen._host_bytes((1,), last=False) == 7
    assert seen._host_bytes((1,), last=True) == 7, "the figure of the end is never left out"


def test_a_process_that_ends_meanwhile_makes_no_sum_of_another_kind(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    answers = iter([None, 7, None])
    monkeypatch.setattr(engine_memory, "SAMPLING_SHARE", 1e9)
    monkeypatch.setattr(engine_memory.processes, "proportional_bytes", lambda _: next(answers))
    monkeypatch.setattr(engine_memory.processes, "resident_bytes", lambda _: 28)
    seen = engine_memory.MemoryWatch(ObservedMachine(), os.getpid())
    found = [seen._host_bytes((1,), last=False) for _ in range(3)]
    assert found == [28, 7, None]


@pytest.mark.parametrize("silent", ["nvmlInit", "nvmlDeviceGetMemoryInfo", "nvmlShutdown"])
async def test_a_driver_that_stops_to_answer_keeps_no_pod_from_serving(
    monkeypatch: pytest.MonkeyPatch, silent: str
) -> None:
    module, answers = FakeNvml(FakeGpu(memory=(140 * GIB, 139 * GIB, GIB))), threading.Event()
    monkeypatch.setitem(sys.modules, "pynvml", module)
    monkeypatch.setattr(engine_memory, "RECORD_SECONDS", 0.1)
    monkeypatch.setattr(files, "POLL_SECONDS", 0.01)
    machine = ObservedMachine(gpus=read_gpus())
    prompt = getattr(module, silent)

    def late(*arguments: Any) -> Any:
        answers.wait(60)
        return prompt(*arguments)

    monkeypatch.setattr(module, silent, late)
    seen = engine_memory.MemoryWatch(machine, os.getpid())
    try:
        async with asyncio.timeout(30):
            async with seen.running():
                await asyncio.sleep(0)
            found = await seen.recorded_in(MEASURED, EngineStartup(weights_bytes=50))
        assert not answers.is_set()
        assert found.memory.weights_bytes == 50
    finally:
        answers.set()
        assert seen._sampling is not None
        seen._sampling.join()


async def test_without_a_gpu_the_host_is_measured_alone() -> None:
    seen = engine_memory.MemoryWatch(ObservedMachine(), os.getpid())
    async with seen.running():
        await asyncio.sleep(0)
    found = await seen.recorded_in(MEASURED, EngineStartup())
    assert found.flags == MEASURED.flags
    assert found.memory.gpu_devices == ()
    assert found.memory.host_used_bytes
