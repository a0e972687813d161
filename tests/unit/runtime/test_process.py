"""What is kept of an engine's output."""

from __future__ import annotations

import asyncio
import os
import sys

from tacho_runtime.supervisor.process import TAIL_LINE_BYTES, Reaper


async def test_of_a_line_without_end_the_last_bytes_are_kept() -> None:
    reaper = Reaper(asyncio.get_running_loop())
    program = "import sys; sys.stdout.write('x' * 500_000 + 'the end')"
    try:
        child = reaper.start((sys.executable, "-c", program), environment=os.environ)
        await asyncio.wait_for(child.exit_status, 30)
        (line,) = await child.final_output()
    finally:
        reaper.close()
    assert line.endswith("xthe end")
    assert len(line) <= TAIL_LINE_BYTES
