"""Runs one engine from start to end: executes what ``lifecycle`` decides, phase by phase.

Events that end a run (a failure, the engine's exit, a signal) are awaited in parallel, so that every phase
reacts to them.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import logging
import os
import signal
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from tacho_contract import codec
from tacho_contract.failure import FailedError, Failure, termination_message
from tacho_contract.fetch import ENV_FETCH_CONFIG, FetchProgress
from tacho_contract.launch import (
    ENV_ENGINE_FAILURE,
    ENV_FULL_PROBE,
    ENV_POD_UID,
    ENV_RUNTIME_CONFIG,
    LiveConfig,
    RuntimeConfig,
    local_url,
    startup_budget_seconds,
)
from tacho_contract.measurement import Baseline, Environment, Measurement
from tacho_contract.model import ENV_INSPECT_CONFIG
from tacho_contract.report import CutRequests, Load, Report
from tacho_engines.base import EngineStartup, RuntimeAdapter
from tacho_engines.registry import runtime_adapter
from tacho_runtime.files import while_reading, write_termination
from tacho_runtime.machine import environment as machine
from tacho_runtime.machine.cpu_limits import cpu_count, thread_variables
from tacho_runtime.probe.target import ProbeTarget
from tacho_runtime.supervisor import lifecycle, model_files, observed_machine, preflight, state_files
from tacho_runtime.supervisor.draining import wait_until_idle
from tacho_runtime.supervisor.endpoints import make_load, make_report, now_text, run_of
from tacho_runtime.supervisor.engine_client import EngineClient
from tacho_runtime.supervisor.engine_memory import MemoryWatch, quantization_failure
from tacho_runtime.supervisor.machine_check import ObservedMachine, switches
from tacho_runtime.supervisor.measuring import pending_request, this_pod
from tacho_runtime.supervisor.one_process import OneProcess
from tacho_runtime.supervisor.process import EngineProcess, Reaper, ended_during, exit_of
from tacho_runtime.supervisor.stall import Progress

log = logging.getLogger("tacho")

POLL_SECONDS = 0.5
HEALTH_SECONDS = 5.0
LEAVE_SECONDS = 15.0
"""Seconds from the end of readiness until no new request arrives: ten seconds of checks, and the delay of the
proxies."""
STOP_SECONDS = 10.0
"""Seconds between SIGTERM and SIGKILL for an engine without running requests."""
LOAD_AGE_SECONDS = 1.0
"""Seconds for which a reading of the engine's load is reused for further readers."""

_OWN_VARIABLES = frozenset(
    {ENV_ENGINE_FAILURE, ENV_FULL_PROBE, ENV_RUNTIME_CONFIG, ENV_FETCH_CONFIG, ENV_INSPECT_CONFIG}
)


