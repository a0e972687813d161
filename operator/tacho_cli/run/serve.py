"""Runs ``tacho run``: plans, runs the children that a pod has as containers, prints the status, serves."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import tempfile
import uuid
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any, TypeVar

from tacho_cli.inputs import child, document
from tacho_cli.inputs.child import engine_environment, hub_environment, leaving_nothing
from tacho_cli.inputs.model import claim_directories, inspect_model
from tacho_cli.inputs.this_machine import this_machine
from tacho_cli.output import Format, print_document, say
from tacho_cli.problems import CommandError, ExitCode, failed, for_this_machine, no_plan_code
from tacho_cli.run.setup import LOCAL, LocalSetup, RunOptions, local_setup, require_engine
from tacho_cli.run.snapshot import local_status
from tacho_cli.status.rows import resource_name
from tacho_cli.status.screen import show_status
from tacho_contract.codec import DocumentError, dumps, loads
from tacho_contract.failure import Failure
from tacho_contract.fetch import COMPLETE_FILE, ENV_FETCH_CONFIG
from tacho_contract.launch import ENV_POD_UID, ENV_RUNTIME_CONFIG, local_url
from tacho_contract.report import Report
from tacho_operator.core.planner.plan import plan_model
from tacho_operator.core.planner.types import ModelPlan, PlanFailure
from tacho_operator.core.types import Manifest

POLL_SECONDS = 0.25
WATCH_SECONDS = 1.0
LOG_LIMIT_BYTES = 64 * 1024 * 1024
"""Longest log in bytes that is kept where none was asked for. A day of an engine's lines may be gigabytes."""
FETCH_BACKOFF_SECONDS = (1.0, 5.0, 15.0, 60.0)
"""Delays in seconds before a failed download is retried, like the kubelet's; partial files are continued."""

Say = Callable[[str], None]


class LocalPod:
    """The children of ``tacho run`` in place of a pod's containers, and the reports of their runtime."""

    def __init__(self, setup: LocalSetup, scratch: Path, say: Say, *, log: Path | None = None) -> None:
        self._setup, self._scratch, self._say = setup, scratch, say
        self._log = log or scratch / "runtime.log"
        self._url = local_url(setup.runtime.bind_host, setup.runtime.runtime_port)
        self._ends: dict[str, asyncio.Task[CommandError]] = {}
        self._uid = str(uuid.uuid4())
        """Names this run in its reports: another one of the same file may answer at their port."""

    def _prepare(self) -> None:
        """Makes the directories and writes the files that a pod would find mounted. Raises CommandError."""
        try:
            (self._scratch / "state").mkdir()
            (self._scratch / "live.json").write_text(dumps(self._setup.live))
            if self._setup.fetch:
                Path(self._setup.fetch.state_dir).mkdir()
        except OSError as error:  # of a write to a full disk it has no name
            raise CommandError(
                f"{self._scratch}: {error.strerror}; free space there, or set TMPDIR"
            ) from None
        if fetch := self._setup.fetch:
            try:
                Path(fetch.cache_dir).mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise CommandError(
                    f"{fetch.cache_dir}: {error.strerror}; say where downloads may go: --pvc CLAIM=DIR for "
                    "the claim that spec.cache names, or XDG_CACHE_HOME"
                ) from None

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[LocalPod]:
        """Starts the children, and ends them when the block is left for whatever reason."""
        self._prepare()
        if self._setup.fetch:
            self._ends["fetch"] = asyncio.create_task(self._fetch())
        self._ends["runtime"] = asyncio.create_task(self._runtime())
        try:
            yield self
        finally:
            for task in self._ends.values():
                task.cancel()
            await asyncio.gather(*self._ends.values(), return_exceptions=True)

    async def _runtime(self) -> CommandError:
        """Runs until the runtime ends by itself; returns the reason."""
        variables = {ENV_RUNTIME_CONFIG: dumps(self._setup.runtime), ENV_POD_UID: self._uid}
        environment = {**engine_environment(self._setup.resource, os.environ), **variables}
        async with child.running(["-m", "tacho_runtime"], environment, self._log) as process:
            code = await process.wait()
        failure = _read_failure(Path(self._setup.runtime.paths.termination_log))
        if failure is None:
            return child.ended("the runtime", code, self._log)
        return failed(for_this_machine(failure), ExitCode.FAILED)

    async def _fetch(self) -> CommandError:
        """Runs fetch, repeatedly where that may help; returns the reason of its end."""
        model, termination = self._setup.resource.spec.model, self._scratch / "fetch-termination"
        variables = {
            ENV_FETCH_CONFIG: dumps(self._setup.fetch),
            "TACHO_TERMINATION_LOG": str(termination),
        }
        environment = {**os.environ, **hub_environment(model), **variables}
        log = self._scratch / "fetch.log"
        for wait_seconds in (*FETCH_BACKOFF_SECONDS, None):
            termination.unlink(missing_ok=True)
            async with child.running(["-m", "tacho_runtime.hub.fetch"], environment, log) as process:
                code = await process.wait()
            failure = _read_failure(termination)
            if failure and (wait_seconds is None or not failure.retryable):
                return failed(for_this_machine(failure), ExitCode.FAILED)
            if wait_seconds is None:
                break
            why = (
                f"{failure.failure_class}: {failure.message}"
                if failure
                else f"its process ended with code {code}"
            )
            self._say(f"fetch failed and is retried in {wait_seconds:.0f} s: {why}")
            await asyncio.sleep(wait_seconds)
        return child.ended("fetch", code, log)

    async def until_ready(self) -> Report:
        """Prints each phase until the engine serves and is measured; returns the report. Raises
        CommandError."""
        shown = ""
        async for report in self._reports(POLL_SECONDS):
            line = f"{report.phase}: {report.message}" if report.message else report.phase
            if line != shown:
                self._say(line)
                shown = line
            if report.ready and report.measurement:
                return report
        raise AssertionError("reports end only by an error")

    async def until_exit(self) -> None:
        """Waits while the engine serves, and prints when it stops to, or serves again. Never returns: raises
        CommandError when a child ends."""
        was_ready = True
        async for report in self._reports(WATCH_SECONDS):
            if report.ready != was_ready:
                was_ready = report.ready
                self._say(report.message or report.phase)

    async def _reports(self, every_seconds: float) -> AsyncIterator[Report]:
        await asyncio.sleep(every_seconds)
        import httpx  # 0.4 s, in which the children start already

        async with httpx.AsyncClient(base_url=self._url, timeout=5.0, trust_env=False) as client:
            while True:
                self._raise_if_exited()
                self._bound_log()
                with contextlib.suppress(httpx.HTTPError, DocumentError):
                    report = loads(Report, (await client.get("/report")).content)
                    if report.pod_uid == self._uid:
                        yield report
                await asyncio.sleep(every_seconds)

    def _bound_log(self) -> None:
        """Truncates the log at LOG_LIMIT_BYTES where --log is not set. Its writers append."""
        is_own = self._log.parent == self._scratch and self._log.exists()
        if is_own and self._log.stat().st_size > LOG_LIMIT_BYTES:
            os.truncate(self._log, 0)

    def _raise_if_exited(self) -> None:
        for what, end in self._ends.items():
            if not end.done():
                continue
            # A fetch that is killed once its work is done takes nothing from the model that is served.
            if what == "fetch" and (self._scratch / "fetch" / COMPLETE_FILE).exists():
                continue
            raise end.result()


