"""Runs ``tacho status --watch``: reads the cluster every few seconds, and prints what changed."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, TypeVar

from rich.cells import cell_len

from tacho_cli.inputs.kubectl import ARROW, UNREACHABLE, KubectlTarget, deployment, deployments
from tacho_cli.output import StatusFormat, following, print_document, say
from tacho_cli.problems import CommandError, ExitCode
from tacho_cli.status.phases import StartProgress
from tacho_cli.status.rows import condition, document, resource_name, row
from tacho_contract.text import visible

if TYPE_CHECKING:
    from tacho_operator.core.types import Manifest

SAMPLE_INTERVAL_SECONDS = 2.0
TRIES = 15
ReadT = TypeVar("ReadT")


def until_ready(target: KubectlTarget, name: str) -> int:
    """Prints a line for each step to Ready; returns OK, or NOT_MET where the resource needs user action."""
    steps, mark = StartProgress(), None
    with following() as progress:
        while True:
            resource = _read(lambda: deployment(target, name))
            observation = steps.observe(resource, time.monotonic())
            for line in observation.ended:
                print(visible(line), flush=True)
            if observation.ready or observation.stalled:
                break
            if progress is not say or observation.mark != mark:  # a terminal's line is overwritten
                progress(observation.now)
            mark = observation.mark
            time.sleep(SAMPLE_INTERVAL_SECONDS)
    stalled = condition(resource["status"], "Stalled")
    print(
        visible(observation.now if observation.ready else f"{'Stalled':10}{stalled.get('message', '')}"),
        flush=True,
    )
    return ExitCode.OK if observation.ready else ExitCode.NOT_MET


def rows_forever(target: KubectlTarget, output: StatusFormat) -> int:
    """Prints a row for each resource that is new or changed, until Ctrl-C."""
    known: dict[str, dict[str, str]] = {}
    widths: list[int] = []
    while True:
        found = _read(lambda: deployments(target))
        rows = [row(raw, wide=output == "wide", everywhere=target.everywhere) for raw in found]
        if not widths and rows and output in ("table", "wide"):
            widths = [max(len(heading), *(cell_len(cells[heading]) for cells in rows)) for heading in rows[0]]
            print(aligned(rows[0], widths))
        for raw, cells in zip(found, rows, strict=True):
            if known.get(uid := raw["metadata"]["uid"]) != cells:
                known[uid] = cells
                _show(raw, cells, output, widths)
        time.sleep(SAMPLE_INTERVAL_SECONDS)


def _read(read: Callable[[], ReadT]) -> ReadT:
    """The result of ``read``, which is tried up to TRIES times: the API server may be away for some
    seconds.
    """
    for tries_left in reversed(range(TRIES)):
        try:
            return read()
        except CommandError as error:
            if not tries_left or not UNREACHABLE.search(str(error)):
                raise
            say(f"{str(error).partition(ARROW)[0]}; reading again")
            time.sleep(SAMPLE_INTERVAL_SECONDS)
    raise AssertionError("the last try returns or raises")


def _show(raw: Manifest, cells: dict[str, str], output: StatusFormat, widths: list[int]) -> None:
    if output in ("json", "yaml"):
        print_document(document(raw), output)
    elif output == "name":
        print(resource_name(raw["metadata"]["name"]), flush=True)
    else:
        print(visible(aligned(cells.values(), widths)), flush=True)


def aligned(cells: Iterable[str], widths: Iterable[int]) -> str:
    """One row of a table whose later rows are not known yet: cells padded to ``widths``."""
    padded = (cell + " " * (width - cell_len(cell)) for cell, width in zip(cells, widths, strict=True))
    return "  ".join(padded).rstrip()
