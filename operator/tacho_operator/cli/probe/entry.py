"""A measurement from here as the entry of ``status.measurements`` that an operator would write. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tacho_contract import __version__
from tacho_contract.launch import LiveConfig
from tacho_contract.measurement import Measurement
from tacho_contract.probing import ProbeOrder
from tacho_contract.report import Report
from tacho_operator.cli.figures.read import Figures
from tacho_operator.cli.output.problems import (
    EXIT_NOT_MEASURED,
    EXIT_PROVISIONAL,
    EXIT_SLO_MET,
    EXIT_SLO_NOT_MET,
    CommandError,
)
from tacho_operator.core.measurement.mapper import PodReport, status_measurement
from tacho_operator.core.measurement.states import COMPLETE, INCOMPLETE, PARTIAL
from tacho_operator.core.names import digest
from tacho_operator.core.types import Manifest

if TYPE_CHECKING:
    from tacho_operator.cli.probe.endpoint import Endpoint  # with an HTTP client


def order_for(endpoint: Endpoint, live: LiveConfig, concurrency: int) -> ProbeOrder:
    """What the probe is told. Its plan's key is the address and the model: no more is known of the engine."""
    return ProbeOrder(
        base_url=endpoint.base_url,
        served_name=endpoint.model,
        concurrency=concurrency,
        plan_key=digest([endpoint.base_url, endpoint.model]),
        live=live,
    )


def entry_of(found: Measurement, engine: str) -> Manifest:
    """Raises CommandError where there is nothing to show."""
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
    shown = status_measurement(PodReport(report=report, image_id=""), None)
    if shown is None:
        why = found.message or "the figures are not plausible"
        raise CommandError(f"not measured: {why}", code=EXIT_NOT_MEASURED)
    state = PARTIAL if INCOMPLETE in shown.flags else COMPLETE
    return shown.model_copy(update={"state": state}).to_wire()


def verdict(found: Figures) -> int:
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
