"""The deployment to simulate: a manifest and its measurement, overridden by options."""

from __future__ import annotations

import dataclasses
import functools
import math
from dataclasses import dataclass
from datetime import datetime, timezone
from functools import partial
from typing import Any

from tacho_cli.inputs.document import read, typed
from tacho_cli.inputs.options import live_config
from tacho_cli.problems import CommandError
from tacho_cli.simulate.measurements import entry_of
from tacho_contract.launch import ServiceLevel
from tacho_contract.measurement import Workload
from tacho_operator.api.defaults import CURRENCY, service_level, workload
from tacho_operator.api.spec.service import AutoscalingSpec
from tacho_operator.api.status.measurement import MeasurementEntry
from tacho_operator.api.types import LLMDeployment
from tacho_operator.core.autoscaling.algorithm import tuning
from tacho_operator.core.autoscaling.algorithm.capacity import capacity_of
from tacho_operator.core.autoscaling.algorithm.demand import cold_start
from tacho_operator.core.autoscaling.algorithm.tuning import UNKNOWN_START_SECONDS
from tacho_operator.core.autoscaling.algorithm.types import ReplicaCapacity
from tacho_operator.core.autoscaling.target import Target, policy_of
from tacho_operator.core.measurement.cost import price_of
from tacho_operator.core.measurement.states import FLOOR, clean
from tacho_operator.core.names import MEASURE_AGAIN_ANNOTATION
from tacho_simulate.measured_model import from_measurement
from tacho_simulate.performance_model import PerformanceModel, PerformanceModelError
from tacho_simulate.policies import tacho
from tacho_simulate.policy import Factory, Setting

DEFAULT_MAX_REPLICAS = 16
UNKNOWN_START = f"the cold start is assumed to take {UNKNOWN_START_SECONDS:.0f} s; set --cold-start"
NO_DATE = datetime.fromtimestamp(0, timezone.utc)


@dataclass(frozen=True, slots=True, kw_only=True)
class DeploymentOptions:
    """The options that describe the simulated deployment; "" and None: not given."""

    file: str = ""
    name: str = ""
    measurement: str = ""
    slo: str = ""
    ttft_milliseconds: int | None = None
    """Target for TTFT in ms; it takes precedence over ``slo`` and the manifest."""
    tpot_milliseconds: int | None = None
    min_replicas: int | None = None
    max_replicas: int | None = None
    cold_start_seconds: tuple[float, ...] = ()
    """Observed cold starts in seconds."""
    price_per_gpu_hour: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatedDeployment:
    setting: Setting
    slo: ServiceLevel
    entry: MeasurementEntry
    tacho: Factory
    """The operator's policy with the behavior of the manifest."""
    starts_seconds: tuple[float, ...] = ()
    """Cold starts in seconds; each pod draws one."""
    gpus_per_replica: int = 1
    price_per_gpu_hour: float | None = None
    currency: str = CURRENCY
    remarks: tuple[str, ...] = ()
    """Limitations of the results."""

    @property
    def settings(self) -> dict[str, Any]:
        """The settings of the simulated deployment, by their JSON names."""
        setting = self.setting
        return {
            "minReplicas": setting.min_replicas,
            "maxReplicas": setting.max_replicas,
            "coldStartSeconds": setting.cold_start_seconds,
            "startSeconds": list(self.starts_seconds),
            "ttftMilliseconds": self.slo.ttft_milliseconds or None,
            "tpotMilliseconds": self.slo.tpot_milliseconds or None,
            "percentile": self.slo.percentile,
            "gpusPerReplica": self.gpus_per_replica,
            "pricePerGpuHour": self.price_per_gpu_hour,
            "requestsPerSecondPerReplica": setting.capacity.requests_per_second,
            "concurrencyPerReplica": setting.capacity.concurrency,
            "quantizationMethod": self.entry.quantization_method or None,
            "observedTime": self.entry.observed_time or None,
        }


def simulated_deployment(given: DeploymentOptions) -> SimulatedDeployment:
    """The deployment to simulate, from the options and the manifest. Raises CommandError."""
    resource = typed(read(given.file, given.name), given.file)[1] if given.file else None
    entry = entry_of(resource, given.file, given.measurement)
    spec, status = (resource.spec, resource.status) if resource else (None, None)
    slo = _slo(given, service_level(spec) if spec else ServiceLevel())
    scaling = spec.autoscaling if spec else None
    least, most = _bounds(given, scaling)
    plan = status.plan if status else None
    context = spec.context if spec else None
    slots = (plan.concurrency if plan else None) or (context.concurrency if context else None)
    starts = starts_of(given.cold_start_seconds, resource)
    setting = Setting(
        min_replicas=least,
        max_replicas=most,
        capacity=capacity_of([entry], plan, workload(spec) if spec else Workload(), slo),
        slo_ttft_seconds=slo.ttft_milliseconds / 1000 or None,
        slo_tpot_seconds=slo.tpot_milliseconds / 1000 or None,
        slo_percentile=slo.percentile / 100,
        cold_start_seconds=starts.known_seconds,
        model=_model(entry.model_dump_json(), slots),
    )
    price = price_of(spec.cost, "", {}) if spec else None
    gpus = plan.gpu.count if plan and plan.gpu else spec.gpu.count if spec and spec.gpu else None
    hourly = price.per_gpu_hour if price else None
    return SimulatedDeployment(
        setting=setting,
        slo=slo,
        entry=entry,
        tacho=_tacho(scaling, setting, slo),
        gpus_per_replica=max(1, gpus or 1),
        price_per_gpu_hour=hourly if given.price_per_gpu_hour is None else given.price_per_gpu_hour,
        currency=price.currency if price else CURRENCY,
        starts_seconds=starts.seconds,
        remarks=(*_remarks(entry, scaling, setting.capacity), *((UNKNOWN_START,) if starts.unknown else ())),
    )


