"""Looks at this machine: once before the engine starts, and at the engine's memory until it is measured."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import logging
import shutil
import time
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Any

from tacho_contract.failure import Failure, FailureClass
from tacho_contract.launch import RuntimeConfig
from tacho_contract.measurement import Measurement
from tacho_engines.base import EngineFigures, Needs, RunHalf
from tacho_runtime.machine import bytecode, caches, environment as environment_, gpus, memory, packages
from tacho_runtime.machine.sampling import sampler
from tacho_runtime.probe.ports import MachineSample
from tacho_runtime.supervisor.machine_check import Machine, machine_failure, shared_gpu
from tacho_runtime.supervisor.used import Sample, Used, added, memory_actual

log = logging.getLogger("tacho")

POD_CACHE = "cache"
"""Folder beside the runtime's state, where there is no claim that can be written."""
SHARED_GPU = "SharedGPU"
"""Flag of a measurement."""
SETTLE_SECONDS = 10.0
"""How long what ran before may take to give the GPU's memory back: a driver frees it after the process is
gone."""
SAMPLE_SECONDS = 1.0
"""A sample is a pass over /proc and one question to each GPU: about 2 ms in a pod."""
ASKING_PART = 0.05
"""Of the time may go into asking the kernel what processes have resident, which walks their page tables:
10 ms for a process of a gigabyte, and a second for one that maps a hundred."""
IN_USE_SECONDS = 3600.0
"""How often a cache is marked as used: what has no mark for days is removed."""


def look(config: RuntimeConfig, environment: Mapping[str, str]) -> Machine:
    """What can be seen of this machine. Never raises; imports nothing of the engine's."""
    found = gpus.read_gpus()
    program = (config.custom.command if config.custom else config.entrypoint)[:1]
    python = packages.interpreter(program[0], environment) if program else None
    folders = list(packages.package_folders(python, environment)) if python else []
    return Machine(
        gpus=gpus.usable(found, environment) if found and found.devices else None,
        device_nodes=gpus.device_nodes(),
        packages=packages.installed(folders) if folders else None,
        packages_digest=caches.packages_digest(folders),
        compiled=bytecode.is_compiled(folders, config.engine),
        built_cuda=packages.built_cuda(folders, environment),
        compatibility_driver=packages.has_compatibility_driver(),
    )


def while_measured(machine: Machine, pid: int) -> Callable[[bool], MachineSample]:
    """What looks at this machine while the engine, a loaded process and its children, is measured."""
    return sampler(machine.gpus.devices if machine.gpus else (), lambda: memory.process_tree(pid))


def with_cache(config: RuntimeConfig, machine: Machine) -> RuntimeConfig:
    """``config`` with the cache's folder for this engine on this machine: on the claim, else in the pod.

    Where neither can be written, the engine is told of none and keeps what it compiles where it likes.
    """
    found = environment_.read_environment(machine.gpus)
    key = caches.cache_key(
        engine=config.engine,
        image=config.image,
        packages=machine.packages_digest,
        gpu=found.gpu_product,
        driver=found.driver_version,
        cpu=environment_.cpu_identity(),
    )
    for root in filter(None, (config.cache_dir, f"{config.state_dir}/{POD_CACHE}")):
        try:
            folder, warm = caches.opened(root, key)
        except OSError as error:
            log.warning("nothing compiled is kept in %s: %s", root, error)
            continue
        log.info("compiled code is kept in %s, %s", folder, "as an earlier start left it" if warm else "new")
        return dataclasses.replace(config, cache_dir=folder)
    return dataclasses.replace(config, cache_dir="")


def with_bytecode(environment: Mapping[str, str], machine: Machine, config: RuntimeConfig) -> dict[str, str]:
    """Of the engine: where it is Python and its image has no compiled code, with a place to keep it."""
    found = bytecode.variables(environment, compiled=machine.compiled, cache_dir=config.cache_dir)
    if found != environment:
        log.info("the engine's image has no compiled Python code: it is kept in %s", found[bytecode.PREFIX])
    return found


async def checked(
    config: RuntimeConfig, engine: RunHalf, environment: Mapping[str, str]
) -> tuple[Machine, RuntimeConfig, Failure | None]:
    """What is seen, ``config`` with its cache, and what keeps the plan from running here.

    Room is looked for last, in the folder that the engine will get: a claim that cannot be written is none.
    """
    machine, failure = await _settled(config, engine.needs(config), environment)
    if failure is None:
        config = await asyncio.to_thread(with_cache, config, machine)
        needs = engine.needs(config)
        machine = await asyncio.to_thread(_with_room, machine, config.cache_dir, needs)
        failure = machine_failure(machine, config, needs)
    return machine, config, failure