def _read_failure(termination: Path) -> Failure | None:
    """The failure that an ended child wrote about itself."""
    try:
        return loads(Failure, termination.read_text())
    except (OSError, DocumentError):
        return None


T = TypeVar("T")


def execute(order: RunOptions) -> int:
    """Serves and measures; returns the exit code. Raises CommandError."""
    raw, resource = document.typed(document.read(order.file, order.name), order.file)
    claims = claim_directories(list(order.claims))
    require_engine(resource.spec.engine.name if resource.spec.engine else None)
    if order.log:
        require_appendable(order.log)
    say(f"inspecting {resource.spec.model.uri}")
    facts = inspect_model(resource, claims)
    plan = plan_model(resource.spec, facts, nodes=(this_machine(),), history=(), config=LOCAL)
    if isinstance(plan, PlanFailure):
        raise failed(plan.failure, no_plan_code(plan.failure))
    require_engine(plan.engine)
    say(plan.message)
    with tempfile.TemporaryDirectory(prefix="tacho-run-") as scratch, leaving_nothing():
        setup = local_setup(resource, plan, claims, order, Path(scratch))
        return asyncio.run(_serve(order, raw, setup, plan, Path(scratch)))


def require_appendable(file: str) -> None:
    """Raises CommandError where ``file`` cannot be written."""
    try:
        with open(file, "ab"):
            pass
    except OSError as error:
        raise CommandError(f"--log {file}: {error.strerror}") from None


async def _serve(order: RunOptions, raw: Manifest, setup: LocalSetup, plan: ModelPlan, scratch: Path) -> int:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:  # as nohup has it
            loop.add_signal_handler(number, stop.set)
    pod = LocalPod(setup, scratch, say, log=Path(order.log) if order.log else None)
    async with pod.running():
        report = await _unless_stopped(stop, pod.until_ready())
        if report is None:
            say("interrupted: stopping")
            return ExitCode.INTERRUPTED
        print_status(raw, local_status(setup, plan, report).to_wire(), order.output)
        if order.once:
            return 0
        where = local_url(order.host, setup.runtime.engine_port)
        say(f"serving {setup.runtime.served_name} at {where}/v1; Ctrl-C ends it")
        await _unless_stopped(stop, pod.until_exit())
        say("stopping")
    return 0


def print_status(raw: Manifest, status: Manifest, output: Format) -> None:
    if output == "name":
        print(resource_name(raw["metadata"]["name"]), flush=True)
    elif output in ("table", "wide"):
        show_status(raw, status, wide=output == "wide")
    else:
        metadata = {key: raw["metadata"][key] for key in ("name", "namespace")}
        print_document({**raw, "metadata": metadata, "status": status}, output)


async def _unless_stopped(stop: asyncio.Event, work: Coroutine[Any, Any, T]) -> T | None:
    """The result of ``work``; None: ``stop`` was set before, and ``work`` was cancelled."""
    task = asyncio.create_task(work)
    waiter = asyncio.create_task(stop.wait())
    await asyncio.wait({task, waiter}, return_when=asyncio.FIRST_COMPLETED)
    if task.done():
        waiter.cancel()
        return task.result()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    return None
