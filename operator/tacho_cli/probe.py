"""Runs ``tacho probe URL``: a child process measures, so that the display does not delay its client."""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import Callable
from typing import BinaryIO

from tacho_cli.figures.messages import show_figures, slo_message
from tacho_cli.figures.page import measurement_page
from tacho_cli.figures.read import MeasurementView, measurement_view
from tacho_cli.inputs import child
from tacho_cli.output import FigureFormat, console, following, print_document, say, write_page
from tacho_cli.problems import CommandError, ExitCode
from tacho_cli.served_model import ServedModel, find
from tacho_contract import __version__
from tacho_contract.codec import DocumentError, dumps, loads
from tacho_contract.launch import ENV_PROBE_KEY, ENV_PROBE_ORDER, LiveConfig, ProbeLine, ProbeOrder
from tacho_contract.measurement import Measurement
from tacho_contract.report import Report
from tacho_contract.text import visible
from tacho_operator.core.measurement.entry import PodReport, measurement_entry
from tacho_operator.core.measurement.states import COMPLETE, INCOMPLETE, PARTIAL
from tacho_operator.core.names import digest
from tacho_operator.core.types import Manifest

CONCURRENCY = 64
"""Most streams without --concurrency, so that a shared server is not overloaded."""


def execute(
    url: str,
    *,
    live: LiveConfig,
    model: str,
    concurrency: int | None,
    levels: tuple[int, ...],
    api_key_env: str,
    output: FigureFormat,
) -> int:
    """Measures and prints; returns the exit code. Raises CommandError."""
    api_key = _key(api_key_env)
    endpoint = find(url, model, api_key)
    with following() as progress:
        probe_order = order_for(endpoint, live, concurrency or CONCURRENCY, levels)
        measured = measure(probe_order, api_key, progress)
    entry = entry_of(measured, endpoint.engine)
    found = measurement_view(entry, live.slo)
    show(entry, found, f"{endpoint.model} at {endpoint.base_url}", output)
    code = verdict(found)
    if code == ExitCode.FAILED:
        say(f"whether the SLO is met ({slo_message(live.slo)}) could not be judged; raise --budget")
    return code


def show(entry: Manifest, found: MeasurementView, title: str, output: FigureFormat) -> None:
    """Prints a measurement. ``entry``: in the form of ``status.measurements``; ``found``: the same as
    numbers."""
    if output in ("json", "yaml"):
        print_document(entry, output)
    elif output == "html":
        write_page(measurement_page(title, [found]))
    else:
        screen = console()
        screen.print(title, markup=False, highlight=False, style="bold")
        show_figures(screen, found)


def verdict(found: MeasurementView) -> int:
    """The exit code of a measurement: OK or NOT_MET for the SLO, PROVISIONAL if disturbed, FAILED without a
    capacity."""
    if found.provisional:
        return ExitCode.PROVISIONAL
    if not found.slo.has_target:
        return ExitCode.OK
    if found.capacity is None or found.capacity.basis != "SLO":
        return ExitCode.FAILED
    broken = found.capacity.boundary == "NeverMet" or found.capacity.verified is False
    return ExitCode.NOT_MET if broken else ExitCode.OK


def _key(variable: str) -> str:
    if variable and not os.environ.get(variable):
        raise CommandError(f"--api-key-env {variable}: that variable is not set")
    key = os.environ.get(variable, "").strip() if variable else ""
    if not (key.isascii() and key.isprintable()):  # the client's error would show it
        raise CommandError(f"--api-key-env {variable}: that variable has characters that no header can hold")
    return key


def measure(order: ProbeOrder, api_key: str, progress: Callable[[str], None]) -> Measurement:
    """The measurement of a probe. Raises CommandError where the probe ended without one, or was
    interrupted."""
    # A file without a name: nothing of it stays, however this process ends.
    with tempfile.TemporaryFile("a+b") as log, child.leaving_nothing():
        try:
            return asyncio.run(_measure(order, api_key, progress, log))
        except KeyboardInterrupt:
            raise CommandError("interrupted", code=ExitCode.INTERRUPTED) from None


async def _measure(
    order: ProbeOrder, api_key: str, progress: Callable[[str], None], log: BinaryIO
) -> Measurement:
    variables = {ENV_PROBE_ORDER: dumps(order), ENV_PROBE_KEY: api_key}
    command = ["-m", "tacho_runtime.probe"]
    async with child.running(command, {**os.environ, **variables}, log, answers=True) as process:
        assert process.stdout is not None
        async for text in process.stdout:
            try:
                line = loads(ProbeLine, text)
            except DocumentError:
                continue  # a library that prints
            if line.measurement is not None:
                return line.measurement
            progress(line.progress)
        code = await process.wait()
    raise child.ended("the probe", code, log)


def order_for(
    endpoint: ServedModel, live: LiveConfig, concurrency: int, levels: tuple[int, ...] = ()
) -> ProbeOrder:
    """What the probe of ``endpoint`` shall measure. Its plan key is made of address and model, as nothing
    else is known of the engine."""
    return ProbeOrder(
        base_url=endpoint.base_url,
        served_name=endpoint.model,
        concurrency=max(concurrency, *levels, 0),
        levels=levels,
        plan_key=digest([endpoint.base_url, endpoint.model]),
        live=live,
    )


def entry_of(found: Measurement, engine: str) -> Manifest:
    """The measurement in the form of status.measurements. Raises CommandError where it has no usable
    figures."""
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
        raise CommandError(visible(f"not measured: {why}"), code=ExitCode.FAILED)
    state = PARTIAL if INCOMPLETE in shown.flags else COMPLETE
    return shown.model_copy(update={"state": state}).to_wire()
