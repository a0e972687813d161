"""What is judged: the newest measurement of a candidate, and the active revision's to compare it with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tacho_contract.launch import LiveConfig
from tacho_contract.report import Report
from tacho_contract.units import clipped
from tacho_operator.api.spec.service import GateSpec
from tacho_operator.api.status.measurement import MeasurementEntry
from tacho_operator.core.gate.judge import GateVerdict, Kind, comparable, judge
from tacho_operator.core.measurement.entry import PodReport, measurement_entry
from tacho_operator.core.measurement.runs import confirms, is_check
from tacho_operator.core.measurement.states import USABLE
from tacho_operator.core.measurement.step import Gathered
from tacho_operator.core.pods.view import PodView
from tacho_operator.core.revisions.controller_revision import Revision

TIME_LIMIT = 64
SERVING = "Serving"
"""A runtime's phase once its engine serves and is not being measured."""
_SAME = "a check found the rates of the active revision, which has the same plan and hardware"
LENGTHS = frozenset({"OtherInput", "ShortOutput"})
"""Flags of figures that were measured with other lengths than spec.workload has."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CandidateMeasurement:
    """The newest measurement that a pod of the candidate reports."""

    pod: PodView
    report: Report
    time: str
    """When it ended. Of a check: when the measurement ended that it confirms."""
    entry: MeasurementEntry | None = None
    """Its figures; None: it has none to be judged."""
    why: str = ""
    """Why it has none."""
    checked: bool = False
    """Whether the pod only checked that it has the rates of ``entry``."""


def newest(
    known: Gathered, candidate: Revision, live: LiveConfig, *, preferred: str = ""
) -> CandidateMeasurement | None:
    """The newest measurement that a ready pod of the candidate reports. ``preferred``: the pod whose
    measurement counts if it has one.
    """
    pods = {pod.name: pod for pod in known.servers if pod.revision == candidate.name and pod.ready}
    found = [
        _candidate_measurement(item, pods[item.pod], candidate, known, live)
        for item in known.pod_reports
        if item.pod in pods and not item.terminating
    ]
    return max(found, key=lambda item: (item.pod.name == preferred, item.time, item.pod.name), default=None)


def _candidate_measurement(
    item: PodReport, pod: PodView, revision: Revision, known: Gathered, live: LiveConfig
) -> CandidateMeasurement:
    measured = item.report.measurement
    time = clipped(measured.observed_time, TIME_LIMIT) if measured else ""
    keys = (revision.plan_key, live.measure_key)
    if measured is None or (measured.plan_key, measured.measure_key) != keys:
        why = "it has no measurement for the present workload, slo and probe"
        return CandidateMeasurement(pod=pod, report=item.report, time=time, why=why)
    if not is_check(item):
        entry = measurement_entry(item, revision)
        why = "" if entry else f"its measurement has no figures ({clipped(measured.state, TIME_LIMIT)})"
        return CandidateMeasurement(pod=pod, report=item.report, time=time, entry=entry, why=why)
    fingerprint = item.fingerprint(measured.measure_key)
    entry = next((stored for stored in known.measurements if stored.fingerprint == fingerprint), None)
    if entry is None or not confirms(item, entry):
        why = "its check confirms no measurement"
        return CandidateMeasurement(pod=pod, report=item.report, time=time, why=why)
    return CandidateMeasurement(
        pod=pod, report=item.report, time=entry.observed_time or time, entry=entry, checked=True
    )


def judged(
    found: CandidateMeasurement,
    known: Gathered,
    revisions: Mapping[str, Revision],
    active: str,
    *,
    gate: GateSpec,
    live: LiveConfig,
) -> GateVerdict:
    """The verdict on a candidate's measurement."""
    if found.entry is None:
        return GateVerdict(kind=Kind.UNJUDGED, what=found.why, again=True)
    before = revisions.get(active)
    baseline = _baseline(known, before, found.entry, live) if before else None
    if baseline is not None and found.checked and baseline.fingerprint == found.entry.fingerprint:
        return GateVerdict(kind=Kind.ACCEPTABLE, what=_SAME)
    own = revisions.get(found.pod.revision)
    like = (
        before is not None
        and own is not None
        and baseline is not None
        and _are_alike(before, own, baseline, found.entry)
    )
    earlier = _earlier(known, before, found.entry) if before else None
    return judge(found.entry, baseline, gate, live.slo, like_for_like=like, earlier=earlier)


def _baseline(
    known: Gathered, active: Revision, mine: MeasurementEntry, live: LiveConfig
) -> MeasurementEntry | None:
    """The active revision's own current measurement, on the candidate's hardware if there is one; None:
    none that others may be compared with.
    """
    serving = {pod.name for pod in known.servers if pod.revision == active.name}
    running = {item.fingerprint(live.measure_key) for item in known.pod_reports if item.pod in serving}
    found = [
        entry
        for entry in known.measurements
        if entry.state in USABLE
        and (entry.plan_key, entry.measure_key) == (active.plan_key, live.measure_key)
        # A candidate of the same plan on other hardware has an entry of the same keys.
        and (entry.fingerprint in running if running else entry.fingerprint != mine.fingerprint)
        and comparable(entry)
    ]
    alike = (entry for entry in found if _hardware(entry) == _hardware(mine))
    return next(alike, next(iter(found), None))


def _earlier(known: Gathered, active: Revision, mine: MeasurementEntry) -> MeasurementEntry | None:
    """What the active revision last measured with the same requests, for any SLO; None: nothing clean."""
    found = (
        entry
        for entry in known.measurements
        if entry.plan_key == active.plan_key and _lengths(entry) == _lengths(mine) and comparable(entry)
    )
    return next((entry for entry in found if entry.fingerprint != mine.fingerprint), None)


def _lengths(entry: MeasurementEntry) -> tuple[int | None, int | None]:
    """Input and output tokens of the measured requests."""
    found = entry.workload
    return (found.input_tokens, found.output_tokens) if found else (None, None)


def _are_alike(active: Revision, candidate: Revision, its: MeasurementEntry, mine: MeasurementEntry) -> bool:
    """Whether two measurements are of the same model, quantization method, hardware and lengths."""
    return (
        active.model_uri == candidate.model_uri != ""
        and active.plan.quantization_method == candidate.plan.quantization_method
        and _hardware(its) == _hardware(mine)
        and LENGTHS & {*its.flags} == LENGTHS & {*mine.flags}
    )


def _hardware(entry: MeasurementEntry) -> tuple[str, int, str]:
    """Product and number of the GPUs; without GPU, the model of the CPU."""
    found = entry.environment
    if found is None:
        return ("", 0, "")
    count = found.gpu_count or 0
    return (found.gpu_product or "", count, "" if count else found.cpu_model or "")