class Supervisor:
    """One run of the engine, from the first check to the exit code."""

    def __init__(self, config: RuntimeConfig) -> None:
        self.config = config
        self.state = lifecycle.initial_state(time.monotonic())
        self._report = run_of(config, os.environ.get(ENV_POD_UID, ""))
        self._child: EngineProcess | None = None
        self._client: EngineClient | None = None
        self._live: LiveConfig | None = None
        self._figures = EngineStartup()
        self._machine = ObservedMachine()
        self._measured_in = Environment()
        self._kills = machine.RecentKills()
        self._stop = asyncio.Event()
        self._stop_now = asyncio.Event()
        self._read_counters = OneProcess(self._metrics)
        self._load_lock = asyncio.Lock()
        self._load: tuple[float, Load] | None = None
        self._environment = {key: value for key, value in os.environ.items() if key not in _OWN_VARIABLES}

    # --- documents -------------------------------------------------------------------------------
    def report(self) -> Report:
        return make_report(self._report, self.state, now=time.monotonic())

    async def load(self) -> Load:
        """The engine's own metrics, at most LOAD_AGE_SECONDS old; all unknown when it does not answer."""
        async with self._load_lock:
            if self._load is not None and time.monotonic() - self._load[0] < LOAD_AGE_SECONDS:
                return self._load[1]
            load = await self._read_load()
            self._load = (time.monotonic(), load)
            return load

    async def _read_load(self) -> Load:
        counted = await self._read_counters()
        return make_load(counted, observed_time=now_text(), pod_uid=self._report.pod_uid)

    async def _metrics(self) -> str | None:
        return await self._client.metrics() if self._client else None

    # --- the run ---------------------------------------------------------------------------------
    async def run(self) -> int:
        """Runs the engine to its end. Returns the exit code: 0 after a requested drain, 1 after a failure."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._request_stop)
        reaper = Reaper(loop)
        life = asyncio.ensure_future(self._run_phases(reaper))
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
            return self.fail(failed.failure)
        except Exception as error:
            log.exception("the runtime failed")
            return self.fail(lifecycle.own_failure(error))
        finally:
            stop.cancel()
            if self._child is not None:
                await self._child.stop(grace_seconds=STOP_SECONDS)
            reaper.close()

    def _request_stop(self) -> None:
        """Begins a drain at the first signal; ends the drain at the second one."""
        if self._stop.is_set():
            self._stop_now.set()
        self._stop.set()

    def fail(self, failure: Failure) -> int:
        """Writes the failure to the log and to the termination message. Returns the exit code."""
        self.state = lifecycle.fail(self.state, failure, now=time.monotonic())
        log.error("%s: %s; %s", failure.failure_class, failure.message, failure.next_step)
        write_termination(self.config.paths.termination_log, termination_message(failure))
        return 1

    async def _run_phases(self, reaper: Reaper) -> None:
        """All phases from the first check; ends only by FailedError or cancellation."""
        preflight.check(self.config, self._environment)
        self._live = live = state_files.read_live(self.config.paths.live_file)
        await self._check_machine()
        self._remember_last_run()
        command = self._engine().command(self.config, await self._wait_for_model())
        command += switches(self._machine, self._engine(), self.config, live.slo)
        self._kills.read(time.monotonic())
        child = self._start_engine(reaper, command)
        if await ended_during(child, self._serve(child.pid)):
            raise FailedError(await self._why_ended(child))

    async def _check_machine(self) -> None:
        """Compares this machine with the plan. Raises FailedError."""
        checked = await observed_machine.check_machine(self.config, self._environment, self._check_budget)
        self._machine, self.config, failure = checked
        environment = machine.read_environment(self._machine.gpus)
        self._report = dataclasses.replace(self._report, environment=environment)
        if failure is not None:
            raise FailedError(failure)

    def _enter(self, phase: str, message: str) -> None:
        self.state = lifecycle.advance(self.state, phase, now=time.monotonic(), message=message)
        log.info("%s: %s", phase, message)

    def _set_message(self, message: str) -> None:
        self.state = dataclasses.replace(self.state, message=message)

    def _engine(self) -> RuntimeAdapter:
        return runtime_adapter(self.config.engine)

    def _read_live(self) -> LiveConfig:
        """The newest settings; the last ones while the file cannot be read."""
        with contextlib.suppress(FailedError):
            self._live = state_files.read_live(self.config.paths.live_file)
        assert self._live is not None, "read once by the checks"
        return self._live

    def _remember_last_run(self) -> None:
        """Loads the last report, so that a restarted container keeps its measurement of plan and machine."""
        last = state_files.read_report(self.config.paths.state_dir)
        if last is None or last.plan_key != self.config.plan_key:
            return
        self._report = dataclasses.replace(self._report, engine_restarts=last.engine_restarts + 1)
        known = state_files.known_measurement(last, self._report.environment)
        self.state = dataclasses.replace(self.state, measurement=known)

    # --- waiting for the model -------------------------------------------------------------------
    async def _wait_for_model(self) -> str:
        """The path for the engine, once the model is there. Raises FailedError."""
        self._enter(lifecycle.WAITING_FOR_MODEL, "waiting for the model")
        root = await model_files.model_root(
            self.config.model, self.config.paths.fetch_dir, self._update_fetch, self._check_budget
        )
        begun = time.monotonic()
        await model_files.compare_with_plan(self.config.model, root, self._set_message, self._check_budget)
        if self.config.model.content_digest:
            self.state = lifecycle.verified(self.state, seconds=time.monotonic() - begun)
        fetched = bool(self.config.paths.fetch_dir)
        path = partial(model_files.engine_path, self.config.model, root, fetched=fetched)
        return await while_reading(path, self._check_budget)

    def _update_fetch(self, progress: FetchProgress | None) -> None:
        progress = progress or self.state.fetch
        self.state = dataclasses.replace(
            self.state, fetch=progress, message=lifecycle.model_message(progress)
        )

    def _check_budget(self) -> None:
        """Raises FailedError(StartupTimeout) once machine, model or engine have taken too long."""
        override = self._read_live().startup_timeout_seconds
        budget = startup_budget_seconds(self.config.model.weights_bytes, override)
        failure = lifecycle.overdue(self.state, budget_seconds=budget, now=time.monotonic())
        if failure is not None:
            raise FailedError(failure)

    # --- the engine ------------------------------------------------------------------------------
    def _read_line(self, line: str) -> None:
        """Updates the values read from the engine's log by one line. Called in the thread of its output."""
        found, starting = self._engine().read(self._figures, line), self.state.phase == lifecycle.STARTING
        self._figures = self._figures.updated(found, starting=starting)

    def _start_engine(self, reaper: Reaper, command: tuple[str, ...]) -> EngineProcess:
        preflight.check_program(command, self._environment)
        self._enter(lifecycle.STARTING, "starting " + command[0])
        state_files.write_report(self.config.paths.state_dir, self.report())
        try:
            threads = thread_variables(self.config.gpus.count, self._environment)
            own = {**threads, **self._engine().environment(self.config), **self._environment}
            own = observed_machine.with_bytecode(own, self._machine, self.config)
            failure_path = state_files.engine_failure_path(self.config.paths.state_dir)
            own = self._engine().with_usable_key(self.config, {**own, ENV_ENGINE_FAILURE: failure_path})
            read, names, key = self._read_line, self._engine().names_cause, self._engine_address()[1]
            self._child = reaper.start(
                command, environment=own, on_line=read, is_diagnostic=names, secret=key
            )
        except OSError as error:
            raise FailedError(lifecycle.not_started(command[0], error)) from None
        return self._child

    async def _why_ended(self, child: EngineProcess) -> Failure:
        reported = state_files.read_engine_failure(self.config.paths.state_dir)
        served, kills = self.state.startup.total is not None, self._kills.read(time.monotonic())
        end = exit_of(child.exit_status.result(), kills, reported, served=served)
        return self._engine().classify(end, await child.final_output())

    async def _serve(self, pid: int) -> None:
        """Runs the engine from its start to the end of the run."""
        path = self._engine().health_path(self.config)
        memory = MemoryWatch(self._machine, pid)
        async with memory.running():
            client = await self._connect_engine(path)
            measurement = await self._measure(pid)
        await self._enter_serving(measurement, memory)
        async with observed_machine.marked_in_use(self.config.paths.cache_dir):
            while True:
                await self._watch_health(client, path, until=self._remeasurement_requested)
                memory = MemoryWatch(self._machine, pid)
                async with memory.running():
                    await self._leave_service()
                    measurement = await self._measure(pid)
                await self._enter_serving(measurement, memory)

    async def _enter_serving(self, measurement: Measurement, memory: MemoryWatch) -> None:
        if measurement is not self.state.measurement:  # an earlier run's has its own memory figures
            measurement = await memory.recorded_in(measurement, self._figures)
        assert self._client is not None
        healthy, _ = await self._client.healthy(self._engine().health_path(self.config))
        since = time.monotonic() if healthy else None
        if measurement is not self.state.measurement:
            self._report = dataclasses.replace(self._report, environment=self._measured_in)
        self.state = dataclasses.replace(
            self.state, measurement=measurement, healthy_seconds=since, progress=Progress()
        )
        detail = f": {measurement.message}" if measurement.message else ""
        self._enter(lifecycle.SERVING, f"measurement {measurement.state}{detail}")
        state_files.write_report(self.config.paths.state_dir, self.report())

    def _remeasurement_requested(self) -> bool:
        return bool(pending_request(self._read_live(), self.state.measurement, os.uname().nodename))

    async def _leave_service(self) -> None:
        """Leaves the Service and waits for its pending requests."""
        self._enter(lifecycle.PROBING, "remeasurement requested; waiting for running requests to finish")
        self.state = dataclasses.replace(self.state, healthy_seconds=None)
        await asyncio.sleep(LEAVE_SECONDS)
        await self._wait_until_idle()

    async def _connect_engine(self, health_path: str) -> EngineClient:
        """A client of the engine, after its first healthy answer."""
        engine = self._engine()
        base_url, api_key = self._engine_address()
        self._client = EngineClient(base_url, api_key=api_key)
        await self._until_healthy(self._client, health_path)
        if failure := quantization_failure(self.config, self._figures) or preflight.unreached(self.config):
            raise FailedError(failure)
        version = await self._client.version(engine, engine.version_path(self.config))
        self._enter(lifecycle.PROBING, "the engine is healthy")
        fallbacks = self._figures.fallbacks
        self._report = dataclasses.replace(self._report, engine_version=version, fallbacks=fallbacks)
        startup = lifecycle.load_split(self.state.startup, self._figures)
        self.state = dataclasses.replace(self.state, startup=startup)
        return self._client

    def _engine_address(self) -> tuple[str, str]:
        """(base URL, API key)."""
        key = self._engine().api_key(self.config, self._environment)
        return local_url(self.config.bind_host, self.config.engine_port), key

    async def _measure(self, pid: int) -> Measurement:
        from tacho_runtime.probe.sequence import run_probe
        from tacho_runtime.probe.target import ProbeScope
        from tacho_runtime.supervisor.measuring import MeasurementRun, target_of

        live = self._read_live()
        sampler = observed_machine.machine_sampler(self._machine, pid, lambda: self._figures.late_kernels)
        self._measured_in = machine.read_environment(self._machine.gpus)  # a pod may be resized since
        pod, slots = this_pod(self.config, self._measured_in), self._engine().slots(self.config)

        def probe(target: ProbeTarget, baseline: Baseline | None) -> Awaitable[Measurement]:
            return run_probe(
                target,
                live,
                plan_key=self.config.plan_key,
                progress=self._set_message,
                machine=sampler,
                scope=ProbeScope(baseline=baseline),
            )

        measuring = MeasurementRun(
            pod=pod,
            live=live,
            target=target_of(self.config, *self._engine_address(), slots=slots, cpus=cpu_count()),
            probe=probe,
            say=self._set_message,
            starts=not lifecycle.has_served(self.state),
            output=self._child.last_lines if self._child else tuple,
        )
        return await measuring.measurement(self.state.measurement)

    async def _until_healthy(self, client: EngineClient, path: str) -> None:
        while True:
            healthy, why = await client.healthy(path)
            if healthy:
                return
            self._set_message(why)
            self._check_budget()
            await asyncio.sleep(POLL_SECONDS)

    async def _watch_health(
        self, client: EngineClient, path: str, *, until: Callable[[], bool] = lambda: False
    ) -> None:
        while not until():
            await asyncio.sleep(HEALTH_SECONDS)
            healthy, why = await client.healthy(path)
            if healthy:
                progress, now = await self.state.progress.next(self._read_counters), time.monotonic()
                self._kills.read(now)
                self.state = dataclasses.replace(self.state, healthy_seconds=now, progress=progress)
            else:
                log.warning("no healthy answer: %s", why)

    # --- the end ---------------------------------------------------------------------------------
    async def _drain(self) -> None:
        """Waits for running requests, no longer than drainSeconds. Readiness is off from the first moment."""
        child, client = self._child, self._client
        self._enter(lifecycle.DRAINING, "stop requested")
        if not lifecycle.has_served(self.state) or child is None or client is None:
            return
        # A drain may take longer than an engine may be silent: its health is still watched.
        health = asyncio.ensure_future(self._watch_health(client, self._engine().health_path(self.config)))
        try:
            cut = await self._wait_until_idle(
                wedged=lambda: lifecycle.is_wedged(self.state, now=time.monotonic()),
                stop_now=self._stop_now,
                ended=child.exit_status.done,
            )
        finally:
            health.cancel()
            await asyncio.wait({health})
        if lifecycle.is_wedged(self.state, now=time.monotonic()):
            raise FailedError(lifecycle.wedged_failure(self.state, now=time.monotonic()))
        if cut is not None:
            write_termination(self.config.paths.termination_log, codec.dumps(cut))

    async def _wait_until_idle(self, **until: Any) -> CutRequests | None:
        seconds, port, say = self.config.drain_seconds, self.config.engine_port, self._set_message
        return await wait_until_idle(self._read_counters, port, seconds=seconds, say=say, **until)
