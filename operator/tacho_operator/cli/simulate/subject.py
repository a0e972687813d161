"""Whose replicas are simulated: from a manifest, a measurement and options, of which the latter win."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from datetime import datetime, timezone
from functools import partial
from typing import Any

from tacho_contract.launch import ServiceLevel
from tacho_contract.measurement import Workload
from tacho_operator.api.defaults import CURRENCY, service_level, workload
from tacho_operator.api.types import AutoscalingSpec, Measurement
from tacho_operator.cli.inputs.document import read, typed
from tacho_operator.cli.output.problems import CommandError
from tacho_operator.cli.probe.asked import question
from tacho_operator.cli.simulate.entries import entry_of
from tacho_operator.cli.simulate.starts import starts_of
from tacho_operator.core.measurement.cost import price_of
from tacho_operator.core.measurement.records import clean
from tacho_operator.core.scaling.law.capacity import capacity_of
from tacho_operator.core.scaling.law.coldstart import UNKNOWN_SECONDS
from tacho_operator.core.scaling.law.types import Capacity
from tacho_operator.core.scaling.target import Target, policy_of
from tacho_operator.simulate.engine_law import EngineLaw, LawError
from tacho_operator.simulate.measured_law import from_measurement
from tacho_operator.simulate.policies import tacho
from tacho_operator.simulate.policy import Factory, Setting

MOST_REPLICAS = 16
"""Where nobody says."""
UNKNOWN_START = f"a start is taken to last {UNKNOWN_SECONDS:.0f} s; --cold-start says better"
NO_DATE = datetime.fromtimestamp(0, timezone.utc)


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """What the options say; "" and None say nothing."""

    file: str = ""
    name: str = ""
    measurement: str = ""
    slo: str = ""
    ttft_milliseconds: int | None = None
    """In place of what ``slo`` or the manifest says; the same for the next."""
    tpot_milliseconds: int | None = None
    least: int | None = None
    most: int | None = None
    cold_start_seconds: tuple[float, ...] = ()
    """Of starts that were observed."""
    price_per_gpu_hour: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    setting: Setting
    slo: ServiceLevel
    entry: Measurement
    tacho: Factory
    """The operator's decision, with the behavior that the manifest asks for."""
    starts_seconds: tuple[float, ...] = ()
    """One of which each pod's start takes."""
    gpus_per_replica: int = 1
    price_per_gpu_hour: float | None = None
    currency: str = CURRENCY
    remarks: tuple[str, ...] = ()
    """What must be known to believe the figures."""

    @property
    def settings(self) -> dict[str, Any]:
        """By their names for programs."""
        setting = self.setting
        return {
            "minReplicas": setting.least,
            "maxReplicas": setting.most,
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


class Laws:
    """Each is found once: it is simulated, for seconds."""

    def __init__(self) -> None:
        self._found: dict[tuple[str, int | None], EngineLaw] = {}

    def of(self, entry: Measurement, slots: int | None) -> EngineLaw:
        """``slots``: requests that a replica answers at once, where that is known. Raises CommandError."""
        key = entry.model_dump_json(), slots
        if key not in self._found:
            self._found[key] = _law(entry, slots)
        return self._found[key]


def subject(given: Given, laws: Laws) -> Subject:
    """Raises CommandError."""
    resource = typed(read(given.file, given.name), given.file)[1] if given.file else None
    entry = entry_of(resource, given.file, given.measurement)
    spec, status = (resource.spec, resource.status) if resource else (None, None)
    slo = _slo(given, service_level(spec) if spec else ServiceLevel())
    asked = spec.autoscaling if spec else None
    least, most = _bounds(given, asked)
    plan = status.plan if status else None
    context = spec.context if spec else None
    slots = (plan.concurrency if plan else None) or (context.concurrency if context else None)
    begun = starts_of(given.cold_start_seconds, resource)
    setting = Setting(
        least=least,
        most=most,
        capacity=capacity_of([entry], plan, workload(spec) if spec else Workload()),
        slo_ttft_seconds=slo.ttft_milliseconds / 1000 or None,
        slo_tpot_seconds=slo.tpot_milliseconds / 1000 or None,
        cold_start_seconds=begun.known_seconds,
        law=laws.of(entry, slots),
    )
    price = price_of(spec.cost, "", {}) if spec else None
    gpus = plan.gpu.count if plan and plan.gpu else spec.gpu.count if spec and spec.gpu else None
    hourly = price.per_gpu_hour if price else None
    return Subject(
        setting=setting,
        slo=slo,
        entry=entry,
        tacho=_tacho(asked, setting),
        gpus_per_replica=max(1, gpus or 1),
        price_per_gpu_hour=hourly if given.price_per_gpu_hour is None else given.price_per_gpu_hour,
        currency=price.currency if price else CURRENCY,
        starts_seconds=begun.seconds,
        remarks=(*_remarks(entry, asked, setting.capacity), *((UNKNOWN_START,) if begun.unknown else ())),
    )


def _law(entry: Measurement, slots: int | None) -> EngineLaw:
    try:
        return from_measurement(entry, max_num_seqs=slots)
    except LawError as error:
        raise CommandError(
            f"no replica can be simulated: {error}", "  -> measure again: tacho probe"
        ) from None


def _slo(given: Given, asked: ServiceLevel) -> ServiceLevel:
    try:
        said = question("", given.slo, "").slo if given.slo else asked
    except CommandError as error:
        raise CommandError(str(error)) from None  # with this verb's exit code
    bounds = {"ttft_milliseconds": given.ttft_milliseconds, "tpot_milliseconds": given.tpot_milliseconds}
    return dataclasses.replace(said, **{name: bound for name, bound in bounds.items() if bound is not None})


def _bounds(given: Given, asked: AutoscalingSpec | None) -> tuple[int, int]:
    least = given.least or (asked.min_replicas if asked else None) or 1
    most = given.most or max(least, asked.max_replicas if asked else MOST_REPLICAS)
    if most < least:
        raise CommandError(f"--max-replicas {most}: fewer than the least, which are {least}")
    return least, most


def _tacho(asked: AutoscalingSpec | None, setting: Setting) -> Factory:
    if asked is None:
        return tacho.make
    bounded = asked.model_copy(
        update={"min_replicas": setting.least, "max_replicas": setting.most, "schedules": None}
    )
    target = Target(
        autoscaling=bounded,
        pods=(),
        capacity=setting.capacity,
        ttft_seconds=setting.slo_ttft_seconds,
        tpot_seconds=setting.slo_tpot_seconds,
        replicas=setting.least,
    )
    return partial(tacho.make_with, policy_of(target, NO_DATE)[0])


def _remarks(entry: Measurement, asked: AutoscalingSpec | None, capacity: Capacity) -> tuple[str, ...]:
    found = []
    if not clean(entry):
        flags = ", ".join(entry.flags)
        found.append(f"the measurement is provisional ({flags}), and so is all that follows")
    if capacity.unverified:
        known = (
            "by what its memory admits" if capacity.concurrency else "by nothing that it knows of a replica"
        )
        found.append(f"tacho scales {known}: {capacity.unverified}")
    if asked and asked.schedules:
        found.append("spec.autoscaling.schedules are left out: a trace has no date")
    return tuple(found)