@functools.cache
def _model(entry_json: str, slots: int | None) -> PerformanceModel:
    """The performance model of a measurement; cached, as fitting one takes seconds. Raises CommandError.

    ``slots``: the most concurrent requests per replica; None: unknown.
    """
    try:
        return from_measurement(MeasurementEntry.model_validate_json(entry_json), max_num_seqs=slots)
    except PerformanceModelError as error:
        raise CommandError(
            f"the measurement cannot be simulated: {error}",
            f"  -> measure again: tacho probe URL, or a new value of {MEASURE_AGAIN_ANNOTATION}",
        ) from None


def _slo(given: DeploymentOptions, default: ServiceLevel) -> ServiceLevel:
    level = live_config("", given.slo, "").slo if given.slo else default
    bounds = {"ttft_milliseconds": given.ttft_milliseconds, "tpot_milliseconds": given.tpot_milliseconds}
    return dataclasses.replace(level, **{name: bound for name, bound in bounds.items() if bound is not None})


def _bounds(given: DeploymentOptions, spec: AutoscalingSpec | None) -> tuple[int, int]:
    least = given.min_replicas or (spec.min_replicas if spec else None) or 1
    most = given.max_replicas or max(least, spec.max_replicas if spec else DEFAULT_MAX_REPLICAS)
    if most < least:
        raise CommandError(
            f"maxReplicas {most} is below minReplicas {least}",
            "  -> each of --min-replicas, --max-replicas, --what-if and the manifest may set one of them",
        )
    return least, most


def _tacho(spec: AutoscalingSpec | None, setting: Setting, slo: ServiceLevel) -> Factory:
    if spec is None:
        return tacho.make
    bounded = spec.model_copy(
        update={"min_replicas": setting.min_replicas, "max_replicas": setting.max_replicas, "schedules": None}
    )
    target = Target(
        autoscaling=bounded,
        pods=(),
        capacity=setting.capacity,
        slo=slo,
        replicas=setting.min_replicas,
    )
    return partial(tacho.make_with, policy_of(target, NO_DATE)[0])


def _remarks(
    entry: MeasurementEntry, spec: AutoscalingSpec | None, capacity: ReplicaCapacity
) -> tuple[str, ...]:
    found = []
    if not clean(entry):
        flags = ", ".join(entry.flags)
        found.append(f"the measurement is provisional ({flags}), and so are these results")
    if entry.capacity and entry.capacity.boundary == FLOOR:
        found.append("the measured capacity is a lower bound: fewer replicas may suffice")
    if capacity.unverified:
        basis = "memory capacity" if capacity.concurrency else "no known capacity"
        found.append(f"tacho scales by {basis}: {capacity.unverified}")
    if spec and spec.schedules:
        found.append("spec.autoscaling.schedules are ignored: a trace has no date")
    if spec and spec.mode == "Recommend":
        found.append(
            "spec.autoscaling.mode is Recommend: the simulation applies each decision, as Enforce does"
        )
    return tuple(found)


MAX_SECONDS = 86_400.0
SPREAD = 10
"""Number of values that stand for a range of cold starts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ColdStarts:
    """Cold-start durations, from a pod's creation to its readiness."""

    seconds: tuple[float, ...]
    """Cold starts in seconds, at least one; each simulated pod draws one of them."""
    known_seconds: float
    """90th percentile of the cold starts in seconds, which scalers may use."""
    unknown: bool = False
    """Whether no cold start was given or measured, so that a default is used."""


def parse_starts(text: str) -> tuple[float, ...]:
    """Comma-separated seconds of the option. Raises CommandError."""
    found = []
    for word in text.split(","):
        try:
            seconds = float(word)
        except ValueError:
            seconds = math.nan
        if not 0 <= seconds <= MAX_SECONDS:
            raise CommandError(
                f"--cold-start {text}: give seconds from 0 to {MAX_SECONDS:.0f}, "
                "several separated by commas, e.g. 120 or 110,115,180"
            )
        found.append(seconds)
    return tuple(found)


def starts_of(observed: tuple[float, ...], resource: LLMDeployment | None) -> ColdStarts:
    """Cold starts to simulate: those ``observed``, given as an option, else those of the status.

    A status has the latest cold start and the 90th percentile. Values between them are equally likely.
    The latest start may include a probe, which is subtracted.
    """
    if observed:
        return _drawn(observed)
    status = resource.status if resource else None
    known = status.autoscaling.cold_start_seconds if status and status.autoscaling else None
    startup = status.startup if status else None
    latest = startup.total_seconds if startup else None
    if startup and latest:
        latest = max(1, latest - (startup.probe_seconds or 0))
    ends = [float(end) for end in (latest, known) if end]
    if not ends:
        default = tuning.UNKNOWN_START_SECONDS
        return ColdStarts(seconds=(default,), known_seconds=default, unknown=True)
    low, high = min(ends), max(ends)
    if low == high:
        return ColdStarts(seconds=(high,), known_seconds=high)
    spread = tuple(round(low + (high - low) * (at + 0.5) / SPREAD, 1) for at in range(SPREAD))
    return ColdStarts(seconds=spread, known_seconds=float(known or high))


def _drawn(observed: tuple[float, ...]) -> ColdStarts:
    known = cold_start(observed, tuning.UNKNOWN_START_SECONDS)
    return ColdStarts(seconds=tuple(sorted(observed)), known_seconds=known)
