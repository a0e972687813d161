"""Observes this machine once before the engine starts, and prepares the folder for compiled code."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import logging
from collections.abc import AsyncIterator, Callable, Mapping
from functools import cache, partial
from pathlib import Path

from tacho_contract.failure import Failure, FailureClass
from tacho_contract.launch import RuntimeConfig
from tacho_runtime.files import while_reading
from tacho_runtime.machine import caches, environment as environment_, gpus, packages, processes
from tacho_runtime.machine.sampling import MachineSample, sampler
from tacho_runtime.supervisor.machine_check import ObservedMachine, machine_failure

log = logging.getLogger("tacho")

POD_CACHE = "cache"
"""Folder beside the runtime's state for compiled code, where no writable claim exists."""
SETTLE_SECONDS = 10.0
"""Seconds to wait for GPU memory of a previous process: a driver frees it after the process has ended."""
SETTLE_POLL_SECONDS = 1.0
IN_USE_SECONDS = 3600.0
"""Seconds between two updates of a cache folder's time of use; unused folders are removed after days."""


def observe(config: RuntimeConfig, environment: Mapping[str, str]) -> ObservedMachine:
    """Observations of this machine. Never raises; imports no module of the engine."""
    found = gpus.read_gpus()
    program = (config.custom.command if config.custom else config.entrypoint)[:1]
    python = packages.interpreter(program[0], environment) if program else None
    folders = list(packages.package_folders(python, environment)) if python else []
    return ObservedMachine(
        gpus=gpus.visible_gpus(found, environment) if found and found.devices else None,
        device_nodes=gpus.device_nodes(),
        packages=packages.installed(folders) if folders else None,
        packages_digest=caches.packages_digest(folders),
        compiled=caches.is_compiled(folders, config.engine),
    )


def machine_sampler(
    machine: ObservedMachine, pid: int, late_kernels: Callable[[], int]
) -> Callable[[bool], MachineSample]:
    """A function that samples this machine while the engine (process ``pid`` and its children) is measured.

    ``late_kernels``: how many kernels the engine has compiled since it serves.
    """
    devices = machine.gpus.devices if machine.gpus else ()
    # Made by the first call, in whose thread a driver may take its time.
    made = cache(lambda: sampler(devices, lambda: processes.process_tree(pid)))
    return lambda calibrate: dataclasses.replace(made()(calibrate), late_kernels=late_kernels())


def with_cache(config: RuntimeConfig, machine: ObservedMachine) -> RuntimeConfig:
    """``config`` with the folder for the engine's compiled code on this machine: on the claim, else in the
    pod.

    Where neither can be written, the engine gets none and uses its own default.
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
    for root in filter(None, (config.paths.cache_dir, f"{config.paths.state_dir}/{POD_CACHE}")):
        try:
            folder, warm = caches.opened(root, key)
        except (OSError, RecursionError) as error:  # the second: folders in folders, thousands deep
            log.warning("compiled code cannot be cached in %s: %s", root, error)
            continue
        log.info("compiled-code cache: %s (%s)", folder, "warm" if warm else "new")
        return _with_cache_dir(config, folder)
    return _with_cache_dir(config, "")


def _with_cache_dir(config: RuntimeConfig, folder: str) -> RuntimeConfig:
    return dataclasses.replace(config, paths=dataclasses.replace(config.paths, cache_dir=folder))


def with_bytecode(
    environment: Mapping[str, str], machine: ObservedMachine, config: RuntimeConfig
) -> dict[str, str]:
    """The engine's environment, with a folder for bytecode if it is a Python program whose image has no
    compiled code."""
    cache_dir = config.paths.cache_dir
    found = caches.bytecode_variables(environment, compiled=machine.compiled, cache_dir=cache_dir)
    if found != environment:
        folder = found[caches.BYTECODE_PREFIX]
        log.info("the engine's image has no compiled Python code: bytecode is cached in %s", folder)
    return found


async def check_machine(
    config: RuntimeConfig, environment: Mapping[str, str], check_budget: Callable[[], None] = lambda: None
) -> tuple[ObservedMachine, RuntimeConfig, Failure | None]:
    """(the observations, ``config`` with its cache folder, the failure that keeps the plan from running here
    or None).

    ``check_budget`` is called meanwhile and may raise: a driver, or the disk of a claim, may never answer.
    """
    machine, failure = await _settled(config, environment, check_budget)
    if failure is None:
        config = await while_reading(partial(with_cache, config, machine), check_budget)
    return machine, config, failure


async def _settled(
    config: RuntimeConfig, environment: Mapping[str, str], check_budget: Callable[[], None]
) -> tuple[ObservedMachine, Failure | None]:
    """The observed machine and its failure, read again until memory of a previous process is free or
    SETTLE_SECONDS have passed.
    """
    waited = 0.0
    while True:
        machine = await while_reading(partial(observe, config, environment), check_budget)
        failure = machine_failure(machine, config)
        busy = failure is not None and failure.failure_class == FailureClass.GPU_OUT_OF_MEMORY
        if not busy or waited >= SETTLE_SECONDS:
            return machine, failure
        await asyncio.sleep(SETTLE_POLL_SECONDS)
        waited += SETTLE_POLL_SECONDS


@contextlib.asynccontextmanager
async def marked_in_use(cache_dir: str) -> AsyncIterator[None]:
    """Marks the cache folder as used while the block runs, so that no other pod removes it as old."""
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
            await while_reading(partial(caches.touch, folder))
        except (OSError, RuntimeError) as error:  # RuntimeError: no thread can be started
            log.warning("%s cannot be marked as in use: %s", folder, error)
        await asyncio.sleep(IN_USE_SECONDS)
