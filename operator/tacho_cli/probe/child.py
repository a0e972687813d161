"""Runs the probe as a child: its client must not share an event loop with a display."""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

from tacho_cli.inputs import child
from tacho_cli.output.problems import EXIT_INTERRUPTED, EXIT_NOT_MEASURED, CommandError
from tacho_contract.codec import DocumentError, dumps, loads
from tacho_contract.measurement import Measurement
from tacho_contract.probing import ENV_PROBE_KEY, ENV_PROBE_ORDER, ProbeLine, ProbeOrder

LAST_LINES = 5


def measure(order: ProbeOrder, api_key: str, progress: Callable[[str], None]) -> Measurement:
    """The probe's measurement. Raises CommandError where the probe ended without one, or was interrupted."""
    with tempfile.TemporaryDirectory(prefix="tacho-probe-") as scratch, child.leaving_nothing():
        try:
            return asyncio.run(_measure(order, api_key, progress, Path(scratch) / "log"))
        except KeyboardInterrupt:
            raise CommandError("interrupted", code=EXIT_INTERRUPTED) from None


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
    raise _ended(code, log)


def _ended(code: int, log: Path) -> CommandError:
    tail = log.read_text(errors="replace").splitlines()[-LAST_LINES:]
    lines = (f"  | {line}" for line in tail)
    return CommandError(f"the probe ended with code {code}", *lines, code=EXIT_NOT_MEASURED)
