"""The runtime's phases and every decision about them: pure, the clock is an argument.

    Preflight -> WaitingForModel -> Starting -> Probing <-> Serving -> Draining
    any of them -> Failed

Times are seconds of a monotonic clock. ``supervise`` does what is decided here.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field

from tacho_contract.failure import Failure, FailureClass
from tacho_contract.fetch import FetchProgress
from tacho_contract.measurement import Measurement
from tacho_contract.report import StartupSeconds
from tacho_contract.units import part_of
from tacho_engines.base import EngineStartup
from tacho_runtime.supervisor.stall import Progress

PREFLIGHT = "Preflight"
WAITING_FOR_MODEL = "WaitingForModel"
STARTING = "Starting"
PROBING = "Probing"
SERVING = "Serving"
DRAINING = "Draining"
FAILED = "Failed"
PHASES = (PREFLIGHT, WAITING_FOR_MODEL, STARTING, PROBING, SERVING, DRAINING, FAILED)

_NEXT = {
    PREFLIGHT: {WAITING_FOR_MODEL, DRAINING, FAILED},
    WAITING_FOR_MODEL: {STARTING, DRAINING, FAILED},
    STARTING: {PROBING, DRAINING, FAILED},
    PROBING: {SERVING, DRAINING, FAILED},
    SERVING: {PROBING, DRAINING, FAILED},
    DRAINING: {FAILED},
    FAILED: set[str](),
}

_BUDGETED = {
    PREFLIGHT: "this machine or its cache had not answered",
    WAITING_FOR_MODEL: "the model was not available",
    STARTING: "the engine was not healthy",
}
"""The phases of the startup budget, each with what was missing at its end."""

UNREADY_AFTER_SECONDS = 60.0
"""Seconds without a healthy answer after which the pod becomes unready, so that it gets no requests."""
WEDGED_AFTER_SECONDS = 180.0
"""Seconds without a healthy answer after which an engine counts as hung and is stopped. Under the highest
load, engines still answered within seconds.
"""
STALLED_AFTER_SECONDS = 600.0
"""Seconds for which requests run without a token of any, after which the pod becomes unready. A prompt of the
longest context may take minutes. The engine is not stopped, and the next token makes it ready.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class RuntimeState:
    """The state of one run of the runtime: its phase, times, failure and results."""

    phase: str = PREFLIGHT
    message: str = ""
    started_seconds: float
    entered_seconds: float
    """When the present phase was entered, in seconds of the monotonic clock."""
    startup: StartupSeconds = field(default_factory=StartupSeconds)
    fetch: FetchProgress | None = None
    measurement: Measurement | None = None
    failure: Failure | None = None
    healthy_seconds: float | None = None
    """When the engine last gave a healthy answer, in seconds of the monotonic clock; None: not since the last
    probe, during which an engine may hang.
    """
    progress: Progress = field(default_factory=Progress)


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """The answer of /readyz or /livez: whether it is positive, and why."""

    ok: bool
    reason: str


def initial_state(now: float) -> RuntimeState:
    """The state when the process starts."""
    return RuntimeState(started_seconds=now, entered_seconds=now, message="checking the container")


def advance(state: RuntimeState, phase: str, *, now: float, message: str = "") -> RuntimeState:
    """The state after entering ``phase``, with the duration of the phase that ended.

    Raises ValueError for a transition that the diagram at the top of the module does not have.
    """
    if phase not in _NEXT[state.phase]:
        raise ValueError(f"the runtime cannot go from phase {state.phase} to {phase}")
    startup = state.startup
    if phase not in (DRAINING, FAILED) and startup.total is None:  # what comes later is no part of the start
        startup = _timed(state, now)
    return dataclasses.replace(state, phase=phase, message=message, entered_seconds=now, startup=startup)


def _timed(state: RuntimeState, now: float) -> StartupSeconds:
    """Startup seconds with the duration of the phase that ends now."""
    took, startup = round(now - state.entered_seconds, 3), state.startup
    if state.phase == PREFLIGHT:
        return dataclasses.replace(startup, preflight=took)
    if state.phase == WAITING_FOR_MODEL:
        fetched = state.fetch
        # Fetch measures its own time; without a report of it, the wait is a lower bound.
        spent = max(took, round(fetched.elapsed_seconds, 3)) if fetched is not None else None
        wait = round(took - (startup.verify or 0.0), 3)
        return dataclasses.replace(startup, download=spent, model_wait=wait)
    if state.phase == STARTING:
        return dataclasses.replace(startup, load=took)
    total = round(now - state.started_seconds, 3)
    return dataclasses.replace(startup, probe=took, total=total)


def verified(state: RuntimeState, *, seconds: float) -> RuntimeState:
    """The state with the seconds that it took to read and compare every byte of the model.

    They are counted apart from the wait for the model.
    """
    return dataclasses.replace(state, startup=dataclasses.replace(state.startup, verify=round(seconds, 3)))


def load_split(startup: StartupSeconds, figures: EngineStartup) -> StartupSeconds:
    """``startup`` with compilation and graph capture, as the engine reports them, subtracted from its load
    time.

    An engine may add up several processes: more than the whole load time is not accepted.
    """
    parts = [part for part in (figures.compile_seconds, figures.graph_seconds) if part is not None]
    if startup.load is None or not parts or sum(parts) > startup.load:
        return startup
    return dataclasses.replace(
        startup,
        load=round(startup.load - sum(parts), 3),
        compile=figures.compile_seconds,
        graphs=figures.graph_seconds,
    )