async def _settled(
    config: RuntimeConfig, needs: Needs, environment: Mapping[str, str]
) -> tuple[Machine, Failure | None]:
    """The machine, once memory that is on its way back is there."""
    waited = 0.0
    while True:
        machine = await asyncio.to_thread(look, config, environment)
        failure = machine_failure(machine, config, needs)
        busy = failure is not None and failure.failure_class == FailureClass.GPU_OUT_OF_MEMORY
        if not busy or waited >= SETTLE_SECONDS:
            return machine, failure
        await asyncio.sleep(SAMPLE_SECONDS)
        waited += SAMPLE_SECONDS


def _with_room(machine: Machine, folder: str, needs: Needs) -> Machine:
    """``machine`` with what is free in ``folder`` and what the engine has there, where it needs much."""
    if not folder or not needs.cache_bytes:
        return machine
    try:
        free = shutil.disk_usage(folder).free
        largest = caches.largest_entry(Path(folder, needs.cache_folder)) if needs.cache_folder else 0
    except OSError:
        return machine
    return dataclasses.replace(machine, cache_free_bytes=free, cache_largest_bytes=largest)


@contextlib.asynccontextmanager
async def in_use(cache_dir: str) -> AsyncIterator[None]:
    """Marks the cache as used until left, so that no other pod takes it for an old one."""
    task = asyncio.ensure_future(_mark(Path(cache_dir))) if cache_dir else None
    try:
        yield
    finally:
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def _mark(folder: Path) -> None:
    while True:
        try:
            await asyncio.to_thread(caches.touch, folder)
        except OSError as error:
            log.warning("%s cannot be marked as in use: %s", folder, error)
        await asyncio.sleep(IN_USE_SECONDS)


class MemoryWatch:
    """The engine's memory: looked at every second while ``running``, and once more for the ``result``."""

    def __init__(self, machine: Machine, pid: int) -> None:
        self._gpus = machine.gpus.devices if machine.gpus else ()
        self._before = {gpu.index: gpu.used_bytes or 0 for gpu in self._gpus}
        self._shared = shared_gpu(machine)
        self._pid = pid
        self._used = Used()
        self._due = 0.0
        """By the monotonic clock: when processes may be asked for their memory again."""
        self._shared_once = False
        """The kernel counts shared pages once here."""

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Samples until left."""
        task = asyncio.ensure_future(self._run())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _run(self) -> None:
        with self._nvml() as module:
            while True:
                await asyncio.to_thread(self._sample, module)
                await asyncio.sleep(SAMPLE_SECONDS)

    async def recorded_in(self, measurement: Measurement, figures: EngineFigures) -> Measurement:
        """``measurement`` with the memory as it was, and is now with shared pages counted once."""
        with self._nvml() as module:
            await asyncio.to_thread(self._sample, module, last=True)
        memory_ = memory_actual(self._used, figures, measurement.memory.kv_cache_tokens)
        flags = {*measurement.flags, *((SHARED_GPU,) if self._shared else ())}
        return dataclasses.replace(measurement, memory=memory_, flags=tuple(sorted(flags)))

    def _nvml(self) -> contextlib.AbstractContextManager[Any]:
        """Kept open from sample to sample: to start it takes longer than to ask."""
        return gpus.nvml() if self._gpus else contextlib.nullcontext()

    def _sample(self, module: Any, *, last: bool = False) -> None:
        pids = memory.process_tree(self._pid)
        sample = Sample(
            host_bytes=self._host_bytes(pids, last=last),
            host_highest_bytes=memory.highest_bytes(pids),
            gpus=tuple(gpus.latest(module, gpu) for gpu in self._gpus) if module else (),
            pids=pids,
        )
        self._used = added(self._used, sample, self._before)

    def _host_bytes(self, pids: tuple[int, ...], *, last: bool) -> int | None:
        """With shared pages counted once; with each process's own count where the kernel tells no other.
        None: not asked now, as it took long the last time, or one of them has just ended."""
        begun = time.monotonic()
        if begun < self._due and not last:
            return None
        found = memory.proportional_bytes(pids)
        self._due = time.monotonic() + (time.monotonic() - begun) / ASKING_PART
        if found is None and not self._shared_once:
            return memory.resident_bytes(pids)
        self._shared_once = True
        return found
