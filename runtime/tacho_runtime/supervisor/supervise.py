"""Runs one engine: does what ``lifecycle`` decides, in the order of its phases.

What ends a run (a failure, the engine's death, a signal) is awaited beside the run itself, so that it
is noticed in every phase.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import logging
import os
import signal
import time
from collections.abc import Coroutine
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from tacho_contract.failure import FailedError, Failure, FailureClass
from tacho_contract.fetch import ENV_FETCH_CONFIG
from tacho_contract.inspection import ENV_INSPECT_CONFIG
from tacho_contract.launch import (
    ENV_ENGINE_FAILURE,
    ENV_RUNTIME_CONFIG,
    LiveConfig,
    RuntimeConfig,
    local_url,
    startup_budget_seconds,
)
from tacho_contract.measurement import Measurement
from tacho_contract.report import Load, Report
from tacho_contract.times import format_time
from tacho_engines.base import EngineFigures, Exit, RunHalf
from tacho_engines.registry import run_half
from tacho_engines.run_parts import files_wanted
from tacho_runtime import preflight
from tacho_runtime.machine import environment as machine, sockets
from tacho_runtime.supervisor import lifecycle, model_content, model_path, store, watch, weights
from tacho_runtime.supervisor.machine_check import Machine
from tacho_runtime.supervisor.process import Child, Reaper
from tacho_runtime.supervisor.report import Facts, make_load, make_report
from tacho_runtime.termination import write_termination

if TYPE_CHECKING:
    from tacho_runtime.http.engine_client import EngineClient

log = logging.getLogger("tacho")

POLL_SECONDS = 0.5
HEALTH_SECONDS = 5.0
DRAIN_POLL_SECONDS = 1.0
STOP_SECONDS = 10.0
"""Between SIGTERM and SIGKILL for an engine that has nothing left to do."""
LOAD_AGE_SECONDS = 1.0
"""Readers within this time share one question to the engine."""

_OWN_VARIABLES = (ENV_ENGINE_FAILURE, ENV_RUNTIME_CONFIG, ENV_FETCH_CONFIG, ENV_INSPECT_CONFIG)


class SystemClock:
    """This machine's clocks."""

    def monotonic(self) -> float:
        return time.monotonic()

    def utc(self) -> str:
        return format_time(datetime.now(timezone.utc))


