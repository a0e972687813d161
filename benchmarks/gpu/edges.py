"""The page's part on starts at the edge of what fits, from benchmarks/planner/h200/starts.json."""

from __future__ import annotations

from collections.abc import Iterable

from benchmarks.gpu.figures import number, row
from benchmarks.planner.cases import account, called_fitting, predict
from benchmarks.planner.starts import Start, starts
from tacho_contract.units import GIB

HEAD = """
## The edge of what fits

One request of 1,024 to 8,192 tokens on a small part of the GPU
([h200-edges.yaml](../../../benchmarks/gpu/h200-edges.yaml)), GiB: `-tight` left 0.056 beside what it
needs by the plan of the time, `-short` lacked 0.055 and was started by hand all the same. Every tight
one started but `qwen-1-5b-before`, and every short one failed but `danube-4b-short`. What was learned of
those two (blocks that are kept whole, smaller activations) is in today's columns. `qwen-3b` and
`phi-3-mini` were planned after that, and started by hand until their graphs were captured.

| start | part of the GPU | cache asked | planned today | found | started | today it |
| --- | --- | --- | --- | --- | --- | --- |
"""


def section() -> Iterable[str]:
    yield HEAD
    for start in starts():
        if start.name.startswith("edges/"):
            yield _line(start)


def _line(start: Start) -> str:
    found = predict(start.case)
    return row(
        start.name.removeprefix("edges/"),
        number(found.budget_bytes / GIB, 2),
        number(account(start.case).request_bytes / GIB, 2),
        number(found.available_bytes / GIB, 2),
        number(start.row["actual"]["kvGiB"], 2),
        "yes" if start.row["started"] else "no",
        "fits" if called_fitting(start.case) else "does not",
    )
