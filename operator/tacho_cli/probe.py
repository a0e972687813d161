"""Runs ``tacho probe URL``: a child process measures, so that the display does not delay its client."""

from __future__ import annotations

import asyncio
import os
import ssl
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx

from tacho_cli.figures.messages import show_figures, slo_message
from tacho_cli.figures.page import measurement_page
from tacho_cli.figures.read import MeasurementView, measurement_view
from tacho_cli.inputs import child
from tacho_cli.output import FigureFormat, console, following, print_document, say, write_page
from tacho_cli.problems import CommandError, ExitCode
from tacho_contract import __version__
from tacho_contract.codec import DocumentError, dumps, loads
from tacho_contract.launch import ENV_PROBE_KEY, ENV_PROBE_ORDER, LiveConfig, ProbeLine, ProbeOrder
from tacho_contract.measurement import Measurement
from tacho_contract.report import Report
from tacho_engines.registry import engine_profiles
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
    has_target = found.slo.ttft_milliseconds or found.slo.tpot_milliseconds
    if found.provisional:
        return ExitCode.PROVISIONAL
    if not has_target:
        return ExitCode.OK
    if found.capacity is None or found.capacity.basis != "SLO":
        return ExitCode.FAILED
    broken = found.capacity.boundary == "NeverMet" or found.capacity.verified is False
    return ExitCode.NOT_MET if broken else ExitCode.OK


def _key(variable: str) -> str:
    if variable and not os.environ.get(variable):
        raise CommandError(f"--api-key-env {variable}: that variable is not set")
    return os.environ.get(variable, "") if variable else ""


def measure(order: ProbeOrder, api_key: str, progress: Callable[[str], None]) -> Measurement:
    """The measurement of a probe. Raises CommandError where the probe ended without one, or was
    interrupted."""
    with tempfile.TemporaryDirectory(prefix="tacho-probe-") as scratch, child.leaving_nothing():
        try:
            return asyncio.run(_measure(order, api_key, progress, Path(scratch) / "log"))
        except KeyboardInterrupt:
            raise CommandError("interrupted", code=ExitCode.INTERRUPTED) from None


async def _measure(
    order: ProbeOrder, api_key: str, progress: Callable[[str], None], log: Path
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
        raise CommandError(f"not measured: {why}", code=ExitCode.FAILED)
    state = PARTIAL if INCOMPLETE in shown.flags else COMPLETE
    return shown.model_copy(update={"state": state}).to_wire()


# --- which model the server has ---------------------------------------------------------------------
REQUEST_SECONDS = 10.0
API = "/v1"


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedModel:
    base_url: str
    """The server's URL, without /v1."""
    model: str
    engine: str
    """The engine's name in tacho, where the endpoint reports it; else ""."""


def base_of(url: str) -> str:
    """The URL up to /v1. Raises CommandError for an invalid URL."""
    try:
        parts = urlsplit(url)
        known = parts.scheme in ("http", "https") and parts.hostname and (parts.port or 1)
        more = parts.query or parts.fragment or parts.username
    except ValueError:
        known = more = None
    if not known or more:
        raise CommandError(
            f"{url}: http://HOST[:PORT] or https://HOST[:PORT] of an OpenAI-compatible server is expected",
        )
    return url.rstrip("/").removesuffix(API)


def find(url: str, model: str, api_key: str) -> ServedModel:
    """The model served at ``url``. ``model``: its name, "" where the server has one only. Raises
    CommandError."""
    base = base_of(url)
    try:
        served = _models(base, api_key)
    except CommandError:
        if not model:
            raise
        served = []  # Not every server has the list, and the name is all that is needed of it.
    names = [str(item["id"]) for item in served]
    if model and served and model not in names:
        raise CommandError(f"{base} serves no {model}; it serves: {', '.join(names)}")
    if not model and len(names) != 1:
        raise CommandError(
            f"{base} serves several models ({', '.join(names)}); choose one with --model"
            if names
            else f"{base} lists no model; name one with --model",
        )
    chosen = model or names[0]
    owner = next((str(item.get("owned_by", "")) for item in served if item["id"] == chosen), "")
    spelled = owner.lower().replace(".", "")
    known = {row.name for row in engine_profiles()}
    return ServedModel(base_url=base, model=chosen, engine=spelled if spelled in known else "")


def _models(base: str, api_key: str) -> list[dict[str, Any]]:
    """The models that the endpoint lists, each with an ``id``. Raises CommandError."""
    headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
    where = f"{base}{API}/models"
    try:
        # The authorities that the probe will believe, too.
        trust = ssl.create_default_context()
        answer = httpx.get(where, headers=headers, timeout=REQUEST_SECONDS, trust_env=False, verify=trust)
        answer.raise_for_status()
        return [item for item in answer.json()["data"] if item["id"]]
    except httpx.HTTPStatusError as error:
        code = error.response.status_code
        key = "; name the variable that holds its key: --api-key-env" if code in (401, 403) else ""
        why = f"HTTP {code}{key}"
    except httpx.HTTPError as error:
        why = str(error) or type(error).__name__
    except (ValueError, KeyError, TypeError):
        why = "the answer is no list of models; is it an OpenAI-compatible server?"
    raise CommandError(f"{where}: {why}")
