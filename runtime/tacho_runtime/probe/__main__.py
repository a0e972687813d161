"""``python -m tacho_runtime.probe``: measures an engine that is already running.

Options come from the environment; progress and the measurement are lines on stdout
(``tacho_contract.launch``). Exit codes: 0 a measurement was printed, 1 the options cannot be read.
"""

from __future__ import annotations

import asyncio
import os
import sys

from tacho_contract.codec import DocumentError, dumps, loads
from tacho_contract.launch import ENV_PROBE_KEY, ENV_PROBE_ORDER, ProbeLine, ProbeOrder
from tacho_runtime.probe.sequence import run_probe
from tacho_runtime.probe.target import BY_OPTIONS, ProbeScope, ProbeTarget


def main() -> int:
    """Runs the probe and returns the exit code."""
    try:
        order = loads(ProbeOrder, os.environ.get(ENV_PROBE_ORDER, ""))
    except DocumentError as error:
        print(f"tacho-runtime: {ENV_PROBE_ORDER} cannot be read: {error}", file=sys.stderr)
        return 1
    asyncio.run(_measure(order, os.environ.get(ENV_PROBE_KEY, "")))
    return 0


async def _measure(order: ProbeOrder, api_key: str) -> None:
    target = ProbeTarget(
        base_url=order.base_url,
        served_name=order.served_name,
        engine="custom",
        max_model_len=0,
        concurrency=1,  # no plan counts with a number
        scores=False,
        slots=order.concurrency,
        api_key=api_key,
        advice=BY_OPTIONS,
        may_be_forwarded=True,
    )
    found = await run_probe(
        target,
        order.live,
        plan_key=order.plan_key,
        progress=lambda message: _emit(ProbeLine(progress=message)),
        scope=ProbeScope(levels=order.levels),
    )
    _emit(ProbeLine(measurement=found))


def _emit(line: ProbeLine) -> None:
    print(dumps(line), flush=True)


if __name__ == "__main__":
    sys.exit(main())
