"""Runs fetch and runtime as children and follows them: the pod of ``tacho run``."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import httpx

from tacho_operator.cli.local_setup import LocalSetup
from tacho_operator.cli.problems import EXIT_FAILED, CommandError
from tacho_runtime.codec import DocumentError, dumps, loads
from tacho_runtime.contract import ENV_FETCH_CONFIG, ENV_RUNTIME_CONFIG, Failure, Report

POLL_SECONDS = 0.25
STOP_SECONDS = 20.0
LOG_TAIL_LINES = 10

Say = Callable[[str], None]


@contextlib.asynccontextmanager
async def _child(
    module: list[str], environment: dict[str, str], log: Path
) -> AsyncIterator[asyncio.subprocess.Process]:
    """A child in a session of its own, so that Ctrl-C reaches us alone and we end it in order."""
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *module,
            env={**os.environ, **environment},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        await _stop(process)


async def _stop(process: asyncio.subprocess.Process) -> None:
    if process.returncode is not None:
        return
    process.terminate()
    try:
        await asyncio.wait_for(process.wait(), STOP_SECONDS)
    except TimeoutError:
        os.killpg(process.pid, signal.SIGKILL)
        await process.wait()


def _tail(log: Path) -> list[str]:
    return log.read_text(errors="replace").splitlines()[-LOG_TAIL_LINES:]


def _failure(scratch: Path, process: asyncio.subprocess.Process, what: str) -> CommandError:
    """What a dead child says of itself, else the end of its log."""
    try:
        failure = loads(Failure, (scratch / "termination").read_text())
    except (OSError, DocumentError):
        return CommandError(
            f"{what} ended with code {process.returncode}", *_tail(scratch / f"{what}.log"), code=EXIT_FAILED
        )
    lines = [f"{failure.failure_class}: {failure.message}", f"  -> {failure.next_step}"]
    return CommandError(*lines, *(f"  | {line}" for line in failure.log_tail), code=EXIT_FAILED)


class LocalPod:
    """The running children, and the reports of their runtime."""

    def __init__(self, setup: LocalSetup, scratch: Path, say: Say) -> None:
        self._setup, self._scratch, self._say = setup, scratch, say
        self._processes: dict[str, asyncio.subprocess.Process] = {}
        host = setup.runtime.bind_host
        self._url = f"http://{'127.0.0.1' if host == '0.0.0.0' else host}:{setup.runtime.runtime_port}"  # noqa: S104

    def _prepare(self) -> None:
        """Makes the folders and writes what the pod would find mounted."""
        (self._scratch / "state").mkdir()
        (self._scratch / "live.json").write_text(dumps(self._setup.live))
        if self._setup.fetch:
            Path(self._setup.fetch.cache_dir).mkdir(parents=True, exist_ok=True)
            Path(self._setup.fetch.state_dir).mkdir()

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[LocalPod]:
        """Starts the children; ends them whatever happens."""
        self._prepare()
        log = str(self._scratch / "termination")
        async with contextlib.AsyncExitStack() as stack:
            if self._setup.fetch:
                variables = {ENV_FETCH_CONFIG: dumps(self._setup.fetch), "TACHO_TERMINATION_LOG": log}
                child = _child(["-m", "tacho_runtime.hub.fetch"], variables, self._scratch / "fetch.log")
                self._processes["fetch"] = await stack.enter_async_context(child)
            variables = {ENV_RUNTIME_CONFIG: dumps(self._setup.runtime)}
            child = _child(["-m", "tacho_runtime"], variables, self._scratch / "runtime.log")
            self._processes["runtime"] = await stack.enter_async_context(child)
            yield self

    async def until_ready(self) -> Report:
        """Follows the phases aloud until the engine serves and is measured. Raises CommandError."""
        shown = ""
        async for report in self._reports():
            line = f"{report.phase}: {report.message}" if report.message else report.phase
            if line != shown:
                self._say(line)
                shown = line
            if report.ready and (report.measurement or self._setup.live.probe.policy == "Disabled"):
                return report
        raise AssertionError("reports end only by an error")

    async def until_dead(self) -> None:
        """Returns never; raises CommandError when a child dies."""
        async for _ in self._reports():
            await asyncio.sleep(1.0)

    async def _reports(self) -> AsyncIterator[Report]:
        async with httpx.AsyncClient(base_url=self._url, timeout=5.0, trust_env=False) as client:
            while True:
                for what, process in self._processes.items():
                    if process.returncode is not None:
                        raise _failure(self._scratch, process, what)
                with contextlib.suppress(httpx.HTTPError, DocumentError):
                    report = loads(Report, (await client.get("/report")).content)
                    if report.plan_key == self._setup.plan_key:
                        yield report
                await asyncio.sleep(POLL_SECONDS)
