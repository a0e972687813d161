"""Whether this machine is what the plan expects. Pure: decides from observations.

The check runs as the container starts, while the model may still be downloaded. Without it, the engine would
fail minutes later with a traceback.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from tacho_contract.failure import Failure, FailureClass
from tacho_contract.launch import PlannedGpus, RuntimeConfig, ServiceLevel
from tacho_contract.units import file_size, gib, listed
from tacho_engines.base import Needs
from tacho_runtime.machine.gpus import Gpu, Gpus
from tacho_runtime.machine.packages import normalised

MIN_DRIVER = {11: "450.80", 12: "525.60", 13: "580.65"}
"""First Linux driver for each major CUDA version; it also runs later minor versions.

Source: CUDA compatibility guide, table "minor version compatibility".
"""
SHARED_BYTES = 512 * 1024**2
"""Bytes in use before the engine's start, above which a GPU without a visible process counts as shared. A
driver with a display uses less.
"""
THERE_ALREADY = 0.9
"""Share of the predicted size from which a cache entry may be the converted model, so that no conversion is
needed.
"""
_SLICE = re.compile(r"-MIG-|-SHARED$", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class ObservedMachine:
    """Observations of the machine. None: could not be observed, which causes no failure."""

    gpus: Gpus | None = None
    """The GPUs; None also where NVML lists none, as with GPUs of other makers."""
    device_nodes: bool = False
    """Whether the container has GPU device files, even if NVML does not list the GPU."""
    packages: Mapping[str, str] | None = None
    """Version by normalised name, of the packages installed beside the engine."""
    packages_digest: str = ""
    """Hash of the file lists of these packages."""
    compiled: bool | None = None
    """Whether the installed packages have bytecode."""
    built_cuda: tuple[int, int] | None = None
    compatibility_driver: bool = False
    cache_free_bytes: int | None = None
    cache_largest_bytes: int = 0
    """Largest entry of one model in the engine's cache, in bytes."""

    @property
    def capability(self) -> tuple[int, int] | None:
        """Compute capability of the first GPU as (major, minor); None where unknown."""
        devices = self.gpus.devices if self.gpus else ()
        return devices[0].capability if devices else None


def machine_failure(machine: ObservedMachine, config: RuntimeConfig, needs: Needs) -> Failure | None:
    """The first property of this machine that keeps the plan from running here, as a failure; None: none
    does."""
    return next(_failures(machine, config, needs), None)


def shared_gpu(machine: ObservedMachine) -> bool:
    """Whether other processes use memory of a GPU before the engine starts."""
    devices = machine.gpus.devices if machine.gpus else ()
    return any(gpu.processes or (gpu.used_bytes or 0) > SHARED_BYTES for gpu in devices if not gpu.sliced)


def _failures(machine: ObservedMachine, config: RuntimeConfig, needs: Needs) -> Iterator[Failure]:
    yield from _packages(machine, config, needs)
    if config.gpus.count:
        yield from _gpus(machine, config)
    yield from _full(machine, config, needs)


def _full(machine: ObservedMachine, config: RuntimeConfig, needs: Needs) -> Iterator[Failure]:
    """The failure DiskFull, where the cache lacks space for the converted model.

    An existing entry may be this model, complete or partial (then it is overwritten); all others stay. The
    converter checks again.
    """
    free, largest = machine.cache_free_bytes, machine.cache_largest_bytes
    if free is None or largest >= THERE_ALREADY * needs.cache_bytes:
        return
    if free + largest < needs.cache_bytes:
        yield Failure(
            failure_class=FailureClass.DISK_FULL,
            message=f"{config.engine} converts the model into {config.paths.cache_dir}, which takes "
            f"{file_size(needs.cache_bytes)}; {file_size(free)} are free there",
            next_step="enlarge the claim in spec.cache, or delete what is not used any more; without "
            "spec.cache, give the pod more ephemeral storage",
        )


# --- packages -------------------------------------------------------------------------------------
def _packages(machine: ObservedMachine, config: RuntimeConfig, needs: Needs) -> Iterator[Failure]:
    found, version = machine.packages or {}, _engine_version(machine, needs)
    if version is None:
        return
    for need in needs.packages:
        if normalised(need.name) not in found and _is_since(need.since, version):
            yield Failure(
                failure_class=FailureClass.UNSUPPORTED_QUANTIZATION,
                message=f"{config.engine} {version} needs the package {need.name} for {need.what}, which "
                "this image lacks",
                next_step="remove spec.engine.image, use an image that has the package, or choose another "
                "spec.quantization.method",
            )


def switches(machine: ObservedMachine, needs: Needs, slo: ServiceLevel) -> tuple[str, ...]:
    """Further command-line arguments that the installed version of the engine needs."""
    version = _engine_version(machine, needs)
    if version is None:
        return ()
    known = (item for item in needs.switches if _is_since(item.since, version))
    return tuple(argument for item in known for argument in item.arguments(slo))


def _engine_version(machine: ObservedMachine, needs: Needs) -> str | None:
    """Installed version of the engine; None: unknown."""
    found = machine.packages or {}
    return next((found[name] for name in map(normalised, needs.engine) if name in found), None)


