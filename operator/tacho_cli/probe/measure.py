"""The work of ``tacho probe URL``."""

from __future__ import annotations

import os
from dataclasses import dataclass

from tacho_cli.figures.messages import slo_message
from tacho_cli.figures.read import measurement_view
from tacho_cli.output.formats import FigureFormat, say
from tacho_cli.output.problems import EXIT_NOT_MEASURED, EXIT_PROBE_USAGE, CommandError
from tacho_cli.output.progress import following
from tacho_cli.probe.child import measure
from tacho_cli.probe.endpoint import find
from tacho_cli.probe.entry import entry_of, order_for, verdict
from tacho_cli.probe.options import live_config
from tacho_cli.probe.show import show

CONCURRENCY = 64
"""The most streams, where nothing is said: the server is not ours to find the end of."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeOptions:
    """The options of ``tacho probe URL``; "" and None leave the choice to the defaults."""

    url: str
    workload: str = ""
    slo: str = ""
    budget: str = ""
    model: str = ""
    concurrency: int | None = None
    api_key_env: str = ""
    output: FigureFormat = FigureFormat.table


def execute(options: ProbeOptions) -> int:
    """Measures and prints; returns the exit code. Raises CommandError."""
    live = live_config(options.workload, options.slo, options.budget)
    api_key = _key(options.api_key_env)
    endpoint = find(options.url, options.model, api_key)
    with following(live.probe.budget_seconds) as progress:
        probe_order = order_for(endpoint, live, options.concurrency or CONCURRENCY)
        measured = measure(probe_order, api_key, progress)
    entry = entry_of(measured, endpoint.engine)
    found = measurement_view(entry, live.slo)
    show(entry, found, f"{endpoint.model} at {endpoint.base_url}", options.output)
    code = verdict(found)
    if code == EXIT_NOT_MEASURED:
        say(f"whether the SLO is met ({slo_message(live.slo)}) could not be found out; raise --budget")
    return code


def _key(variable: str) -> str:
    if variable and not os.environ.get(variable):
        raise CommandError(f"--api-key-env {variable}: that variable is not set", code=EXIT_PROBE_USAGE)
    return os.environ.get(variable, "") if variable else ""