class Supervisor:
    """One run, from the first check to the exit code."""

    def __init__(self, config: RuntimeConfig) -> None:
        self.config = config
        self.clock = SystemClock()
        self.state = lifecycle.begin(self.clock.monotonic())
        self.facts = Facts(config=config)
        self._child: Child | None = None
        self._client: EngineClient | None = None
        self._live: LiveConfig | None = None
        self._figures = EngineFigures()
        self._machine = Machine()
        self._stop = asyncio.Event()
        self._hurry = asyncio.Event()
        self._load_lock = asyncio.Lock()
        self._load: tuple[float, Load] | None = None
        self._environment = {key: value for key, value in os.environ.items() if key not in _OWN_VARIABLES}

    # --- what is shown ---------------------------------------------------------------------------
    def report(self) -> Report:
        return make_report(self.facts, self.state, now=self.clock.monotonic(), observed_time=self.clock.utc())

    async def load(self) -> Load:
        """The engine's own figures, at most LOAD_AGE_SECONDS old; all unknown when it does not answer."""
        async with self._load_lock:
            if self._load is not None and self.clock.monotonic() - self._load[0] < LOAD_AGE_SECONDS:
                return self._load[1]
            load = await self._ask_load()
            self._load = (self.clock.monotonic(), load)
            return load

    async def _ask_load(self) -> Load:
        metrics = await self._client.metrics() if self._client else None
        figures = self._engine().load(metrics) if metrics is not None else None
        return make_load(figures, observed_time=self.clock.utc())

    # --- the run ---------------------------------------------------------------------------------
    async def run(self) -> int:
        """The exit code: 0 after a drain that was asked for, 1 after a failure."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._asked_to_stop)
        reaper = Reaper(loop)
        life = asyncio.ensure_future(self._life(reaper))
        stop = asyncio.ensure_future(self._stop.wait())
        try:
            await asyncio.wait({life, stop}, return_when=asyncio.FIRST_COMPLETED)
            if life.done():
                life.result()
            life.cancel()
            await asyncio.gather(life, return_exceptions=True)
            await self._drain()
            return 0
        except FailedError as failed:
            return self.give_up(failed.failure)
        except Exception as error:
            log.exception("the runtime failed")
            return self.give_up(lifecycle.own_failure(error))
        finally:
            stop.cancel()
            await self._shut_down()
            reaper.close()

    def _asked_to_stop(self) -> None:
        """The first signal asks, the second insists."""
        if self._stop.is_set():
            self._hurry.set()
        self._stop.set()

    def give_up(self, failure: Failure) -> int:
        """Tells the failure where it is read. The exit code."""
        self.state = lifecycle.fail(self.state, failure, now=self.clock.monotonic())
        log.error("%s: %s; %s", failure.failure_class, failure.message, failure.next_step)
        write_termination(self.config.termination_log, failure)
        return 1

    async def _shut_down(self) -> None:
        if self._child is not None:
            await self._child.stop(grace_seconds=STOP_SECONDS)
        if self._client is not None:
            await self._client.close()

    async def _life(self, reaper: Reaper) -> None:
        """Everything from the first check on; ends only by FailedError or by being cancelled."""
        self._check()
        await self._look()
        self._remember_last_run()
        command = self._engine().command(self.config, await self._model())
        kills_before = machine.out_of_memory_kills()
        child = self._start(reaper, command)
        await self._while_running(child, self._serve(child.pid), kills_before)

    async def _look(self) -> None:
        """Reads this machine and holds it against the plan. Raises FailedError."""
        checked = await watch.checked(self.config, self._engine(), self._environment)
        self._machine, self.config, failure = checked
        environment = machine.read_environment(self._machine.gpus)
        self.facts = dataclasses.replace(self.facts, environment=environment)
        if failure is not None:
            raise FailedError(failure)

    def _enter(self, phase: str, message: str) -> None:
        self.state = lifecycle.advance(self.state, phase, now=self.clock.monotonic(), message=message)
        log.info("%s: %s", phase, message)

    def _say(self, message: str) -> None:
        self.state = dataclasses.replace(self.state, message=message)

    def _engine(self) -> RunHalf:
        return run_half(self.config.engine)

    def _check(self) -> None:
        """Raises FailedError for what is wrong before any waiting begins."""
        preflight.check(self.config, self._engine(), self._environment)
        self._live = store.read_live(self.config.live_file)

    def _read_live(self) -> LiveConfig:
        """The newest settings; a file that cannot be read just now leaves the last ones standing."""
        with contextlib.suppress(FailedError):
            self._live = store.read_live(self.config.live_file)
        assert self._live is not None, "read once by the checks"
        return self._live

    def _remember_last_run(self) -> None:
        """A container that was restarted in its pod keeps the measurement of the same plan."""
        last = store.read_report(self.config.state_dir)
        if last is None or last.plan_key != self.config.plan_key:
            return
        self.facts = dataclasses.replace(self.facts, engine_restarts=last.engine_restarts + 1)
        self.state = dataclasses.replace(self.state, measurement=last.measurement)

    # --- waiting for the model -------------------------------------------------------------------
    async def _model(self) -> str:
        """The path for the engine, once the model is there. Raises FailedError."""
        self._enter(lifecycle.WAITING_FOR_MODEL, "looking for the model")
        root = self.config.model_path
        if self.config.fetch_dir:
            fetched = await self._fetched(self.config.fetch_dir)
            root = root or fetched
        if not root:
            raise FailedError.of(
                FailureClass.INVALID_CONFIG,
                f"fetch is complete but names no folder in {self.config.fetch_dir}",
                "runtime and fetch must be of one release: let the operator make the pod again",
            )
        await asyncio.to_thread(model_content.check, self.config, root)
        return await asyncio.to_thread(
            model_path.engine_path, self.config, files_wanted(self.config.engine), root
        )

    async def _fetched(self, fetch_dir: str) -> str:
        while True:
            path = store.fetched_path(fetch_dir)
            progress = store.read_progress(fetch_dir) or self.state.fetch
            self.state = dataclasses.replace(
                self.state, fetch=progress, message=lifecycle.model_message(progress)
            )
            if path is not None:
                return path
            self._check_budget()
            await asyncio.sleep(POLL_SECONDS)

    def _check_budget(self) -> None:
        """Raises FailedError(StartupTimeout)."""
        budget = startup_budget_seconds(self.config.weights_bytes, self._read_live().startup_timeout_seconds)
        failure = lifecycle.overdue(self.state, budget_seconds=budget, now=self.clock.monotonic())
        if failure is not None:
            raise FailedError(failure)

    # --- the engine ------------------------------------------------------------------------------
    def _read_line(self, line: str) -> None:
        """Called in a thread of the engine's output: one value is put in place of another, nothing else."""
        self._figures = self._engine().read(self._figures, line)

    def _start(self, reaper: Reaper, command: tuple[str, ...]) -> Child:
        preflight.check_program(command, self._environment)
        self._enter(lifecycle.STARTING, "starting " + command[0])
        store.write_report(self.config.state_dir, self.report())
        try:
            failure_file = store.engine_failure_path(self.config.state_dir)
            threads = machine.thread_variables(self.config.gpu_count)
            own = {**threads, **self._engine().environment(self.config), **self._environment}
            environment = {**own, ENV_ENGINE_FAILURE: failure_file}
            read, telling = self._read_line, self._engine().telling
            self._child = reaper.start(command, environment=environment, on_line=read, telling=telling)
        except OSError as error:
            raise FailedError.of(
                FailureClass.ENGINE_CRASHED,
                f"{command[0]} cannot be started: {error.strerror or error}",
                "check that the program is executable on this CPU architecture",
            ) from None
        return self._child

    async def _while_running(
        self, child: Child, work: Coroutine[None, None, None], kills_before: int | None
    ) -> None:
        """Does ``work`` until the engine ends. Raises FailedError when it does."""
        task = asyncio.ensure_future(work)
        either: set[asyncio.Future[Any]] = {task, child.exit_status}
        try:
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            if child.exit_status.done():
                raise FailedError(await self._why_ended(child, kills_before))
            task.result()
        finally:
            task.cancel()
            await asyncio.wait({task})

    async def _why_ended(self, child: Child, kills_before: int | None) -> Failure:
        status, kills = child.exit_status.result(), machine.out_of_memory_kills()
        end = Exit(
            code=status if status >= 0 else None,
            signal=-status if status < 0 else None,
            out_of_memory_kills=None if kills is None or kills_before is None else kills - kills_before,
            told=store.read_engine_failure(self.config.state_dir),
        )
        return self._engine().classify(end, await child.last_words())

    async def _serve(self, pid: int) -> None:
        """From the engine's start to the end of the run."""
        memory = watch.MemoryWatch(self._machine, pid)
        async with memory.running():
            client, measurement = await self._measured()
        if measurement is not self.state.measurement:  # what a former run measured keeps its own
            measurement = await memory.recorded_in(measurement, self._figures)
        now = self.clock.monotonic()
        self.state = dataclasses.replace(self.state, measurement=measurement, healthy_seconds=now)
        told = f": {measurement.message}" if measurement.message else ""
        self._enter(lifecycle.SERVING, f"measurement {measurement.state}{told}")
        store.write_report(self.config.state_dir, self.report())
        async with watch.in_use(self.config.cache_dir):
            await self._watch_health(client, self._engine().health_path(self.config))

    async def _measured(self) -> tuple[EngineClient, Measurement]:
        """Waits until the engine is healthy, then probes it."""
        # Imported here because httpx is slow to: by now the server answers.
        from tacho_runtime.http.engine_client import EngineClient
        from tacho_runtime.probe.sequence import run_probe
        from tacho_runtime.supervisor.measuring import Measuring, target_of

        engine = self._engine()
        base_url = local_url(self.config.bind_host, self.config.engine_port)
        api_key = self._environment.get(engine.api_key_variable, "")
        self._client = EngineClient(base_url, api_key=api_key)
        await self._until_healthy(self._client, engine.health_path(self.config))
        if failure := weights.not_applied(self.config, self._figures):
            raise FailedError(failure)
        version = await self._version(engine)
        self._enter(lifecycle.PROBING, "the engine is healthy")
        self.facts = dataclasses.replace(
            self.facts, engine_version=version, fallbacks=self._figures.fallbacks
        )
        startup = lifecycle.load_split(self.state.startup, self._figures)
        self.state = dataclasses.replace(self.state, startup=startup)
        measuring = Measuring(
            config=self.config,
            live=self._read_live(),
            target=target_of(self.config, base_url, api_key),
            probe=run_probe,
            clock=self.clock,
            say=self._say,
        )
        return self._client, await measuring.measurement(self.state.measurement)

    async def _until_healthy(self, client: EngineClient, path: str) -> None:
        while True:
            healthy, why = await client.healthy(path)
            if healthy:
                return
            self._say(why)
            self._check_budget()
            await asyncio.sleep(POLL_SECONDS)

    async def _watch_health(self, client: EngineClient, path: str) -> None:
        while True:
            await asyncio.sleep(HEALTH_SECONDS)
            healthy, why = await client.healthy(path)
            if healthy:
                self.state = dataclasses.replace(self.state, healthy_seconds=self.clock.monotonic())
            else:
                log.warning("no healthy answer: %s", why)

    async def _version(self, engine: RunHalf) -> str:
        document = await self._client.json(engine.version_path) if self._client else None
        return engine.version(document) if isinstance(document, dict) else ""

    # --- the end ---------------------------------------------------------------------------------
    async def _drain(self) -> None:
        """Waits for running requests, no longer than drainSeconds. Readiness is off from the first moment."""
        serving, child, client = self.state.phase == lifecycle.SERVING, self._child, self._client
        self._enter(lifecycle.DRAINING, "asked to stop")
        if not serving or child is None or client is None:
            return
        # Still asked for its health: a drain may be longer than a silent engine is believed in.
        watch = asyncio.ensure_future(self._watch_health(client, self._engine().health_path(self.config)))
        try:
            await self._let_finish(child)
        finally:
            watch.cancel()
            await asyncio.wait({watch})
        if lifecycle.is_wedged(self.state, now=self.clock.monotonic()):
            raise FailedError(lifecycle.wedged_failure(self.state, now=self.clock.monotonic()))

    async def _let_finish(self, child: Child) -> None:
        deadline_seconds = self.clock.monotonic() + self.config.drain_seconds
        drain = lifecycle.Drain(deadline_seconds=deadline_seconds)
        while not self._hurry.is_set() and not child.exit_status.done():
            wedged = lifecycle.is_wedged(self.state, now=self.clock.monotonic())
            running = None if wedged else await self._running(deadline_seconds - self.clock.monotonic())
            drain, verdict = lifecycle.drain_step(
                drain, running=running, wedged=wedged, now=self.clock.monotonic()
            )
            self._say(verdict.reason)
            if verdict.ok:
                log.info("drained: %s", verdict.reason)
                break
            with contextlib.suppress(asyncio.TimeoutError, TimeoutError):
                await asyncio.wait_for(self._hurry.wait(), DRAIN_POLL_SECONDS)

    async def _running(self, limit_seconds: float) -> int | None:
        """Requests in the engine; where it does not count them, at most as many as connections to it."""
        try:
            load = await asyncio.wait_for(self._ask_load(), max(DRAIN_POLL_SECONDS, limit_seconds))
        except (asyncio.TimeoutError, TimeoutError):
            return None  # the time to stop the engine in is not this answer's to spend
        if load.running is None:
            return sockets.connections(self.config.engine_port)
        return load.running + (load.waiting or 0)
