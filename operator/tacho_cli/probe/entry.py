"""A measurement from here as the entry of ``status.measurements`` that an operator would write. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tacho_cli.figures.read import MeasurementView
from tacho_cli.output.problems import (
    EXIT_NOT_MEASURED,
    EXIT_PROVISIONAL,
    EXIT_SLO_MET,
    EXIT_SLO_NOT_MET,
    CommandError,
)
from tacho_contract import __version__
from tacho_contract.launch import LiveConfig
from tacho_contract.measurement import Measurement
from tacho_contract.probing import ProbeOrder
from tacho_contract.report import Report
from tacho_operator.core.measurement.entry import PodReport, measurement_entry
from tacho_operator.core.measurement.states import COMPLETE, INCOMPLETE, PARTIAL
from tacho_operator.core.names import digest
from tacho_operator.core.types import Manifest

if TYPE_CHECKING:
    from tacho_cli.probe.endpoint import ServedModel  # with an HTTP client


def order_for(endpoint: ServedModel, live: LiveConfig, concurrency: int) -> ProbeOrder:
    """The probe's order. Its plan key is made of address and model: nothing else is known of the engine."""
    return ProbeOrder(
        base_url=endpoint.base_url,
        served_name=endpoint.model,
        concurrency=concurrency,
        plan_key=digest([endpoint.base_url, endpoint.model]),
        live=live,
    )


def entry_of(found: Measurement, engine: str) -> Manifest:
    """The entry of status.measurements. Raises CommandError where the measurement is unusable."""
    report = Report(
        runtime_version=__version__,
        revision="",
        plan_key=found.plan_key,
        phase="Serving",
        ready=True,
        engine=engine,
        measurement=found,
        observed_time=found.observed_time,
    )
    shown = measurement_entry(PodReport(report=report, image_id=""), None)
    if shown is None:
        why = found.message or "the figures are not plausible"
        raise CommandError(f"not measured: {why}", code=EXIT_NOT_MEASURED)
    state = PARTIAL if INCOMPLETE in shown.flags else COMPLETE
    return shown.model_copy(update={"state": state}).to_wire()


def verdict(found: MeasurementView) -> int:
    """The exit code: whether the SLO is met, as far as these figures can tell."""
    asked = found.slo.ttft_milliseconds or found.slo.tpot_milliseconds
    if found.provisional:
        return EXIT_PROVISIONAL
    if not asked:
        return EXIT_SLO_MET
    if found.capacity is None or found.capacity.basis != "SLO":
        return EXIT_NOT_MEASURED
    broken = found.capacity.boundary == "NeverMet" or found.capacity.verified is False
    return EXIT_SLO_NOT_MET if broken else EXIT_SLO_MET