def fail(state: RuntimeState, failure: Failure, *, now: float) -> RuntimeState:
    """The state after a failure that ends the run. Only the first failure is kept."""
    if state.phase == FAILED:
        return state
    failed = advance(state, FAILED, now=now, message=f"{failure.failure_class}: {failure.message}")
    return dataclasses.replace(failed, failure=failure)


def overdue(state: RuntimeState, *, budget_seconds: float, now: float) -> Failure | None:
    """The failure StartupTimeout once machine, model and engine took longer than the budget, else None."""
    elapsed = now - state.started_seconds
    if state.phase not in _BUDGETED or elapsed <= budget_seconds:
        return None
    doing = _BUDGETED[state.phase]
    return Failure(
        failure_class=FailureClass.STARTUP_TIMEOUT,
        message=f"after {budget_seconds:.0f} s {doing}; last message: {state.message}",
        next_step="read the logs of the engine and the fetch container; if they are only slow, raise "
        "spec.startupTimeoutSeconds",
    )


def readiness(state: RuntimeState, *, now: float) -> Verdict:
    """The answer of /readyz: the engine serves, and the probe has ended, with or without a result."""
    if state.phase != SERVING:
        return Verdict(ok=False, reason=f"{state.phase}: {state.message}")
    silent, since, why = _silent_seconds(state, now), state.progress.stalled_since, ""
    if state.healthy_seconds is None:
        why = "the engine gave no healthy answer since its probe"
    elif silent > UNREADY_AFTER_SECONDS:
        why = f"the engine gave no healthy answer for {silent:.0f} s"
    elif since is not None and now - since > STALLED_AFTER_SECONDS:
        why = f"requests run, and no token was counted for {now - since:.0f} s; if it lasts, delete the pod"
    if why:
        return Verdict(ok=False, reason=f"{SERVING}: {why}")
    return Verdict(ok=True, reason="the engine serves")


def liveness(state: RuntimeState, *, now: float) -> Verdict:
    """The answer of /livez: false only for an engine that ended or hangs, never because of load, download or
    probe."""
    if state.phase == FAILED:
        return Verdict(ok=False, reason=state.message)
    if is_wedged(state, now=now):
        silent = _silent_seconds(state, now)
        return Verdict(ok=False, reason=f"the engine runs but gave no healthy answer for {silent:.0f} s")
    return Verdict(ok=True, reason=state.phase)


def has_served(state: RuntimeState) -> bool:
    """Whether the engine may hold clients' requests: a pod that is measured again has served before."""
    return state.startup.total is not None


def is_wedged(state: RuntimeState, *, now: float) -> bool:
    """Whether an engine that was healthy once has not answered for WEDGED_AFTER_SECONDS."""
    return state.phase in (SERVING, DRAINING) and _silent_seconds(state, now) > WEDGED_AFTER_SECONDS


def wedged_failure(state: RuntimeState, *, now: float) -> Failure:
    """The failure of an engine that was stopped because it hung."""
    return Failure(
        failure_class=FailureClass.ENGINE_CRASHED,
        message=f"the engine hung: no healthy answer for {_silent_seconds(state, now):.0f} s",
        next_step="read the engine's last lines (kubectl logs --previous); it is started again with back-off",
    )


def not_started(program: str, error: OSError) -> Failure:
    """The failure of an engine whose process cannot be started."""
    if isinstance(error, BlockingIOError):
        return own_failure(error)
    return Failure(
        failure_class=FailureClass.ENGINE_CRASHED,
        message=f"{program} cannot be started: {error.strerror or error}",
        next_step="check that the program is executable on this CPU architecture",
    )


def own_failure(error: Exception) -> Failure:
    """The failure for a defect of the runtime itself, or for a thread or process that cannot be started."""
    if isinstance(error, BlockingIOError) or "can't start new thread" in str(error):
        return Failure(
            failure_class=FailureClass.ENGINE_CRASHED,
            message="no more processes or threads can be started: the pod or its node is at its limit",
            next_step="raise the kubelet's podPidsLimit, or lower the engine's threads (OMP_NUM_THREADS)",
        )
    return Failure(
        failure_class=FailureClass.ENGINE_CRASHED,
        message=f"the runtime itself failed: {type(error).__name__}: {error}",
        next_step="this is an error in tacho: report it with the container's log (kubectl logs --previous)",
    )


def _silent_seconds(state: RuntimeState, now: float) -> float:
    return now - (state.entered_seconds if state.healthy_seconds is None else state.healthy_seconds)


def model_message(progress: FetchProgress | None) -> str:
    """Message to the user about the progress of waiting for the model."""
    if progress is None:
        return "waiting for the fetch container to start"
    if progress.failure is not None:
        return f"fetch failed and will be retried: {progress.failure.message}"
    if progress.bytes_total <= 0:
        return f"fetch: {progress.state}"
    if progress.state == "Verifying":
        return f"fetch: Verifying, {part_of(progress.verified_bytes, progress.bytes_total)}"
    percent = 100 * progress.bytes_done / progress.bytes_total
    size = part_of(progress.bytes_done, progress.bytes_total)
    return f"fetch: {progress.state}, {size} ({percent:.0f} %)"
