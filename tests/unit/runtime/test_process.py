"""What is kept of an engine's output."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
import time
from pathlib import Path

import pytest

from tacho_runtime.supervisor import process
from tacho_runtime.supervisor.process import TAIL_LINE_BYTES, Reaper
from tests.launching import changed
from tests.unit.runtime.running import custom_config, running


async def last_lines(program: str, secret: str = "") -> tuple[str, ...]:
    """What is kept of the output of a Python program."""
    reaper = Reaper(asyncio.get_running_loop())
    try:
        child = reaper.start((sys.executable, "-c", program), environment=os.environ, secret=secret)
        await asyncio.wait_for(child.exit_status, 30)
        return await child.final_output()
    finally:
        reaper.close()


async def test_of_a_line_without_end_the_last_bytes_are_kept() -> None:
    (line,) = await last_lines("import sys; sys.stdout.write('x' * 500_000 + 'the end')")
    assert line.endswith("xthe end")
    assert len(line) <= TAIL_LINE_BYTES


async def test_output_that_is_read_late_is_read_to_its_end() -> None:
    """On a busy machine the thread that reads it may wait for seconds; the cause is in it."""
    late = 2.5
    reaper = Reaper(asyncio.get_running_loop())
    program = "print('the', flush=True); import time; time.sleep(0.2); print('cause')"
    try:
        child = reaper.start(
            (sys.executable, "-c", program), environment=os.environ, on_line=lambda _line: time.sleep(late)
        )
        await asyncio.wait_for(child.exit_status, 30)
        assert await child.final_output() == ("the", "cause")
    finally:
        reaper.close()


async def test_a_process_that_keeps_the_output_open_delays_its_end_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    waits: list[float] = []
    join = threading.Thread.join

    def noted(thread: threading.Thread, timeout: float | None = None) -> None:
        waits.extend(() if timeout is None else (timeout,))
        join(thread, timeout)

    monkeypatch.setattr(process, "PUMP_END_SECONDS", 0.3)
    reaper = Reaper(asyncio.get_running_loop())
    left = "import os, time; os.fork() or time.sleep(60); print('the cause')"
    child = reaper.start((sys.executable, "-c", left), environment=os.environ)
    try:
        await asyncio.wait_for(child.exit_status, 30)
        monkeypatch.setattr(threading.Thread, "join", noted)
        assert await child.final_output() == ("the cause",)
        assert len(waits) == 2
        assert sum(waits) <= 0.3
    finally:
        child.signal(signal.SIGKILL)
        reaper.close()


async def test_the_engines_key_is_in_no_line_that_is_kept() -> None:
    """Some servers print their arguments as they start; the last lines of one that ends are in status."""
    reaper = Reaper(asyncio.get_running_loop())
    lines = ["args: api_key='sk-secret'", "x" * (TAIL_LINE_BYTES - 4) + "sk-secret"]
    read: list[str] = []
    try:
        child = reaper.start(
            (sys.executable, "-c", f"print(*{lines!r}, sep='\\n')"),
            environment=os.environ,
            on_line=read.append,
            secret="sk-secret",
        )
        await asyncio.wait_for(child.exit_status, 30)
        kept = await child.final_output()
    finally:
        reaper.close()
    assert kept == tuple(read) == ("args: api_key='***'", "x" * (TAIL_LINE_BYTES - 4) + "***")


async def test_a_key_that_comes_in_two_parts_is_in_no_line_that_is_kept() -> None:
    program = (
        "import time; print('Bearer sk-se', end='', flush=True); time.sleep(0.3); print('cret', flush=True)"
    )
    assert await last_lines(program, "sk-secret") == ("Bearer ***",)


async def test_a_key_with_colours_within_is_in_no_line_that_is_kept() -> None:
    """Loggers such as Rich colour each number of a line; without its colours it is the key again."""
    lines = [
        "key: sk-\x1b[1;36m123\x1b[0m-abc",
        "y" * TAIL_LINE_BYTES + "sk-\x1b[1m123\x1b[0m-abc",
        "sk-\x00123-abc",
    ]
    program = f"print(*{lines!r}, sep='\\n'); print('z' * {TAIL_LINE_BYTES} + {lines[0]!r}, end='')"
    kept = await last_lines(program, "sk-123-abc")
    assert (kept[0], kept[2]) == ("key: ***", "***")
    # Of a long line its end is kept where it came in two pieces, else its beginning.
    assert kept[1][0] == "y"
    assert set(kept[1]) <= {"y", "*"}
    assert kept[3].endswith("zkey: ***")


@pytest.mark.parametrize(
    ("engine", "variable"), [("vllm", "VLLM_API_KEY"), ("transformers", "SERVER_API_KEY")]
)
@pytest.mark.parametrize(("given", "shown"), [("sk-123\n", "***"), (" \n", " \\n")])
def test_the_engine_has_the_key_that_a_client_can_send(
    engine: str, variable: str, given: str, shown: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a line's end behind it nobody could: all were refused, by a pod that was ready."""
    monkeypatch.setenv(variable, given)
    program = (sys.executable, "-c", f"import os, sys; print(repr(os.environ[{variable!r}])); sys.exit(3)")
    config = changed(custom_config(tmp_path), engine=engine, custom=None, entrypoint=program)
    with running(config, tmp_path) as runtime:
        assert runtime.ended() == 1
    assert runtime.failure().log_tail[-1] == f"'{shown}'"
