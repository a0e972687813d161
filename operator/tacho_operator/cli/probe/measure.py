"""The work of ``tacho probe URL``."""

from __future__ import annotations

import os
from dataclasses import dataclass

from tacho_operator.cli.figures.read import figures
from tacho_operator.cli.figures.words import slo_words
from tacho_operator.cli.output.formats import FigureFormat, say
from tacho_operator.cli.output.problems import EXIT_NOT_MEASURED, EXIT_PROBE_USAGE, CommandError
from tacho_operator.cli.output.progress import following
from tacho_operator.cli.probe.asked import question
from tacho_operator.cli.probe.child import measure
from tacho_operator.cli.probe.endpoint import find
from tacho_operator.cli.probe.entry import entry_of, order_for, verdict
from tacho_operator.cli.probe.show import show

CONCURRENCY = 64
"""The most streams, where nothing is said: the server is not ours to find the end of."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """The options of ``tacho probe URL``; "" and None leave the choice to the defaults."""

    url: str
    workload: str = ""
    slo: str = ""
    budget: str = ""
    model: str = ""
    concurrency: int | None = None
    api_key_env: str = ""
    output: FigureFormat = FigureFormat.table


def execute(order: Order) -> int:
    """Measures and prints; returns the exit code. Raises CommandError."""
    live = question(order.workload, order.slo, order.budget)
    api_key = _key(order.api_key_env)
    endpoint = find(order.url, order.model, api_key)
    with following(live.probe.budget_seconds) as progress:
        told = order_for(endpoint, live, order.concurrency or CONCURRENCY)
        measured = measure(told, api_key, progress)
    entry = entry_of(measured, endpoint.engine)
    found = figures(entry, live.slo)
    show(entry, found, f"{endpoint.model} at {endpoint.base_url}", order.output)
    code = verdict(found)
    if code == EXIT_NOT_MEASURED:
        say(f"whether the SLO is met ({slo_words(live.slo)}) could not be found out; raise --budget")
    return code


def _key(variable: str) -> str:
    if variable and not os.environ.get(variable):
        raise CommandError(f"--api-key-env {variable}: that variable is not set", code=EXIT_PROBE_USAGE)
    return os.environ.get(variable, "") if variable else ""