def _is_since(since: str, version: str) -> bool:
    """Whether ``version`` is at least ``since``. False where they cannot be compared: builds named by date
    (2025.11), or another major version.
    """
    known, found = _numbers(since), _numbers(version)
    return not known or (found[:1] == known[:1] and found >= known)


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version.split("+")[0])[:3])


# --- GPUs -----------------------------------------------------------------------------------------
def _gpus(machine: ObservedMachine, config: RuntimeConfig) -> Iterator[Failure]:
    planned = f"{config.gpus.count} x {config.gpus.product or 'GPU'}"
    gpus = machine.gpus
    if gpus is None:
        if not machine.device_nodes:
            yield _unsupported(
                f"the plan is for {planned}, but this container has none: no GPU device file, none in NVML",
                "check the node's device plugin and container runtime (nvidia-ctk), or set spec.gpu.count "
                "to 0",
            )
        return
    used = gpus.devices[: config.gpus.count]
    broken = [f"GPU {gpu.index}: {gpu.fault}" for gpu in used if gpu.fault]
    if broken:
        yield Failure(
            failure_class=FailureClass.GPU_FAULT,
            message=listed(broken),
            next_step="check the node's kernel log for Xid messages; drain the node and reset the GPU",
        )
    # Several slices of one GPU are one device to NVML.
    if len(used) < config.gpus.count and not any(gpu.sliced for gpu in used):
        yield _unsupported(
            f"the plan is for {planned}, but this container has {len(gpus.devices)}",
            "give the pod that many GPUs (spec.gpu.count; CUDA_VISIBLE_DEVICES), or plan for fewer",
        )
    yield from _other_products(used, config.gpus)
    yield from _too_old(used, config)
    yield from _old_driver(gpus, machine)
    yield from _insufficient_memory(used, config.gpus)


def _unsupported(message: str, next_step: str) -> Failure:
    return Failure(failure_class=FailureClass.UNSUPPORTED_GPU, message=message, next_step=next_step)


def _whole(product: str) -> str:
    """A GPU product's name for comparison: as in node labels, without the suffix of a slice or a shared
    GPU.
    """
    return _SLICE.split(product.strip().replace(" ", "-"))[0].upper()


def _other_products(gpus: tuple[Gpu, ...], planned: PlannedGpus) -> Iterator[Failure]:
    planned_name = _whole(planned.product)
    others = sorted({gpu.product for gpu in gpus if gpu.product and _whole(gpu.product) != planned_name})
    if planned_name and others:
        yield _unsupported(
            f"the plan is for {planned.product}, but this container has {listed(others)}",
            "name that product in spec.gpu.products, or keep the pod from such nodes (spec.podTemplate)",
        )


def _too_old(gpus: tuple[Gpu, ...], config: RuntimeConfig) -> Iterator[Failure]:
    least = _numbers(config.gpus.least_capability)
    for gpu in gpus:
        if least and gpu.capability and gpu.capability < least:
            has = ".".join(map(str, gpu.capability))
            yield _unsupported(
                f"{config.engine} runs {config.quantization_method} from compute capability "
                f"{config.gpus.least_capability} on; {gpu.product} has {has}",
                "name a newer product in spec.gpu.products, or another spec.quantization.method",
            )


def _old_driver(gpus: Gpus, machine: ObservedMachine) -> Iterator[Failure]:
    built, has = machine.built_cuda, gpus.cuda
    if built is None or has is None or has[0] >= built[0] or machine.compatibility_driver:
        return
    least = MIN_DRIVER.get(built[0])
    yield _unsupported(
        f"the engine was built with CUDA {built[0]}.{built[1]}, but the node's driver "
        f"{gpus.driver_version} supports CUDA {has[0]}.{has[1]}",
        f"install a driver {f'{least} or newer' if least else f'with CUDA {built[0]}'} on the node, or use "
        f"an image built with CUDA {has[0]} (spec.engine.image)",
    )


def _insufficient_memory(gpus: tuple[Gpu, ...], planned: PlannedGpus) -> Iterator[Failure]:
    for gpu in gpus:
        if gpu.sliced or gpu.free_bytes is None or gpu.free_bytes >= planned.needed_bytes:
            continue
        total = f" of {gib(gpu.total_bytes)}" if gpu.total_bytes else ""
        yield Failure(
            failure_class=FailureClass.GPU_OUT_OF_MEMORY,
            message=f"GPU {gpu.index} ({gpu.product}) has {gib(gpu.free_bytes)}{total} free, and the plan "
            f"needs {gib(planned.needed_bytes)}; {_gpu_users(gpu)}",
            next_step="stop the other processes on this GPU, give the pod a GPU of its own, or "
            "reduce spec.context",
        )


def _gpu_users(gpu: Gpu) -> str:
    """A clause with the processes that use the GPU's memory, if the driver reports them."""
    if not gpu.processes:
        return "the other processes are not visible from this container"
    seen = [
        f"{item.name or 'process'} (pid {item.pid}"
        + (f", {gib(item.used_bytes)})" if item.used_bytes is not None else ")")
        for item in gpu.processes
    ]
    return f"it is used by {listed(seen)}"
