"""The page's part on starts at the edge of what fits, from benchmarks/planner/h200/starts.json."""

from __future__ import annotations

from collections.abc import Iterable

from benchmarks.gpu.pages.recorded import number, row
from benchmarks.planner.cases import account, called_fitting, predict
from benchmarks.planner.starts import Start, starts
from tacho_contract.units import GIB

HEAD = """
## The edge of what fits

One request of 1,024 to 8,192 tokens on a small part of the GPU
([how](../../../benchmarks/gpu/h200/edges)), GiB. By the plan of the time `-tight` fitted and `-short` did
not; each was started all the same. {exceptions} ended otherwise than planned then. What was learned of
them (blocks that are kept whole, smaller activations) is in today's columns.

| start | part of the GPU | cache asked | planned today | found | started | today it |
| --- | --- | --- | --- | --- | --- | --- |
"""


def section() -> Iterable[str]:
    found = [start for start in starts() if start.name.startswith("edges/")]
    exceptions = [
        f"`{_name(start)}`" for start in found if start.row["started"] == _name(start).endswith("-short")
    ]
    yield HEAD.format(exceptions=" and ".join(exceptions))
    yield from map(_line, found)


def _name(start: Start) -> str:
    return start.name.removeprefix("edges/")


def _line(start: Start) -> str:
    found = predict(start.case)
    return row(
        _name(start),
        number(found.budget_bytes / GIB, 2),
        number(account(start.case).request_bytes / GIB, 2),
        number(found.available_bytes / GIB, 2),
        number(start.row["actual"]["kvGiB"], 2),
        "yes" if start.row["started"] else "no",
        "fits" if called_fitting(start.case) else "does not",
    )
