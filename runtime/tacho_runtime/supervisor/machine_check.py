"""Whether this machine is what the plan expects. Pure: decides from observations.

The check runs as the container starts, while the model may still be downloaded. Without it, the engine would
fail minutes later. What the engine itself says in its log (a missing package, an old driver) is not checked.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from tacho_contract.failure import Failure, FailureClass
from tacho_contract.launch import PlannedGpus, RuntimeConfig, ServiceLevel
from tacho_contract.units import gib, listed
from tacho_engines.base import RuntimeAdapter
from tacho_runtime.machine.gpus import Gpu, Gpus
from tacho_runtime.machine.packages import normalised

SHARED_BYTES = 512 * 1024**2
"""Bytes in use before the engine's start, above which a GPU without a visible process counts as shared. A
driver with a display uses less.
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


def machine_failure(machine: ObservedMachine, config: RuntimeConfig) -> Failure | None:
    """The first property of this machine that keeps the plan from running here, as a failure; None: none
    does."""
    return next(_gpus(machine, config), None) if config.gpus.count else None


def shared_gpu(machine: ObservedMachine) -> bool:
    """Whether other processes use memory of a GPU before the engine starts."""
    devices = machine.gpus.devices if machine.gpus else ()
    return any(gpu.processes or (gpu.used_bytes or 0) > SHARED_BYTES for gpu in devices if not gpu.sliced)


def switches(
    machine: ObservedMachine, engine: RuntimeAdapter, config: RuntimeConfig, slo: ServiceLevel
) -> tuple[str, ...]:
    """Further arguments that the installed version of the engine takes; none where that is unknown."""
    found = machine.packages or {}
    version = next((found[name] for name in map(normalised, engine.distributions) if name in found), None)
    if version is None:
        return ()
    known = (item for item in engine.new_switches(config) if _is_since(item.since, version))
    return tuple(argument for item in known for argument in item.arguments(slo))


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
    yield from _insufficient_memory(used, config.gpus)


def _unsupported(message: str, next_step: str) -> Failure:
    return Failure(failure_class=FailureClass.UNSUPPORTED_GPU, message=message, next_step=next_step)


def _comparable_product(product: str) -> str:
    """A GPU product's name to compare: as in node labels, without the suffix of a slice or a shared GPU."""
    return _SLICE.split(product.strip().replace(" ", "-"))[0].upper()


def _other_products(gpus: tuple[Gpu, ...], planned: PlannedGpus) -> Iterator[Failure]:
    planned_name = _comparable_product(planned.product)
    others = sorted(
        {gpu.product for gpu in gpus if gpu.product and _comparable_product(gpu.product) != planned_name}
    )
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
                f"{config.engine} needs compute capability {config.gpus.least_capability} or higher for "
                f"{config.quantization_method}; {gpu.product} has {has}",
                "name a newer product in spec.gpu.products, or another spec.quantization.method",
            )


def _insufficient_memory(gpus: tuple[Gpu, ...], planned: PlannedGpus) -> Iterator[Failure]:
    for gpu in gpus:
        if gpu.sliced or gpu.free_bytes is None or gpu.free_bytes >= planned.needed_bytes:
            continue
        total = f" of {gib(gpu.total_bytes)}" if gpu.total_bytes else ""
        yield Failure(
            failure_class=FailureClass.GPU_OUT_OF_MEMORY,
            message=f"GPU {gpu.index} ({gpu.product}) has {gib(gpu.free_bytes)}{total} free, and the plan "
            f"needs {gib(planned.needed_bytes)}: other processes use it",
            next_step="stop the other processes on this GPU, give the pod a GPU of its own, or "
            "reduce spec.context",
        )
